#!/usr/bin/env python3
"""The repository's rules, checked on the tracked files.

Usage: rules.py ROOT            exit 1 and a line a breach
       rules.py ROOT --arrows   print the arrows for docs/architecture.md

Each rule is a function that yields "path:line: what is wrong and what to do". Rules about the text
of one file stand here, those about folders and targets in rooms.py. See docs/development.md.
"""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import rooms
from measure import blank_out, declared_types, functions

MAX_COLUMNS = 100
MAX_DOC_COLUMNS = 140  # of prose; a table's row cannot be wrapped
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 70
MAX_P90_FUNCTION_LINES = 25
MAX_BLOB_BYTES = 1 << 20
LARGE_FILES_ALLOWED = ("demo/checkpoint/", "tests/golden/data/")

# The folders with code, and which others each may include: the arrows of docs/architecture.md.
ROOMS = {
    "base": [],
    "base/command_line": [],
    "base/http": ["base"],
    "base/lines": ["base"],
    "base/machine": ["base"],
    "capture": ["base", "base/lines"],
    "proto": [],
    "rpc": ["base", "proto"],
    "model/kernels/cpu": ["base"],
    "model/kernels/cuda": ["base"],
    "model/attention": ["base", "model/kernels/cpu", "model/kernels/cuda"],
    "model/checkpoint": ["base", "model/config"],
    "model/config": ["base"],
    "model/image": ["base", "model/config"],
    "model/template": [],
    "model/text": ["base", "model/config", "model/template"],
    "model/grammar": ["base", "model/text"],
    "model/ranks": ["base"],
    "model/tensors": ["base", "model/checkpoint"],
    "model/adapter": ["base", "model/checkpoint", "model/config", "model/kernels/cpu", "model/tensors"],
    "model/network": ["base", "model/adapter", "model/attention", "model/checkpoint",
                      "model/config", "model/grammar", "model/kernels/cpu", "model/kernels/cuda", "model/tensors",
                      "model/text"],
    "server/scheduling/costs": ["base"],
    "server/scheduling": ["base", "server/scheduling/costs"],
    "server/engine": ["base", "server/scheduling"],
    "server/observe": ["base"],
    "server/tracing": ["base", "proto"],
    "server/registry": ["base", "model/config", "model/grammar", "model/image", "model/text",
                        "server/engine", "server/scheduling"],
    "server/capture": ["base", "capture", "server/observe"],
    "server/chat": ["base", "capture", "model/grammar", "model/image", "model/text", "server/capture",
                    "server/engine", "server/observe", "server/registry", "server/scheduling", "server/tracing"],
    "server/api/grpc": ["base", "model/grammar", "model/text", "proto", "rpc", "server/capture",
                        "server/chat", "server/engine", "server/observe", "server/registry",
                        "server/scheduling"],
    "server/api/openai": ["base", "model/grammar", "model/text", "server/chat", "server/engine"],
    "server/api/web": [],
    "server/batches": ["base", "base/lines", "server/api/openai", "server/chat"],
    "server/api/http": ["base", "base/http", "base/lines", "rpc", "server/api/openai", "server/api/web", "server/batches",
                        "server/capture", "server/chat", "server/observe", "server/scheduling"],
    "server/config": ["base", "server/scheduling"],
    "server/hosting": ["base", "base/machine", "model/checkpoint", "model/config",
                       "model/image", "model/text", "server/config", "server/engine",
                       "server/observe", "server/registry", "server/scheduling"],
    "server/app": ["base", "base/command_line", "base/machine", "model/config", "rpc",
                   "server/api/grpc", "server/api/http", "server/batches", "server/capture", "server/config", "server/chat",
                   "server/engine",
                   "server/hosting", "server/observe", "server/registry", "server/scheduling",
                   "server/tracing"],
    "server/commands": ["base", "capture", "model/adapter", "model/checkpoint", "model/config", "model/image",
                        "model/network", "model/tensors", "model/text", "server/config", "server/hosting"],
    "server/torch": ["base", "base/machine", "model/adapter", "model/attention", "model/checkpoint",
                     "model/config", "model/network", "model/ranks", "server/config",
                     "server/engine", "server/hosting", "server/scheduling"],
    "server": ["base/command_line", "base/machine", "model/kernels/cpu", "model/ranks", "server/app",
               "server/commands", "server/torch"],
    "training/data/tar": ["base"],
    "training/data": ["base", "capture", "model/config", "model/image", "model/text",
                      "training/data/tar"],
    "training/data/scenes": ["base", "model/image", "training/data"],
    "training/distributed": ["base", "model/ranks"],
    "training/endpoint": ["base", "base/http", "base/lines"],
    "training/tracking": ["base", "base/http", "base/lines", "training/endpoint"],
    "training/recipe": ["base", "training/data/scenes", "training/data/tar", "training/tracking"],
    "training/objective": ["base", "model/attention", "model/image", "model/network", "model/tensors",
                           "training/data", "training/recipe"],
    "training/optim": ["base", "base/machine", "model/checkpoint", "model/network", "model/tensors",
                       "training/data", "training/distributed", "training/objective", "training/recipe"],
    "training/memory": ["base", "model/config", "model/network", "training/objective", "training/optim",
                        "training/recipe"],
    "training/assemble": ["base", "model/checkpoint", "model/config", "model/image",
                          "model/network", "model/text", "training/data", "training/objective"],
    "training/publish": ["base", "model/checkpoint"],
    "training/report": ["base", "model/image", "training/data/tar"],
    "training/evaluate": ["base", "training/data", "training/data/tar"],
    "training/evaluate/benchmarks": ["base", "training/data", "training/evaluate"],
    "training/evaluate/asking": ["base", "base/lines", "training/endpoint", "training/evaluate",
                                 "training/evaluate/benchmarks"],
    "training/generate": ["base", "training/data", "training/data/scenes", "training/endpoint"],
    "training/run": ["base", "base/command_line", "capture", "model/checkpoint", "model/config", "model/image", "model/network",
                     "model/tensors", "model/text", "proto", "training/assemble", "training/data",
                     "training/data/scenes", "training/data/tar", "training/distributed",
                     "training/evaluate", "training/objective", "training/optim", "training/publish", "training/recipe",
                     "training/report", "training/tracking"],
    "training/export": ["base", "model/adapter", "model/checkpoint", "model/config", "model/image",
                        "model/network", "model/tensors", "model/text", "training/assemble",
                        "training/distributed", "training/optim", "training/recipe", "training/run"],
    "training/service": ["base", "base/http", "base/machine", "capture", "model/checkpoint",
                         "proto", "rpc", "training/data", "training/endpoint", "training/publish",
                         "training/recipe"],
    "training/commands": ["base", "base/command_line", "base/http", "model/checkpoint", "model/config", "rpc",
                          "server/app", "server/config", "server/torch", "training/assemble", "training/data",
                          "training/data/scenes", "training/distributed", "training/endpoint",
                          "training/evaluate/asking", "training/export", "training/generate",
                          "training/memory", "training/optim",
                          "training/publish",
                          "training/recipe", "training/report", "training/run", "training/service",
                          "training/tracking"],
    "training": ["base/command_line", "base/machine", "model/kernels/cpu", "training/commands"],
    "client/batch": ["base", "proto"],
    "client/replay": ["base"],
    "client": ["base", "base/command_line", "base/http", "base/machine", "client/batch", "client/replay",
               "proto"],
}
CODE = (".cc", ".h", ".cu", ".cuh")
BANNED = [  # (pattern, what to do instead, files that may)
    (
        r"\bsleep_for\b|\bsleep_until\b|\busleep\s*\(|\bnanosleep\s*\(|[^_\w]sleep\s*\(",
        "wait on a condition (base/mutex.h)",
        ("tests/e2e/llavad.py",),
    ),  # waits for another process
    (
        r"\b(system_clock|steady_clock|high_resolution_clock)::now\b|\bgettimeofday\b|[^_\w.>]time\s*\(\s*(nullptr|NULL|0)\s*\)",
        "take a Clock or a TimePoint (base/clock.h)",
        ("base/clock.cc", "tests/support/moved_clock.cc"),
    ),
    (
        r"\.detach\s*\(\s*\)\s*;(?!.*tensor)",
        "join threads; for tensors write .detach() inside an expression",
        (),
    ),
    (r"\bstd::thread\b(?!::)", "use std::jthread with a named owner", ()),
    (r"\b(srand|rand)\s*\(|\bstd::random_device\b|\bstd::mt19937", "use base/rng.h", ()),
    (r"\b(FIXME|XXX|HACK)\b|\bTODO\b", "finish it or open an issue", ()),
    (r"\busing namespace\b", "name what you use", ()),
    (r"#include\s*<torch/torch\.h>", "include the narrow header", ()),
    (r"#include\s*<(iostream)>", "use <ostream> and pass the stream", ()),
]
BANNED_EVERYWHERE_EXEMPT = ("tests/repo_rules/rules.py", "tests/repo_rules/rules_test.py")


def tracked_files(root):
    out = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z"], check=True, capture_output=True
    )
    return sorted(p for p in out.stdout.decode().split("\0") if p and (root / p).is_file())


def is_build_file(path):
    return path.endswith((".cmake", "CMakeLists.txt"))


def columns(path, text):
    """No line is wider than a screen. A table of Markdown and a URL cannot be wrapped."""
    most = MAX_DOC_COLUMNS if path.endswith(".md") else MAX_COLUMNS
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        fenced ^= path.endswith(".md") and line.lstrip().startswith("```")
        free = (
            "http" in line
            or "LINT" in line
            or (path.endswith(".md") and (fenced or line.startswith("|")))
        )
        if len(line) > most and not free:
            yield f"{path}:{number}: {len(line)} columns; at most {most}"


def lengths(path, text):
    lines = text.splitlines()
    if len(lines) > MAX_FILE_LINES:
        yield f"{path}:{len(lines)}: {len(lines)} lines; at most {MAX_FILE_LINES}: one idea a file"
    for name, first, count in functions(blank_out(text)):
        if count > MAX_FUNCTION_LINES:
            yield (
                f"{path}:{first}: function {name} has {count} lines; at most {MAX_FUNCTION_LINES}"
            )


def p90_of_functions(root, files):
    """Nine of ten functions of each program's code are short."""
    counts = defaultdict(list)
    for f in files:
        top = f.split("/")[0]
        if f.endswith(CODE) and top in rooms.TOP:
            counts[top] += [n for _, _, n in functions(blank_out((root / f).read_text()))]
    for top, lines in counts.items():
        p90 = sorted(lines)[len(lines) * 9 // 10] if lines else 0
        if p90 > MAX_P90_FUNCTION_LINES:
            yield (
                f"{top}:1: the 90th percentile of its functions has {p90} lines; "
                f"at most {MAX_P90_FUNCTION_LINES}"
            )


def types_once(root, files):
    """A type's name stands once a namespace: two classes of one name break the one-definition rule.

    Anonymous namespaces count for their file alone, and so does a test's.
    """
    seen = {}
    for f in files:
        if not f.endswith(CODE) or f.startswith("tests/"):
            continue
        for name, line in declared_types(blank_out((root / f).read_text())):
            first = seen.setdefault(name, f)
            if first != f:
                yield f"{f}:{line}: {name} is defined in {first} too: the linker would keep one"


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
            yield f'{path}:1: must include "{header}" first'


def built(root, files):
    """A source is named in the CMakeLists.txt of its folder or a parent; a header has a user."""
    lists = {
        str(Path(f).parent): (root / f).read_text() for f in files if f.endswith("CMakeLists.txt")
    }
    lists["cmake"] = "".join((root / f).read_text() for f in files if f.endswith(".cmake"))
    included = set()
    for f in files:
        if f.endswith(CODE):
            included.update(re.findall(r'#include "([^"]+)"', (root / f).read_text()))
    for f in files:
        if f.endswith((".cc", ".cu")):
            names = {f} | {
                str(Path(f).relative_to(p))
                for p in Path(f).parents
                if str(p) in lists or str(p) == "."
            }
            if not any(
                re.search(rf"(?<![\w-]){re.escape(n)}\b", lists.get(str(p), lists.get(".", "")))
                for p in Path(f).parents
                for n in names
            ):
                yield f"{f}:1: is in no CMake target"
        elif f.endswith(".h") and f not in included:
            yield f"{f}:1: nobody includes it: delete it"


def python_tests_run(root, files):
    """x_test.py is named in its folder's CMakeLists.txt, where a loop adds the "_test"."""
    for f in files:
        if f.startswith("tests/") and f.endswith("_test.py"):
            path = Path(f)
            build = root / path.parent / "CMakeLists.txt"
            text = build.read_text() if build.is_file() else ""
            stem = path.stem.removesuffix("_test")
            if not re.search(rf"\b{re.escape(stem)}(_test)?\b", re.sub(r"#[^\n]*", "", text)):
                yield f"{f}:1: no test of {path.parent}/CMakeLists.txt runs it"


def named_tests(root, files):
    """What a page says to be shown by a test is."""
    tests = {Path(f).stem for f in files if f.startswith("tests/") and f.endswith(("_test.py", "_test.cc"))}
    for page in ("SECURITY.md", "docs/threat-model.md"):
        text = (root / page).read_text() if page in files else ""
        for number, line in enumerate(text.splitlines(), 1):
            for name in re.findall(r"`(\w+_test)`", line):
                if name not in tests:
                    yield f"{page}:{number}: there is no test {name}"


def large_files(root, files):
    for f in files:
        size = (root / f).stat().st_size
        if size > MAX_BLOB_BYTES and not f.startswith(LARGE_FILES_ALLOWED):
            yield f"{f}:1: {size} bytes; at most {MAX_BLOB_BYTES}"


def of_one_file(path, text, known):
    if path.endswith(CODE + (".md",)) or is_build_file(path):
        yield from columns(path, text)
    if path.endswith(CODE + (".py",)):
        yield from banned_words(path, text)
    if path.endswith(".py"):
        yield from lengths_of_python(path, text)
    if path.endswith(CODE):
        yield from lengths(path, text)
        yield from rooms.include_edges(path, text, ROOMS)
        yield from guards(path, text)
        yield from own_header_first(path, text, known)


def lengths_of_python(path, text):
    lines = len(text.splitlines())
    if lines > MAX_FILE_LINES:
        yield f"{path}:{lines}: {lines} lines; at most {MAX_FILE_LINES}: one idea a file"


def check(root):
    files = tracked_files(root)
    known = set(files)
    for f in files:
        if f.endswith(CODE + (".py", ".md")) or is_build_file(f):
            yield from of_one_file(f, (root / f).read_text(errors="replace"), known)
    for rule in (built, python_tests_run, named_tests, p90_of_functions, types_once, large_files):
        yield from rule(root, files)
    yield from rooms.check(root, files, ROOMS)


def main():
    root = Path(sys.argv[1]).resolve()
    if "--arrows" in sys.argv:
        print(rooms.arrows(root, ROOMS))
        return 0
    problems = list(check(root))
    print("\n".join(problems))
    print(f"{len(problems)} breaches of the repository's rules in {len(tracked_files(root))} files")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
