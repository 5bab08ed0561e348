"""The ABI record of release 1: what was promised, in numbers.

  record.py write   the header of today becomes the header of release 1.0 (before the
                    release is tagged; never after it)
  record.py check   the record belongs to the released header, and the header of today
                    is a pure growth of it, also in the eyes of the compiler

The record: released/1.0/v4infer.h, layout-1.txt (sizes, offsets, constants),
exports-1.txt (functions), and lib/capi/sizes_v1.inc (sizes for the struct rules).
"""
import os
import shutil
import subprocess
import sys
import tempfile

import api_check
import header

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CURRENT = os.path.join(ROOT, "include/v4infer/v4infer.h")
RELEASED = os.path.join(HERE, "released/1.0/v4infer.h")
LAYOUT = os.path.join(HERE, "layout-1.txt")
EXPORTS = os.path.join(HERE, "exports-1.txt")
SIZES = os.path.join(ROOT, "lib/capi/sizes_v1.inc")
CC = os.environ.get("CC", "cc")

# 64-bit targets; the record must hold on all of them, not only where it was made.
TARGETS = """x86_64-linux-gnu aarch64-linux-gnu riscv64-linux-gnu x86_64-pc-windows-msvc
aarch64-pc-windows-msvc x86_64-w64-mingw32 x86_64-apple-macosx11 arm64-apple-macosx11
arm64-apple-ios14 aarch64-linux-android24""".split()


def layout(path):
    """The layout record of one header, as the compiler sees it."""
    h = header.read(path)
    lines = ["#include <stdio.h>", f'#include "{path}"', "int main(void) {"]
    for s in h.structs:
        lines.append(f'printf("{s} %zu\\n", sizeof({s}));')
        for f in h.field_names(s):
            lines.append(f'printf("  .{f} %zu %zu\\n", offsetof({s}, {f}), sizeof((({s}*)0)->{f}));')
    for c in h.numbers():
        lines.append(f'printf("{c} %lld\\n", (long long){c});')
    lines.append("return 0; }")
    with tempfile.TemporaryDirectory() as tmp:
        source, program = os.path.join(tmp, "layout.c"), os.path.join(tmp, "layout")
        with open(source, "w", encoding="ascii") as f:
            f.write("\n".join(lines) + "\n")
        subprocess.run([CC, "-std=c99", "-w", source, "-o", program], check=True)
        return subprocess.run([program], check=True, capture_output=True, text=True).stdout


def claims(record, path, sized):
    """C source that compiles when the header at `path` keeps the record."""
    out, current = [f'#include "{path}"'], ""
    for line in record.splitlines():
        w = line.split()
        if line.startswith("  ."):
            f = w[0][1:]
            out.append(f"_Static_assert(offsetof({current}, {f}) == {w[1]} && "
                       f'sizeof((({current}*)0)->{f}) == {w[2]}, "{current}.{f}");')
        elif w[0].startswith("v4i_"):
            current = w[0]
            relation = ">=" if current in sized else "=="
            out.append(f'_Static_assert(sizeof({current}) {relation} {w[1]}, "{current}");')
        else:
            out.append(f'_Static_assert({w[0]} == {w[1]}, "{w[0]}");')
    return "\n".join(out) + "\n"


def compile_claims(record, path):
    """Compiles the claims here and, where clang is, for every target.  Returns errors."""
    source = claims(record, path, set(header.read(path).sized_structs()))
    runs = [[CC, "-std=c11"]]
    if shutil.which("clang"):
        runs += [["clang", "-std=c11", "-ffreestanding", f"--target={t}"] for t in TARGETS]
    errors = []
    for run in runs:
        done = subprocess.run(run + ["-w", "-fsyntax-only", "-x", "c", "-"], input=source, text=True,
                              capture_output=True)
        if done.returncode != 0:
            errors.append(" ".join(run) + ":\n" + done.stderr)
    print(f"layout: {source.count('_Static_assert')} claims, {len(runs)} compilers and targets")
    return errors


def sizes(record, sized):
    lines = ["// Size of each growing struct in release 1.0: numbers, never sizeof, because a field",
             "// added later must not refuse the programs built before it.",
             "// Written by tests/abi/record.py; not edited after the release."]
    for line in record.splitlines():
        w = line.split()
        if w[0] in sized:
            lines.append(f"template <>\ninline constexpr size_t kOldest<{w[0]}> = {w[1]};")
    return "\n".join(lines) + "\n"


def files():
    """Path -> text of everything that follows from the released header."""
    h, record = header.read(RELEASED), layout(RELEASED)
    return {LAYOUT: record, EXPORTS: "\n".join(sorted(h.functions)) + "\n",
            SIZES: sizes(record, set(h.sized_structs()))}


def write():
    os.makedirs(os.path.dirname(RELEASED), exist_ok=True)
    shutil.copyfile(CURRENT, RELEASED)
    for path, text in files().items():
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        print("wrote", os.path.relpath(path, ROOT))


def check():
    broken = [f"{os.path.relpath(path, ROOT)} does not belong to {os.path.relpath(RELEASED, ROOT)}"
              for path, text in files().items() if open(path, encoding="ascii").read() != text]
    broken += api_check.check(header.read(RELEASED), header.read(CURRENT))
    record = open(LAYOUT, encoding="ascii").read()
    for path in (RELEASED, CURRENT):
        broken += compile_claims(record, path)
    print("\n".join(broken) or "ok: the header of today keeps every promise of release 1.0")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(write() if sys.argv[1:] == ["write"] else check())
