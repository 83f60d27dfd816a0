"""What torch and transformers do on the same device, for scripts/gpu-check; prints one JSON object.

Usage: gpu_peer.py ceilings DEVICE | gpu_peer.py generate DEVICE CHECKPOINT NEW_TOKENS WORDS BATCH...
"""
import json
import os
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch  # noqa: E402


def seconds_of(work, device, least=0.2):
    """Of one call, of as many as take `least` seconds."""
    def wait():
        if device != "cpu":
            torch.cuda.synchronize()
    work()
    wait()
    count = 1
    while True:
        begin = time.perf_counter()
        for _ in range(count):
            work()
        wait()
        took = time.perf_counter() - begin
        if took >= least:
            return took / count
        count *= 4


def ceilings(device):
    """Bytes a second of a copy, FLOP a second of a large product and of the decoder's, by rows."""
    small = device == "cpu"
    source = torch.zeros(2**24 if small else 2**32, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    result = {"copy_bytes_per_second": 2 * source.numel() / seconds_of(lambda: target.copy_(source), device)}
    del source, target
    hidden, inner = (256, 688) if small else (4096, 11008)
    weights = torch.randn(hidden, 2 * inner, dtype=torch.bfloat16, device=device)
    result["gate_up_flop_per_second"] = {}
    for rows in (1, 8, 64) if small else (1, 8, 64, 687, 1374, 2748):
        x = torch.randn(rows, hidden, dtype=torch.bfloat16, device=device)
        result["gate_up_flop_per_second"][rows] = 4 * rows * hidden * inner / seconds_of(lambda: x @ weights, device)
    side = 256 if small else 8192
    square = torch.randn(side, side, dtype=torch.bfloat16, device=device)
    result["square_flop_per_second"] = 2 * side**3 / seconds_of(lambda: square @ square, device)
    return result


def generate(device, checkpoint, new_tokens, words, *batches):
    """Greedy answers, a picture each, as one batch: seconds and tokens a second, by the batch's size."""
    from transformers import LlavaForConditionalGeneration
    begin = time.perf_counter()
    model = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.bfloat16).to(device).eval()
    config, new_tokens = model.config, int(new_tokens)
    result = {"load_seconds": time.perf_counter() - begin, "batches": {}}
    image = getattr(config, "image_token_id", None) or config.image_token_index
    side = config.vision_config.image_size
    torch.manual_seed(1)

    def answer(batch, count):
        text = torch.randint(3, 300, (batch, int(words)))
        pictures = torch.full((batch, config.image_seq_length), image)
        ids = torch.cat([torch.ones(batch, 1, dtype=torch.long), pictures, text], 1).to(device)
        pixels = torch.randn(batch, 3, side, side, dtype=torch.bfloat16, device=device)
        begin = time.perf_counter()
        with torch.inference_mode():
            out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels, do_sample=False,
                                 max_new_tokens=count, min_new_tokens=count, pad_token_id=0)
        took = time.perf_counter() - begin  # generate() brings every token to the host
        assert out.shape[1] == ids.shape[1] + count, (out.shape, ids.shape)
        return took

    for batch in map(int, batches):
        answer(batch, 2)  # what is done once
        first, all_of_them = answer(batch, 1), answer(batch, new_tokens)
        result["batches"][batch] = {"first_token_seconds": first, "seconds": all_of_them,
                                    "seconds_per_token": (all_of_them - first) / max(new_tokens - 1, 1),
                                    "output_tokens_per_second": batch * new_tokens / all_of_them}
    return result


if __name__ == "__main__":
    print(json.dumps({"ceilings": ceilings, "generate": generate}[sys.argv[1]](*sys.argv[2:])))
