"""One small LLaVA in both formats: a folder as Hugging Face writes it, and a GGUF of its language model for llama.cpp.

Tokenizer, template and vision tower are the demo checkpoint's; the language model is a Llama of random weights, seeded, in bf16.
Nobody reads what it says: what counts is what a token costs.
"""
import json
import shutil
import struct
from pathlib import Path

import numpy as np

DEMO = Path(__file__).resolve().parents[3] / "demo/checkpoint"
SIZE = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 8, "num_attention_heads": 16,
        "num_key_value_heads": 16, "head_dim": 64}
UINT32, FLOAT32, BOOL, STRING, ARRAY, INT32 = 4, 6, 7, 8, 9, 5  # GGUF's types of values
F32, BF16 = 0, 30  # and of tensors
ALIGNMENT = 32


def bf16(values):
    """The nearer bf16 below, as its bits."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def f32(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def read_safetensors(path):
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return {name: np.frombuffer(data[8 + size + entry["data_offsets"][0]:8 + size + entry["data_offsets"][1]], np.uint16)
            .reshape(entry["shape"]) for name, entry in header.items()}


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, bits in tensors.items():
        header[name] = {"dtype": "BF16", "shape": list(bits.shape), "data_offsets": [offset, offset + bits.nbytes]}
        offset += bits.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for bits in tensors.values():
            file.write(bits.tobytes())


def language_model(config):
    rng = np.random.default_rng(1)
    hidden, inner, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]

    def matrix(rows, columns):
        return bf16(rng.standard_normal((rows, columns), np.float32) / np.sqrt(columns))

    ones = bf16(np.ones(hidden))
    tensors = {"model.embed_tokens.weight": matrix(vocabulary, hidden), "model.norm.weight": ones,
               "lm_head.weight": matrix(vocabulary, hidden)}
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}."
        tensors |= {f"{name}self_attn.{part}_proj.weight": matrix(hidden, hidden) for part in "qkvo"}
        tensors |= {name + "mlp.gate_proj.weight": matrix(inner, hidden), name + "mlp.up_proj.weight": matrix(inner, hidden),
                    name + "mlp.down_proj.weight": matrix(hidden, inner), name + "input_layernorm.weight": ones,
                    name + "post_attention_layernorm.weight": ones}
    return tensors


def write_checkpoint(folder, config, language):
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("manifest.json", "probes", "*.safetensors"), dirs_exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(2)
    hidden = config["text_config"]["hidden_size"]
    tensors = {name: bits for name, bits in read_safetensors(DEMO / "model.safetensors").items() if name.startswith("vision_tower.")}
    for name, inputs in (("linear_1", config["vision_config"]["hidden_size"]), ("linear_2", hidden)):
        name = f"multi_modal_projector.{name}."
        tensors[name + "weight"] = bf16(rng.standard_normal((hidden, inputs), np.float32) / np.sqrt(inputs))
        tensors[name + "bias"] = bf16(np.zeros(hidden))
    write_safetensors(folder / "model.safetensors", tensors | {"language_model." + name: bits for name, bits in language.items()})


def text(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def pair(key, kind, value):
    if kind == STRING:
        packed = text(value)
    elif kind == ARRAY:
        of, items = value
        items = [text(item) for item in items] if of == STRING else [struct.pack({FLOAT32: "<f", INT32: "<i"}[of], i) for i in items]
        packed = struct.pack("<IQ", of, len(items)) + b"".join(items)
    else:
        packed = struct.pack({UINT32: "<I", FLOAT32: "<f", BOOL: "<?"}[kind], value)
    return text(key) + struct.pack("<I", kind) + packed


def rotary_pairs(bits, heads):
    """Hugging Face keeps the halves of a rotary pair half a head apart, llama.cpp beside each other."""
    rows, columns = bits.shape
    return bits.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def gguf_tensors(config, language):
    """{llama.cpp's name: (its type, numbers)}"""
    names = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}
    parts = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
             "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    tensors = {}
    for name, bits in language.items():
        if name not in names:
            layer, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
            names[name] = f"blk.{layer}.{parts[part]}.weight"
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            bits = rotary_pairs(bits, config["num_attention_heads"])
        tensors[names[name]] = (BF16, np.ascontiguousarray(bits)) if bits.ndim > 1 else (F32, f32(bits))
    return tensors


def vocabulary_pairs(size):
    model = json.loads((DEMO / "tokenizer.json").read_text())
    tokens = [f"<unused{i}>" for i in range(size)]
    types = [5] * size  # unused; 1 normal, 2 unknown, 3 control, 6 byte
    for token, number in model["model"]["vocab"].items():
        tokens[number], types[number] = token, 6 if len(token) == 6 and token.startswith("<0x") else 1
    for added in model["added_tokens"]:
        tokens[added["id"]], types[added["id"]] = added["content"], 3
    types[0] = 2
    return [pair("tokenizer.ggml.model", STRING, "llama"), pair("tokenizer.ggml.pre", STRING, "default"),
            pair("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)),
            pair("tokenizer.ggml.scores", ARRAY, (FLOAT32, [-float(i) for i in range(size)])),
            pair("tokenizer.ggml.token_type", ARRAY, (INT32, types)),
            pair("tokenizer.ggml.bos_token_id", UINT32, 1), pair("tokenizer.ggml.eos_token_id", UINT32, 2),
            pair("tokenizer.ggml.unknown_token_id", UINT32, 0), pair("tokenizer.ggml.add_bos_token", BOOL, True)]


def write_gguf(path, config, language):
    pairs = [pair("general.architecture", STRING, "llama"), pair("general.name", STRING, "shares"),
             pair("general.file_type", UINT32, 32),  # mostly bf16
             pair("general.alignment", UINT32, ALIGNMENT),
             pair("llama.context_length", UINT32, config["max_position_embeddings"]),
             pair("llama.embedding_length", UINT32, config["hidden_size"]),
             pair("llama.block_count", UINT32, config["num_hidden_layers"]),
             pair("llama.feed_forward_length", UINT32, config["intermediate_size"]),
             pair("llama.attention.head_count", UINT32, config["num_attention_heads"]),
             pair("llama.attention.head_count_kv", UINT32, config["num_key_value_heads"]),
             pair("llama.rope.dimension_count", UINT32, config["head_dim"]),
             pair("llama.rope.freq_base", FLOAT32, config["rope_theta"]),
             pair("llama.attention.layer_norm_rms_epsilon", FLOAT32, config["rms_norm_eps"]),
             pair("llama.vocab_size", UINT32, config["vocab_size"]), *vocabulary_pairs(config["vocab_size"])]
    tensors = gguf_tensors(config, language)
    about, offset = [], 0
    for name, (kind, numbers) in tensors.items():
        about.append(text(name) + struct.pack("<I", numbers.ndim) + struct.pack(f"<{numbers.ndim}Q", *reversed(numbers.shape))
                     + struct.pack("<IQ", kind, offset))
        offset += numbers.nbytes + -numbers.nbytes % ALIGNMENT
    with open(path, "wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs) + b"".join(about))
        file.write(bytes(-file.tell() % ALIGNMENT))
        for _, numbers in tensors.values():
            file.write(numbers.tobytes() + bytes(-numbers.nbytes % ALIGNMENT))


def make(folder):
    """(checkpoint's folder, GGUF) below `folder`, made where they are not there yet."""
    checkpoint, gguf = Path(folder) / "checkpoint", Path(folder) / "language-model.gguf"
    config = json.loads((DEMO / "config.json").read_text())
    config["text_config"] |= SIZE
    if not gguf.exists():
        checkpoint.mkdir(parents=True, exist_ok=True)
        language = language_model(config["text_config"])
        write_checkpoint(checkpoint, config, language)
        write_gguf(gguf.with_suffix(".new"), config["text_config"], language)
        gguf.with_suffix(".new").rename(gguf)
    return checkpoint, gguf
