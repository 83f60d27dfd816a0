#!/usr/bin/env python3
"""The repository's rules, checked on the tracked files. Usage: rules.py ROOT (exit 1 and a line a breach).

Each rule is a function that yields "path:line: what is wrong and what to do". See docs/development.md.
"""
import re
import subprocess
import sys
from pathlib import Path

MAX_COLUMNS = 100
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 70
MAX_BLOB_BYTES = 1 << 20
LARGE_FILES_ALLOWED = ("demo/checkpoint/", "tests/golden/data/")

# The folders with code, and which others each may include: the arrows of docs/architecture.md.
ROOMS = {
    "base": [],
    "base/command_line": [],
    "proto": [],
    "rpc": ["base", "proto"],
    "model/kernels/cpu": ["base"],
    "model/kernels/cuda": ["base"],
    "model/attention": ["base", "model/kernels/cpu", "model/kernels/cuda"],
    "model/checkpoint": ["base"],
    "model/config": ["base"],
    "model/image": ["base", "model/config"],
    "model/text": ["base", "model/config"],
    "model/network": ["base", "model/attention", "model/checkpoint", "model/config",
                      "model/kernels/cpu", "model/kernels/cuda", "model/text"],
    "server/scheduling": ["base"],
    "server/engine": ["base", "server/scheduling"],
    "server/observe": ["base"],
    "server/registry": ["base", "model/config", "model/image", "model/text", "server/engine",
                        "server/scheduling"],
    "server/chat": ["base", "model/image", "model/text", "server/engine", "server/observe",
                    "server/registry", "server/scheduling"],
    "server/api/grpc": ["base", "model/text", "proto", "rpc", "server/chat", "server/engine",
                        "server/observe", "server/registry", "server/scheduling"],
    "server/api/openai": ["base", "model/text", "server/chat", "server/engine"],
    "server/api/web": [],
    "server/api/http": ["base", "rpc", "server/api/openai", "server/api/web", "server/chat",
                        "server/observe", "server/scheduling"],
    "server/config": ["base", "server/scheduling"],
    "server/hosting": ["base", "model/checkpoint", "model/config", "model/image", "model/text",
                       "server/config", "server/engine", "server/observe", "server/registry",
                       "server/scheduling"],
    "server/app": ["base", "rpc", "server/api/grpc", "server/api/http", "server/chat",
                   "server/config", "server/engine", "server/hosting", "server/observe",
                   "server/registry", "server/scheduling"],
    "server/commands": ["base", "model/checkpoint", "model/config", "model/image",
                        "model/network", "model/text"],
    "server/torch": ["base", "model/attention", "model/checkpoint", "model/config",
                     "model/network", "server/engine", "server/hosting"],
    "server": ["base/command_line", "server/app", "server/commands", "server/torch"],
    "training/data": ["base", "model/config", "model/image", "model/text"],
    "training/data/scenes": ["base", "training/data"],
    "training/distributed": ["base"],
    "training/recipe": ["base", "training/data/scenes"],
    "training/objective": ["base", "model/attention", "model/image", "model/network",
                           "training/data", "training/recipe"],
    "training/optim": ["base", "model/checkpoint", "model/network", "training/data",
                       "training/distributed", "training/objective", "training/recipe"],
    "training/publish": ["base", "model/checkpoint"],
    "training/evaluate": ["base", "training/data"],
    "training/run": ["base", "model/checkpoint", "model/config", "model/image",
                     "model/network", "model/text", "proto", "training/data",
                     "training/data/scenes", "training/distributed", "training/evaluate",
                     "training/objective", "training/optim", "training/publish",
                     "training/recipe"],
    "training/service": ["base", "model/checkpoint", "proto", "rpc", "training/publish"],
    "training/commands": ["base", "model/network", "rpc", "training/data",
                          "training/data/scenes", "training/distributed", "training/optim",
                          "training/publish", "training/recipe", "training/run",
                          "training/service"],
    "training": ["base/command_line", "training/commands"],
    "client": ["base", "base/command_line", "proto"],
}
CODE = (".cc", ".h", ".cu", ".cuh")
BANNED = [  # (pattern, what to do instead, files that may)
    (r"\bsleep_for\b|\bsleep_until\b|\busleep\s*\(|\bnanosleep\s*\(|[^_\w]sleep\s*\(",
     "wait on a condition (base/mutex.h)", ("tests/e2e/llavad.py",)),  # waits for another process
    (r"\b(system_clock|steady_clock|high_resolution_clock)::now\b|\bgettimeofday\b|[^_\w.>]time\s*\(\s*(nullptr|NULL|0)\s*\)",
     "take a Clock or a TimePoint (base/clock.h)", ("base/clock.cc", "tests/support/moved_clock.cc")),
    (r"\.detach\s*\(\s*\)\s*;(?!.*tensor)", "join threads; for tensors write .detach() inside an expression", ()),
    (r"\bstd::thread\b(?!::)", "use std::jthread with a named owner", ()),
    (r"\b(srand|rand)\s*\(|\bstd::random_device\b|\bstd::mt19937", "use base/rng.h", ()),
    (r"\b(FIXME|XXX|HACK)\b|\bTODO\b", "finish it or open an issue", ()),
    (r"\busing namespace\b", "name what you use", ()),
    (r"#include\s*<torch/torch\.h>", "include the narrow header", ()),
    (r"#include\s*<(iostream)>", "use <ostream> and pass the stream", ()),
]
BANNED_EVERYWHERE_EXEMPT = ("tests/repo_rules/rules.py", "tests/repo_rules/rules_test.py")


def tracked_files(root):
    out = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], check=True, capture_output=True)
    return sorted(p for p in out.stdout.decode().split("\0") if p and (root / p).is_file())


def blank_out(text):
    """Comments and literals become spaces; line numbers stay."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S)
    digits = re.compile(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])")  # 1'000
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), digits.sub("_", text))


def functions(code):
    """(name, first line, lines) of each outermost function body in blanked-out code."""
    start, scope, inside = 0, [], None
    for i, c in enumerate(code):
        if c == "{":
            head = code[start:i].strip()
            is_function = inside is None and ")" in head and not re.search(
                r"\b(namespace|class|struct|enum|union)\b[^()]*$", head) and not head.endswith(("=", ","))
            scope.append(is_function)
            if is_function:
                name = re.search(r"([\w:~]+|operator\W+)\s*\(", head)
                inside = (name.group(1) if name else "?", code.count("\n", 0, i) + 1)
        elif c == "}":
            if scope and scope.pop():
                end = code.count("\n", 0, i) + 1
                yield inside[0], inside[1], end - inside[1] + 1
                inside = None
        if c in "{};":
            start = i + 1


def lengths(path, text):
    lines = text.splitlines()
    if len(lines) > MAX_FILE_LINES:
        yield f"{path}:{len(lines)}: {len(lines)} lines; at most {MAX_FILE_LINES}: one idea a file"
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_COLUMNS and "http" not in line and "LINT" not in line:
            yield f"{path}:{number}: {len(line)} columns; at most {MAX_COLUMNS}"
    for name, first, count in functions(blank_out(text)):
        if count > MAX_FUNCTION_LINES:
            yield f"{path}:{first}: function {name} has {count} lines; at most {MAX_FUNCTION_LINES}"


def banned_words(path, text):
    if path in BANNED_EVERYWHERE_EXEMPT:
        return
    code = text if path.endswith(".py") else blank_out(text)
    for pattern, instead, allowed in BANNED:
        if path in allowed:
            continue
        haystack = text if "FIXME" in pattern or "#include" in pattern else code
        for match in re.finditer(pattern, haystack):
            line = haystack.count("\n", 0, match.start()) + 1
            yield f"{path}:{line}: '{match.group(0).strip()}': {instead}"


def room_of(path):
    if path.endswith(".pb.h"):
        return "proto"
    folder = str(Path(path).parent)
    return folder if folder in ROOMS else None


def include_edges(path, text):
    room = room_of(path)
    if room is None:
        return
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'#include "([^"]+)"', line)
        other = room_of(match.group(1)) if match else None
        if other and other != room and other not in ROOMS[room]:
            yield f"{path}:{number}: {room} may not include {other} (tests/repo_rules/rules.py: ROOMS)"
        if match and "/" not in match.group(1):
            yield f"{path}:{number}: include \"{match.group(1)}\" by its full path"


def guards(path, text):
    if path.endswith(".h"):
        guard = "LLAVA_" + re.sub(r"\W", "_", path).upper() + "_"
        if f"#ifndef {guard}\n#define {guard}\n" not in text:
            yield f"{path}:1: include guard must be {guard}"


def own_header_first(path, text, files):
    """x.cc includes x.h first, so that x.h is seen to compile alone."""
    header = str(Path(path).with_suffix(".h"))
    if path.endswith(".cc") and header in files:
        first = re.search(r'#include ["<]([^">]+)', text)
        if not first or first.group(1) != header:
            yield f"{path}:1: must include \"{header}\" first"


def built(root, files):
    """Every source is named in the CMakeLists.txt of its folder or a parent; every header has a user."""
    lists = {str(Path(f).parent): (root / f).read_text() for f in files if f.endswith("CMakeLists.txt")}
    lists["cmake"] = "".join((root / f).read_text() for f in files if f.endswith(".cmake"))
    included = set()
    for f in files:
        if f.endswith(CODE):
            included.update(re.findall(r'#include "([^"]+)"', (root / f).read_text()))
    for f in files:
        if f.endswith((".cc", ".cu")):
            names = {f} | {str(Path(f).relative_to(p)) for p in Path(f).parents if str(p) in lists or str(p) == "."}
            if not any(re.search(rf"(?<![\w-]){re.escape(n)}\b", lists.get(str(p), lists.get(".", "")))
                       for p in Path(f).parents for n in names):
                yield f"{f}:1: is in no CMake target"
        elif f.endswith(".h") and f not in included:
            yield f"{f}:1: nobody includes it: delete it"


def large_files(root, files):
    for f in files:
        size = (root / f).stat().st_size
        if size > MAX_BLOB_BYTES and not f.startswith(LARGE_FILES_ALLOWED):
            yield f"{f}:1: {size} bytes; at most {MAX_BLOB_BYTES}"


def check(root):
    files = tracked_files(root)
    known = set(files)
    for f in files:
        if f.endswith(CODE + (".py",)) and not f.endswith("_pb2.py"):
            text = (root / f).read_text(errors="replace")
            rules = [banned_words(f, text)]
            if f.endswith(CODE):
                rules += [lengths(f, text), include_edges(f, text), guards(f, text),
                          own_header_first(f, text, known)]
            for rule in rules:
                yield from rule
    yield from built(root, files)
    yield from large_files(root, files)


def main():
    root = Path(sys.argv[1]).resolve()
    problems = list(check(root))
    print("\n".join(problems))
    print(f"{len(problems)} breaches of the repository's rules in {len(tracked_files(root))} files")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
