"""Checkpoints that AWQ or GPTQ quantised: they answer as their numbers do.

The codes are packed here with numpy, as the formats are defined (model/checkpoint/coded_weight.h); no other program's
reader was asked.
"""
import json
import re
import shutil
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np

from daemon_process import CHECKPOINT, IMAGES, PROGRAM, Daemon
from published import edit_config, read_tensors
from weights_test import QUESTIONS, TRAIN, generated, over_grpc, pb_grpc

PRODUCT = re.compile(r"layers\.\d+\..*_proj\.weight$")
DTYPES = {"float32": "F32", "float16": "F16", "int32": "I32", "uint16": "BF16"}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm",
       "modules_to_not_convert": ["vision_tower", "multi_modal_projector", "lm_head"]}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True, "sym": False, "checkpoint_format": "gptq"}
GPTQ_V2 = {**GPTQ, "bits": 8, "desc_act": False, "group_size": -1, "checkpoint_format": "gptq_v2"}
FORMATS = {"awq": AWQ, "gptq": GPTQ, "gptq_v2": GPTQ_V2}


def write_tensors(path, arrays):
    """bfloat16 arrays are those of 16-bit words."""
    header, offset = {}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": DTYPES[str(array.dtype)], "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for array in arrays.values()))


def words(codes, bits, order):
    """Codes [rows, n] as int32 [rows, n * bits / 32]: the place j of a word, from the low bits on, has number order[j] of its codes."""
    codes = codes.reshape(codes.shape[0], -1, 32 // bits).astype(np.uint32)
    result = np.zeros(codes.shape[:2], np.uint32)
    for place, number in enumerate(order):
        result |= codes[:, :, number] << np.uint32(bits * place)
    return result.view(np.int32)


def quantised(weight, settings, random):
    """({part: array}, numbers [out, in] in float32) of a matrix [out, in]."""
    out, inputs = weight.shape
    bits, awq = settings["bits"], settings["quant_method"] == "awq"
    most = 2 ** bits - 1
    group = inputs if settings["group_size"] == -1 else settings["group_size"]
    groups = np.arange(inputs) // group
    if settings.get("desc_act"):
        groups = random.permutation(groups)
    codes, zeros, scales, numbers = np.zeros((inputs, out), int), [], [], np.zeros((out, inputs), np.float32)
    for number in range(groups.max() + 1):
        members = np.flatnonzero(groups == number)
        part = weight[:, members]
        low, high = np.minimum(part.min(1), 0), np.maximum(part.max(1), 0)
        scale = np.maximum((high - low) / most, 1e-4).astype(np.float16)
        wide = scale.astype(np.float32)[:, None]
        zero = np.clip(np.rint(-low / wide[:, 0]), 0, most).astype(int)
        code = np.clip(np.rint(part / wide) + zero[:, None], 0, most).astype(int)
        codes[members] = code.T
        numbers[:, members] = (code - zero[:, None]).astype(np.float32) * wide
        zeros.append(zero)
        scales.append(scale)
    zeros, scales = np.array(zeros), np.array(scales)
    if awq:
        order = [0, 2, 4, 6, 1, 3, 5, 7]
        return {"qweight": words(codes, 4, order), "qzeros": words(zeros, 4, order), "scales": scales}, numbers
    order = range(32 // bits)
    if settings["checkpoint_format"] == "gptq":
        zeros = (zeros - 1) & most
    return {"qweight": np.ascontiguousarray(words(np.ascontiguousarray(codes.T), bits, order).T), "qzeros": words(zeros, bits, order),
            "scales": scales, "g_idx": groups.astype(np.int32)}, numbers


def write_both(root, settings):
    """(the folder of codes, the folder of the same numbers)"""
    coded, plain = root / "coded", root / "plain"
    random, arrays, of_codes, of_numbers = np.random.default_rng(5), read_tensors(CHECKPOINT / "model.safetensors"), {}, {}
    for name, array in arrays.items():
        if not PRODUCT.search(name) or not name.startswith("language_model."):
            of_codes[name] = of_numbers[name] = array
            continue
        weight = (array.astype(np.uint32) << 16).view(np.float32)
        parts, of_numbers[name] = quantised(weight, settings, random)
        of_codes |= {name.removesuffix("weight") + part: value for part, value in parts.items()}
    for folder, tensors in ((coded, of_codes), (plain, of_numbers)):
        shutil.copytree(CHECKPOINT, folder, ignore=shutil.ignore_patterns("*.safetensors", "manifest.json"))
        write_tensors(folder / "model.safetensors", tensors)
    edit_config(coded, lambda config: config.update(quantization_config=settings))
    return coded, plain


def served(folder, config):
    """The answers' ids, of a daemon."""
    with Daemon(checkpoint=folder, config=config) as daemon, daemon.channel() as channel:
        stub = pb_grpc.ChatServiceStub(channel)
        return [over_grpc(stub, *question)[0] for question in QUESTIONS]


def inspected(folder, *flags):
    return subprocess.run([PROGRAM, "inspect", folder, *flags], text=True, stdout=subprocess.PIPE)


class ForeignCodesTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def check(self, name):
        coded, plain = write_both(self.root, FORMATS[name])
        for dtype in ("bfloat16", "float32"):
            answers = served(coded, f"dtype: {dtype}\n")
            self.assertEqual(answers, served(plain, f"dtype: {dtype}\n"))
        self.assertEqual(generated(coded, *QUESTIONS[0], dtype="float32"), answers[0])
        if FORMATS[name]["bits"] == 4:
            self.assertNotEqual(answers, served(CHECKPOINT, "dtype: float32\n"))  # else the codes would not be seen to do anything
        self.of_our_own(coded)
        self.compared(coded, plain)

    def of_our_own(self, coded):
        """`llava-train quantize` writes what the setting `weights` makes."""
        for format in ("int8", "int4"):
            stored = self.root / format
            subprocess.run([TRAIN, "quantize", coded, "--format", format, "--out", stored], check=True, stdout=subprocess.DEVNULL)
            self.assertEqual(served(stored, "dtype: bfloat16\n"), served(coded, f"dtype: bfloat16\nweights: {format}\n"))
            self.assertRegex(inspected(stored, "--verify").stdout, f"served +weights as stored, {format}")

    def compared(self, coded, plain):
        rows = [{"id": str(number), "image": "landscape.png", "conversations": [
            {"from": "human", "value": "<image>\n" + question}, {"from": "gpt", "value": "x"}]}
            for number, question in enumerate(["What is in the picture?", "Say something."])]
        data, numbers, said = self.root / "rows.jsonl", self.root / "numbers.json", []
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        given = ["--data", data, "--images", IMAGES]
        subprocess.run([TRAIN, "compare", plain, coded, *given, "--json", numbers], check=True, stdout=subprocess.DEVNULL)
        values = json.loads(numbers.read_text())["values"]
        self.assertEqual((values["kl"]["value"], values["same"]["value"]), (0, 1))
        for folder in (coded, plain):
            out = self.root / f"answers-{folder.name}"
            subprocess.run([TRAIN, "evaluate", "rows", *given, "--checkpoint", folder, "--max-tokens", "8", "--out", out], check=True,
                           stdout=subprocess.DEVNULL)
            said.append([json.loads(line)["text"] for line in (out / "answers.jsonl").read_text().splitlines()])
        self.assertEqual(*said)
        self.assertEqual(len(said[0]), 2)

    def test_inspect_names_method_bits_and_groups(self):
        for number, (settings, words) in enumerate(((AWQ, "AWQ, 4 bits, groups of 32; 14 matrices"),
                                                    (GPTQ, r"GPTQ, 4 bits, groups of 32 in the order of g_idx \(desc_act\); 14 matrices"),
                                                    (GPTQ_V2, "GPTQ, 8 bits, one group a row; 14 matrices"))):
            coded, plain = write_both(self.root / str(number), settings)
            said = inspected(coded, "--verify")
            self.assertEqual(said.returncode, 0, said.stdout)
            self.assertRegex(said.stdout, f"quantised +{words}\n")
            self.assertRegex(said.stdout, r"dtype .*codes \(14 tensors\)")
            self.assertRegex(said.stdout, r"served +weights auto .*, int8 .*, int4 ")
            lines = [re.search("parameters.*", text).group() for text in (said.stdout, inspected(plain).stdout)]
            self.assertEqual(*lines)

    def test_other_layouts_are_refused_by_name(self):
        coded, _ = write_both(self.root, AWQ)
        for key, value, supported in (("version", "gemv", "gemm"), ("bits", 3, "4"), ("quant_method", "hqq", "awq")):
            edit_config(coded, lambda config: config.update(quantization_config={**AWQ, key: value}))
            said = inspected(coded)
            self.assertEqual(said.returncode, 1)
            for part in (key if key != "quant_method" else "quantization_config", str(value), supported):
                self.assertIn(part, said.stdout)

    def test_settings_that_are_not_those_of_the_files(self):
        """Groups of another size, the other method: never a crash, and the tensor is named."""
        coded, _ = write_both(self.root, GPTQ)
        for settings in ({**GPTQ, "group_size": 64}, {**GPTQ, "bits": 8}, AWQ):
            edit_config(coded, lambda config: config.update(quantization_config=settings))
            for command in ([PROGRAM, "inspect", coded], [PROGRAM, "generate", coded, "--prompt", "x"]):
                said = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                self.assertEqual(said.returncode, 1, said.stdout)
                self.assertRegex(said.stdout, r'model\.safetensors: ".*_proj\.(qweight|qzeros|scales|g_idx)".*expected')


for name in FORMATS:
    setattr(ForeignCodesTest, f"test_{name}", lambda self, name=name: self.check(name))


if __name__ == "__main__":
    unittest.main(verbosity=2)
