"""What scripts/tokenizer-corpus runs."""
import argparse
import collections
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests/golden/data"
MARK = "▁"
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3 = QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|")

# First and last code points of scripts and of signs; what is not assigned there is left out.
SCRIPTS = [(0x41, 0x7A), (0xC0, 0x24F), (0x250, 0x2AF), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x531, 0x587),
           (0x591, 0x5F4), (0x600, 0x6FF), (0x700, 0x74A), (0x780, 0x7B1), (0x7C0, 0x7FA), (0x900, 0x97F), (0x980, 0x9FE),
           (0xA01, 0xA76), (0xA81, 0xAFF), (0xB01, 0xB77), (0xB82, 0xBFA), (0xC00, 0xC7F), (0xC80, 0xCF2), (0xD00, 0xD7F),
           (0xD81, 0xDF4), (0xE01, 0xE5B), (0xE81, 0xEDF), (0xF00, 0xFDA), (0x1000, 0x109F), (0x10A0, 0x10FF),
           (0x1100, 0x11FF), (0x1200, 0x139F), (0x13A0, 0x13FD), (0x1401, 0x167F), (0x1680, 0x169C), (0x16A0, 0x16F8),
           (0x1780, 0x17F9), (0x1800, 0x18AA), (0x1E00, 0x1EFF), (0x1F00, 0x1FFE), (0x2D30, 0x2D7F), (0x3041, 0x30FF),
           (0x3105, 0x312F), (0x4E00, 0x9FFC), (0xA000, 0xA48C), (0xAC00, 0xD7A3), (0x10330, 0x1034A), (0x10400, 0x1044F),
           (0x12000, 0x12399), (0x13000, 0x1342E), (0x20000, 0x2A6DD)]
SIGNS = [(0x21, 0x40), (0xA0, 0xBF), (0x2010, 0x206F), (0x2070, 0x209C), (0x20A0, 0x20C0), (0x2100, 0x218B), (0x2190, 0x23FF),
         (0x2460, 0x27BF), (0x2800, 0x28FF), (0x3000, 0x303F), (0xFE30, 0xFE6B), (0xFF01, 0xFFEE), (0x1D400, 0x1D7FF),
         (0xE000, 0xE0FF), (0xFFF9, 0xFFFD)]
EMOJI = [(0x1F300, 0x1F5FF), (0x1F600, 0x1F64F), (0x1F680, 0x1F6FC), (0x1F900, 0x1F9FF), (0x2600, 0x27BF)]
SPACES = [" ", "  ", "    ", "\t", "\n", "\r\n", "\n\n", " \n", "\x0b", "\x0c", "\x85", "\xa0", "\u1680", "\u2003", "\u2028",
          "\u2029", "\u202f", "\u205f", "\u3000", "\u180e", "\u200b", "\ufeff"]
WORDS = ["the", "picture", "shows", "two", "What", "is", "in", "image", "don't", "WE'LL", "it's", "a", "of", "and", "I", "naïve",
         "Straße", "ſtill", "ﬁsh", "Å", "Å", "é", "é", "ﷺ", "K", "ﬆ"]
CODE = ["def {w}(x):\n    return x ** {n}\n", "#include <{w}.h>\n", "if ({w}[{n}] != NULL) {{ {w}->next = 0; }}", "</{w}>",
        "SELECT * FROM {w} WHERE id={n};", "{w}_{n} += 1;  // {w}", "\t\tfor i in range({n}):\n\t\t\tpass", "https://{w}.org/{n}?a=%20",
        "$ {w} --{w}={n} | grep '{w}'", '{{"{w}": [{n}, null, true]}}', "\\frac{{{w}}}{{{n}}}", "<!-- {w} -->", "0x{n:x}",
        "{n},{n}.{n}e-{n}", "C:\\{w}\\{n}.txt", "a&&b||!{w}", "lambda {w}: {w}", "@{w}#{n}"]
# What no decoder takes: lone continuation and lead bytes, cut and overlong sequences, surrogates, beyond U+10FFFF.
BROKEN = [b"\x80", b"\xbf\xbf", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xc0\xaf", b"\xe0\x80\x80", b"\xed\xa0\x80",
          b"\xf4\x90\x80\x80", b"\xff", b"\xfe\xff", b"\xf8\x88\x80\x80\x80", b"\xe2\x28\xa1", b"\xf0\x28\x8c\xbc"]


class Corpus:
    def __init__(self, seed):
        self.rng = random.Random(seed)

    def characters(self, ranges, most):
        first, last = self.rng.choice(ranges)
        drawn = (chr(self.rng.randint(first, last)) for _ in range(self.rng.randint(1, most)))
        return "".join(c for c in drawn if unicodedata.category(c) != "Cn")

    def word(self):
        return self.rng.choice(WORDS) if self.rng.random() < 0.5 else self.characters(SCRIPTS, 7)

    def emoji(self):
        kind = self.rng.randrange(4)
        one = self.characters(EMOJI, 1) or "\U0001f600"
        if kind == 0:
            return one + chr(self.rng.randint(0x1F3FB, 0x1F3FF))
        if kind == 1:
            return "\u200d".join(self.characters(EMOJI, 1) for _ in range(self.rng.randint(2, 4)))
        if kind == 2:
            return "".join(chr(self.rng.randint(0x1F1E6, 0x1F1FF)) for _ in range(2))
        return one + "\ufe0f" * self.rng.randint(0, 1)

    def piece(self):
        kind = self.rng.random()
        if kind < 0.45:
            return (self.word() + self.rng.choice(["", " ", " ", ", ", ". "])).encode()
        if kind < 0.55:
            code = self.rng.choice(CODE)
            return code.format(w=self.word(), n=self.rng.randint(0, 99999)).encode()
        if kind < 0.65:
            return self.emoji().encode()
        if kind < 0.77:
            return "".join(self.rng.choice(SPACES) for _ in range(self.rng.randint(1, 4))).encode()
        if kind < 0.85:
            return self.characters(SIGNS, 5).encode()
        if kind < 0.90:
            return str(self.rng.randint(0, 10 ** self.rng.randint(1, 12))).encode()
        if kind < 0.94:
            return (self.word() * self.rng.randint(2, 12)).encode()
        if kind < 0.97:
            return self.rng.choice(BROKEN)
        return bytes(self.rng.randrange(256) for _ in range(self.rng.randint(1, 6)))

    def line(self):
        return b"".join(self.piece() for _ in range(self.rng.randint(1, 14)))


def repaired(line):
    return line.decode(errors="replace")


def byte_level(pattern, lines, normalizer=None, ignore_merges=False):
    tokenizer = Tokenizer(models.BPE(byte_fallback=False, fuse_unk=False, ignore_merges=ignore_merges))
    if normalizer:
        tokenizer.normalizer = normalizer
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=pattern is None)
    tokenizer.pre_tokenizer = level if pattern is None else pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated", False), level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=3000, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    for text in ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"):
        tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False)])
    return json.loads(tokenizer.to_str())


def with_marks(lines, **places):
    """As Llama's: pieces of characters with marks for spaces, and bytes for what has no piece."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="always", split=True)
    special = ["<unk>", "<s>", "</s>"]
    pieces = [f"<0x{b:02X}>" for b in range(256)]
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=3000, special_tokens=special + pieces, limit_alphabet=800, show_progress=False))
    file = json.loads(tokenizer.to_str())
    file["added_tokens"] = [token for token in file["added_tokens"] if token["content"] in special]
    decoder = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": MARK}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    return file | {"normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": decoder} | places


def metaspace(scheme, split):
    return {"type": "Metaspace", "replacement": MARK, "prepend_scheme": scheme, "split": split}


def kinds(lines, only):
    """name -> tokenizer.json"""
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": MARK}
    made = {
        "qwen2": lambda: byte_level(QWEN2, lines, normalizers.NFC()),
        "llama 3": lambda: byte_level(LLAMA3, lines, ignore_merges=True),
        "gpt-2": lambda: byte_level(None, lines),
        "llama, mistral": lambda: with_marks(lines, normalizer={"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": MARK}, replace]}),
        "vicuna 1.5, phi-3": lambda: with_marks(lines, pre_tokenizer=metaspace("first", False)),
        "metaspace, split": lambda: with_marks(lines, pre_tokenizer=metaspace("always", True)),
    }
    return {name: make() for name, make in made.items() if only in (None, name)}


def ours(folder, lines, *layout):
    texts = Path(folder) / "texts"
    texts.write_bytes(b"".join(str(len(line)).encode() + b"\n" + line for line in lines))
    done = subprocess.run([os.environ["TOKENIZE_LINES"], folder, texts, *layout], stdout=subprocess.PIPE, check=True)
    return [[int(number) for number in line.split()] for line in done.stdout.decode().split("\n")[:-1]]


def compare(name, lines, found, expected):
    differ = [i for i, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1]]
    print(f"{name:20} {len(lines):7} lines, {sum(map(len, expected)):9} ids, {len(differ)} differ", flush=True)
    for i in differ[:3]:
        print(f"  {lines[i]!r}\n    found    {found[i]}\n    expected {expected[i]}")
    return bool(differ)


def sentencepiece_model(folder, lines):
    import sentencepiece
    frequent = {c for c, _ in collections.Counter("".join(lines)).most_common(1500)} - {"\n", "\0"}
    (folder / "lines.txt").write_text("\n".join("".join(c for c in line if c in frequent) for line in lines))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "lines.txt"), model_prefix=str(folder / "tokenizer"), model_type="bpe", vocab_size=4000,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, character_coverage=1.0, minloglevel=2, max_sentence_length=100000)
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def compare_all(args):
    corpus = Corpus(args.seed)
    lines = [corpus.line() for _ in range(args.lines)]
    texts = [repaired(line) for line in lines]
    training = texts[:min(len(texts), 20000)]
    failed = False
    for name, file in kinds(training, args.kind).items():
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "tokenizer.json").write_text(json.dumps(file, ensure_ascii=False))
            reference = Tokenizer.from_str(json.dumps(file))
            expected = [one.ids for one in reference.encode_batch(texts, add_special_tokens=False)]
            failed |= compare(name, lines, ours(folder, lines), expected)
    if args.kind not in (None, "sentencepiece"):
        return failed
    with tempfile.TemporaryDirectory() as folder:
        reference = sentencepiece_model(Path(folder), training)
        failed |= compare("sentencepiece", lines, ours(folder, lines, "original"), reference.encode(texts))
    return failed


def digest(ids):
    return hashlib.sha256(" ".join(map(str, ids)).encode()).hexdigest()[:16]


def write_golden(path, seed):
    """2,000 lines, with what the golden checkpoints' tokenizers make of them."""
    corpus = Corpus(seed)
    lines = [corpus.line() for _ in range(2000)]
    texts = [repaired(line) for line in lines]
    of = [Tokenizer.from_file(str(DATA / folder / "tokenizer.json"))
          for folder in ("checkpoint", "families/llava_qwen2/checkpoint")]
    with open(path, "w", encoding="ascii") as out:
        for line, text in zip(lines, texts):
            marks, level = (digest(one.encode(text, add_special_tokens=False).ids) for one in of)
            out.write(json.dumps({"bytes": line.hex(), "marks": marks, "byte_level": level}) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", help="one alone")
    parser.add_argument("--golden", type=Path)
    args = parser.parse_args()
    if args.golden:
        write_golden(args.golden, args.seed)
        return 0
    return 1 if compare_all(args) else 0


if __name__ == "__main__":
    sys.exit(main())
