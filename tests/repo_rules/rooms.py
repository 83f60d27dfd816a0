"""Rules about rooms: a room is a folder with code, a row of ROOMS (rules.py) and a CMake target."""
import re
from pathlib import Path

TOP = ("base", "capture", "proto", "rpc", "model", "server", "training", "client")
CODE = (".cc", ".h", ".cu", ".cuh")
MAX_UNITS = 20  # x.h and x.cc are one unit
MAX_UNTESTED_LINES = 100
UNTESTED = "tests/repo_rules/untested.txt"
ARROWS_BEGIN = "<!-- Printed by tests/repo_rules/rules.py . --arrows -->\n```text\n"
PROGRAMS = {"server": "llavad", "training": "llava-train"}  # rooms that hold a main.cc alone


def room_of(path, table):
    if path.endswith(".pb.h"):
        return "proto"
    folder = str(Path(path).parent)
    return folder if folder in table else None


def target_of(room):
    return PROGRAMS.get(room, "llava_" + room.replace("/", "_"))


def include_edges(path, text, table):
    room = room_of(path, table)
    if room is None:
        return
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'#include "([^"]+)"', line)
        other = room_of(match.group(1), table) if match else None
        if other and other != room and other not in table[room]:
            yield f"{path}:{number}: {room} may not include {other} (tests/repo_rules/rules.py: ROOMS)"
        if match and "/" not in match.group(1):
            yield f"{path}:{number}: include \"{match.group(1)}\" by its full path"


def folders_are_rooms(files, table):
    for f in files:
        folder = str(Path(f).parent)
        if f.endswith(CODE) and f.split("/")[0] in TOP and folder not in table:
            yield f"{f}:1: {folder} is no room (tests/repo_rules/rules.py: ROOMS)"


def small_enough(files, table):
    for room in table:
        units = {Path(f).stem for f in files if f.endswith(CODE) and str(Path(f).parent) == room}
        if len(units) > MAX_UNITS:
            yield f"{room}:1: {len(units)} units; at most {MAX_UNITS}: one subject a folder"


def _used(root, files, room):
    """The rooms that the code of `room` includes."""
    used = set()
    for f in files:
        if f.endswith(CODE) and str(Path(f).parent) == room:
            for name in re.findall(r'^#include "([^"]+)"', (root / f).read_text(), re.M):
                used.add("proto" if name.endswith(".pb.h") else str(Path(name).parent))
    return used - {room}


def no_idle_arrow(root, files, table):
    for room, allowed in table.items():
        for idle in sorted(set(allowed) - _used(root, files, room)):
            yield f"tests/repo_rules/rules.py:1: ROOMS lets {room} include {idle}, which it does not"


def _targets(text):
    """(kind, name, sources, rooms' targets it links) of each target in a CMakeLists.txt."""
    for kind, name, body in re.findall(r"\bllava_(library|executable)\(\s*(\S+)\s+([^)]*)\)", text):
        sources = re.search(r"\bSOURCES\s+(.*?)(?=\bDEPS\b|\bPRIVATE_DEPS\b|\bTORCH\b|$)", body, re.S)
        yield kind, name, sources.group(1).split() if sources else [], set(re.findall(r"\bllava_\w+", body))


def rooms_are_targets(root, present, table):
    """One target a room, named after it; its link line is its row of ROOMS."""
    known = {target_of(room) for room in table}
    for room, allowed in present.items():
        build = f"{room}/CMakeLists.txt"
        if room == "proto" or not (root / build).is_file():
            if room != "proto":
                yield f"{build}:1: is missing: a room is a CMake target"
            continue
        text = re.sub(r"#[^\n]*", "", (root / build).read_text())
        targets = {name: (sources, links) for _, name, sources, links in _targets(text)}
        if target_of(room) not in targets:
            yield f"{build}:1: defines no {target_of(room)}: a room is a CMake target"
            continue
        for name, (sources, _) in targets.items():
            if name != target_of(room) and sources != ["main.cc"]:
                yield f"{build}:1: {name}: a room is one target, beside a program of main.cc alone"
        wanted = {target_of(other) for other in allowed}
        linked = {name for _, links in targets.values() for name in links if name in known}
        linked -= {target_of(room)}
        for name in sorted(wanted - linked):
            yield f"{build}:1: does not link {name}, which ROOMS allows"
        for name in sorted(linked - wanted):
            yield f"{build}:1: links {name}, which ROOMS does not allow"


def tests_mirror(files, table):
    """tests/unit/<room>/x_test.cc tests <room>/x.h."""
    known = set(files)
    for f in files:
        if not f.startswith("tests/unit/") or not f.endswith("_test.cc"):
            continue
        unit = f.removeprefix("tests/unit/").removesuffix("_test.cc")
        if not {unit + ".h", unit + ".cc", unit + ".cu"} & known:
            yield f"{f}:1: there is no {unit}.h that it could test: tests/unit mirrors the tree"


def long_files_are_tested(root, files, table):
    """x.cc of a room with more than 100 lines has its x_test.cc, or stands in a list that only shrinks."""
    known = set(files)
    untested = {}
    for f in files:
        unit = f.removesuffix(".cc")
        if f.endswith(".cc") and str(Path(f).parent) in table and f"tests/unit/{unit}_test.cc" not in known:
            lines = len((root / f).read_text().splitlines())
            if lines > MAX_UNTESTED_LINES:
                untested[f] = lines
    listed = (root / UNTESTED).read_text().splitlines() if (root / UNTESTED).is_file() else []
    exempt = {line: n for n, line in enumerate(listed, 1) if line and not line.startswith("#")}
    for f in sorted(untested.keys() - exempt.keys()):
        yield (f"{f}:1: {untested[f]} lines without tests/unit/{f.removesuffix('.cc')}_test.cc; "
               f"at most {MAX_UNTESTED_LINES}")
    for f in sorted(exempt.keys() - untested.keys()):
        why = "is gone" if f not in known else "has a test or is short by now"
        yield f"{UNTESTED}:{exempt[f]}: {f} {why}: drop the line"


def uses_torch(root, room):
    build = root / room / "CMakeLists.txt"
    return room in PROGRAMS or build.is_file() and re.search(r"\n\s+TORCH\)", build.read_text()) is not None


def arrows(root, table):
    width = max(len(room) for room in table) + 2
    lines = []
    for room, allowed in table.items():
        mark = "*" if uses_torch(root, room) else ""
        words, line = sorted(allowed) or ["-"], f"{room + mark:{width}}<- "
        for i, word in enumerate(words):
            word += "," if i + 1 < len(words) else ""
            if len(line) + len(word) > 110:
                lines.append(line.rstrip())
                line = " " * (width + 3)
            line += word + " "
        lines.append(line.rstrip())
    return "\n".join(lines)


def documented(root, table):
    page = "docs/architecture.md"
    if not (root / page).is_file():
        return
    text = (root / page).read_text()
    _, found, rest = text.partition(ARROWS_BEGIN)
    if not found:
        yield f"{page}:1: lacks the arrows, which begin with {ARROWS_BEGIN.splitlines()[0]}"
    elif rest.partition("\n```")[0] != arrows(root, table):
        line = text.count("\n", 0, text.index(ARROWS_BEGIN)) + 1
        yield f"{page}:{line}: the arrows are not those of ROOMS: paste what rules.py . --arrows prints"


def check(root, files, table):
    present = {room: allowed for room, allowed in table.items()
               if any(str(Path(f).parent) == room or f.startswith(room + "/") for f in files)}
    yield from folders_are_rooms(files, table)
    yield from small_enough(files, table)
    yield from no_idle_arrow(root, files, present)
    yield from rooms_are_targets(root, present, table)
    yield from tests_mirror(files, table)
    yield from long_files_are_tested(root, files, table)
    yield from documented(root, table)
