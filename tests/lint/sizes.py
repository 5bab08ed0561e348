"""Files stay under 500 lines and functions under 70 (kernels of CUDA: 250).

usage: sizes.py [--self-test]     exit 1 and one line per file or function that is too long

Exceptions are in sizes.txt, one per line: FILE FUNCTION LINES REASON, where FUNCTION is
'-' for the file itself.  An entry that is no longer needed is an error too.
"""
import ast
import os
import re
import sys

import sources

FILE_LIMIT = 500
FUNCTION_LIMIT = 70
CUDA_KERNEL_LIMIT = 250
HERE = os.path.dirname(os.path.abspath(__file__))


def blank(text):
    """The text without comments, literals and preprocessor lines; every newline kept."""
    pattern = (r'//[^\n]*|/\*.*?\*/|R"(\w*)\((?:.*?)\)\1"|"(?:\\.|[^"\\\n])*"|'
               r"'(?:\\.|[^'\\\n])+'|^[ \t]*#(?:\\\n|[^\n])*")
    return re.sub(pattern, lambda m: "\n" * m[0].count("\n") or " ", text, flags=re.S | re.M)


def is_scope(head):
    """Does the text before a brace open a scope that holds functions?"""
    if re.search(r'\bextern\s*$|\bnamespace\b[\w:\s]*$', head):
        return True
    return bool(re.search(r"\b(class|struct|union|enum)\b[^()=]*$", head))


def name_of(head):
    """The name in front of the first parenthesis: of the function or test macro."""
    found = re.search(r"([~\w:]+|operator\s*\S+?)\s*\(", head)
    return found[1] if found else None


def kind_of(head):
    """What a brace after `head` opens: value (part of the head), scope, body or table."""
    if head.count("(") > head.count(")") or re.search(r"\)\s*(noexcept\s*)?:[^;]*[:,]\s*[\w:]+$", head):
        return "value"  # a default argument, or a member initialised in braces
    if re.search(r"\)\s*(noexcept\s*)?:\s*[\w:]+$", head):
        return "value"  # the first member initialised in braces
    if is_scope(head):
        return "scope"
    return "body" if name_of(head) and not re.search(r"=\s*$", head) else "table"


def functions(text):
    """(name, first line, lines, head) of every C++ function, found by its braces."""
    text, stack, start = blank(text), [], 0  # stack of (kind, head, first line)
    for found in re.finditer(r"[{};]", text):
        at, sign = found.start(), found[0]
        if sign == "{":
            inside = bool(stack) and stack[-1][0] != "scope"
            head = text[start:at].strip()
            first = text.count("\n", 0, at - len(text[start:at].lstrip()))
            stack.append(("inner" if inside else kind_of(head), head, first))
        elif sign == "}" and stack:
            kind, head, first = stack.pop()
            if kind == "body":
                yield name_of(head), first + 1, text.count("\n", 0, at) - first + 1, head
            if kind == "value":
                continue  # the head goes on
        if not stack or stack[-1][0] == "scope":
            start = at + 1


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.lineno, node.end_lineno - node.lineno + 1, ""


def too_long(path, text):
    """(file, function or '-', lines, limit) of everything over its limit."""
    lines = text.count("\n")
    if lines > FILE_LIMIT:
        yield path, "-", lines, FILE_LIMIT
    for name, _, length, head in (python_functions if path.endswith(".py") else functions)(text):
        limit = CUDA_KERNEL_LIMIT if "__global__" in head else FUNCTION_LIMIT
        if length > limit:
            yield path, name, length, limit


def exceptions():
    with open(os.path.join(HERE, "sizes.txt"), encoding="ascii") as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                path, name, lines, reason = line.split(None, 3)
                yield (path, name), int(lines), reason


def check():
    allowed = {key: lines for key, lines, _ in exceptions()}
    needed = set()
    for path in sources.sources(sources.CPP + (".py",)):
        for _, name, lines, limit in too_long(path, sources.read(path).decode("utf-8", "replace")):
            needed.add((path, name))
            if lines > allowed.get((path, name), limit):
                what = "the file" if name == "-" else name
                yield f"{path}: {what} has {lines} lines, limit {allowed.get((path, name), limit)}"
    for key in sorted(set(allowed) - needed):
        yield f"sizes.txt: {key[0]} {key[1]} is no longer needed"


def self_test():
    long = "".join(f"  x += {i};  // {{\n" for i in range(70))
    code = ("namespace a {\nstruct S : B {\n  int f(int x) const {\n" + long + "  }\n};\n"
            'TEST_CASE("a { claim") {\n' + long + "}\nint table[] = {\n" + "1,\n" * 90 + "};\n"
            "int short_one() { if (1) { return 2; } return 3; }\n"
            "A::A(int x) : y_(x), z_{x}, w_{{1, 2}} {\n" + long + "}\n"
            "void g(std::vector<int> v = {}, int k = 1) {\n" + long + "}\n"
            "B::B() : y_{1} {\n" + long + "}\n}  // namespace a\n")
    got = sorted(name for _, name, _, _ in too_long("x.cc", code))
    wrong = [] if got == ["A::A", "B::B", "TEST_CASE", "f", "g"] else [f"C++: found {got}"]
    if not list(too_long("x.cc", "\n" * 501)):
        wrong.append("a long file is not seen")
    if not list(too_long("x.py", "def f():\n" + "  pass\n" * 80)):
        wrong.append("a long Python function is not seen")
    return wrong


def main():
    bad = self_test() if sys.argv[1:] == ["--self-test"] else list(check())
    print("\n".join(bad) or "ok: sizes")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
