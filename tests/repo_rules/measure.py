"""What C++ text contains, without a compiler: function bodies with their lines, types with their names."""
import re

LITERALS = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S)
DIGITS = re.compile(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])")  # 1'000
NOT_A_FUNCTION = re.compile(r"\b(namespace|class|struct|enum|union|concept)\b[^()]*$")
TYPE = re.compile(r"\b(?:class|struct|union|enum(?:\s+class)?)\s+(?:\[\[\w+\]\]\s+|alignas\([^)]*\)\s+)?"
                  r"(\w+(?:::\w+)*)\s*(?:final\s*)?(?::(?!:)[^;{}()]*)?$")


def blank_out(text):
    """Comments and literals become spaces; line numbers stay."""
    return LITERALS.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), DIGITS.sub("_", text))


def _matching(code, start):
    """Where the brace that opens at `start` closes."""
    depth = 0
    for at in range(start, len(code)):
        depth += {"{": 1, "}": -1}.get(code[at], 0)
        if depth == 0:
            return at
    return len(code) - 1


def _is_member_initialiser(head, code, end):
    """In `A::A() : a_{1}, b_(2) {`, whether the brace behind `head` initialises a member."""
    if not re.search(r"\)\s*(noexcept\s*)?:(?!:)", head) or not re.search(r"[\w>]\s*$", head):
        return False
    rest = code[end + 1:end + 200].lstrip()
    return rest.startswith((",", "{"))


def functions(code):
    """(name, first line, lines) of each outermost function in blanked-out code.

    A constructor begins at its name: the list of its initialisers counts.
    """
    start, i = 0, 0
    while i < len(code):
        c = code[i]
        if c == "{":
            head = code[start:i]
            end = _matching(code, i)
            if head.count("(") > head.count(")") or _is_member_initialiser(head, code, end):
                i = end  # a braced argument, a member's initialiser
            elif _is_function(head):
                yield _describe(code, start, i, end)
                i = end
                start = i + 1
            elif _is_initialiser(head):
                i = end
            else:
                start = i + 1  # a namespace or a type: look inside
        elif c in "};":
            start = i + 1
        elif c == "#" and not code[code.rfind("\n", 0, i) + 1 : i].strip():
            while i < len(code) and code[i] != "\n":  # a directive with its continued lines
                i += 2 if code[i] == "\\" else 1
            start = i + 1
        i += 1


def _is_initialiser(head):
    """`= {...}` or `kTable[] {...}`, not `namespace a {` and not `struct B {`."""
    return re.search(r"(=|[\w>\])])\s*$", head) and not NOT_A_FUNCTION.search(head.strip())


def _is_function(head):
    head = head.strip()
    return ")" in head and not NOT_A_FUNCTION.search(head) and not head.endswith(("=", ",", "("))


def _describe(code, start, brace, end):
    head = code[start:brace]
    first = start + len(head) - len(head.lstrip())
    match = re.search(r"([\w:~]+|operator\W+)\s*\(", head)
    line = code.count("\n", 0, first) + 1
    if not re.search(r"\)\s*(noexcept\s*)?:(?!:)", head):
        line = code.count("\n", 0, brace) + 1  # a long list of parameters is no long function
    return match.group(1) if match else "?", line, code.count("\n", 0, end) + 1 - line + 1


def declared_types(code):
    """(full name, line) of each type that blanked-out code defines in a named namespace."""
    scopes, start = [], 0
    for i, c in enumerate(code):
        if c == "{":
            head = code[start:i].strip()
            namespace = re.search(r"\bnamespace(?:\s+([\w:]+))?$", head)
            declared = TYPE.search(head)
            if namespace:
                scopes.append(namespace.group(1) or "")
            elif declared and None not in scopes and "" not in scopes and "template" not in head:
                yield "::".join(scopes + [declared.group(1)]), code.count("\n", 0, i) + 1
                scopes.append(declared.group(1))
            else:
                scopes.append(None)
        elif c == "}" and scopes:
            scopes.pop()
        if c in "{};":
            start = i + 1
