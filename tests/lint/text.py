"""Text rules of the sources: ASCII, no tabs, 100 columns of C++ (long literals aside), #pragma once, a first comment that
says what the file is, a README.md per folder, no unfinished work.

usage: text.py [--self-test]     exit 1 and one line per broken rule
"""
import os
import re
import sys

import sources

COLUMNS = 100
COMMENT = {".py": ('"""', "#"), ".sh": ("#",), ".cmake": ("#",), ".txt": ("#",), ".in": ("#",)}
# Spelled apart, so that this file does not break its own rule.
UNFINISHED = re.compile(rb"\b(TO" rb"DO|FIX" rb"ME|X" rb"XX|HA" rb"CK)\b")
# Folders that explain themselves in a README.md: these, every lib/ and bindings/ folder.
OWN_README = {"include", "kernels", "lib", "examples", "tests", "bench", "docs", "examples/cli",
              "tests/abi", "tests/lint", "tests/oracle", "tests/fuzz", "kernels/cuda"}


def starts_with_comment(path, text):
    lines = [line for line in text.splitlines() if not line.startswith("#!")]
    ending = os.path.splitext(path)[1]
    return bool(lines) and lines[0].lstrip().startswith(COMMENT.get(ending, ("//", "/*")))


def check(path, data):
    if not data:
        return
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.isascii():
            yield f"{path}:{number}: not ASCII; write \\u or \\x escapes"
        if b"\t" in line:
            yield f"{path}:{number}: a tab"
        if line.endswith((b" ", b"\r")):
            yield f"{path}:{number}: blanks at the end of the line"
        if len(line) > COLUMNS and path.endswith(sources.CPP) and b'"' not in line:
            yield f"{path}:{number}: {len(line)} columns"
        if UNFINISHED.search(line):
            yield f"{path}:{number}: unfinished work; finish it or return a clear 'unsupported' error"
    text = data.decode("utf-8", "replace")
    if not text.endswith("\n") or text.endswith("\n\n"):
        yield f"{path}: must end with exactly one newline"
    if not starts_with_comment(path, text):
        yield f"{path}:1: the first line is not a comment that says what the file is"
    if path.endswith((".h", ".hpp", ".cuh")) and path != "include/v4infer/v4infer.h":
        if not re.search(r"^#pragma once$", text, re.M):
            yield f"{path}: no #pragma once"


def readmes():
    for path, _, files in sources.folders(sources.TOP + ("docs",)):
        holds_sources = any(f.endswith(sources.TEXT) for f in files)
        wanted = path in OWN_README or re.fullmatch(r"(lib|bindings)/\w+", path)
        if wanted and (holds_sources or path in ("docs", "lib", "include")) and "README.md" not in files:
            yield f"{path}/ has no README.md"


def front_door():
    """The program in README.md is examples/hello.c, which is compiled."""
    shown = re.search(rb"```c\n(.*?)```", sources.read("README.md"), re.S)
    if not shown or shown[1] != sources.read("examples/hello.c"):
        yield "README.md: its program is not examples/hello.c"


def self_test():
    good = b"// what it is\n#pragma once\n"
    bad = {"ascii": good + b"// \xc3\xa9\n", "tab": good + b"\tint x;\n", "blank": good + b"int x; \n",
           "long": good + b"x" * 101 + b"\n", "word": good + b"// TO" b"DO\n", "no newline": good + b"int x;",
           "no comment": b"#pragma once\n", "no guard": b"// what\n"}
    wrong = [f"not seen: {what}" for what, data in bad.items() if not list(check("lib/x.h", data))]
    return wrong + [f"refused: {b}" for b in check("lib/x.h", good)]


def main():
    if sys.argv[1:] == ["--self-test"]:
        bad = self_test()
    else:
        bad = [*readmes(), *front_door()]
        for path in sources.sources():
            bad += check(path, sources.read(path))
    print("\n".join(bad) or "ok: text")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
