"""Files with instruction-set flags leave nothing behind that other code could call.

usage: isa_objects.py OBJECTS...     looks at those whose path names an instruction set

A function or template compiled with -mavx2 into a weak symbol may be the copy that the linker keeps
for the whole program; an old processor then dies in, say, std::vector.  So such files have no weak
symbols, and no function but their table is visible outside.
"""
import re
import subprocess
import sys


def weak(path):
    out = subprocess.run(["nm", "-C", path], check=True, capture_output=True, text=True).stdout
    return [line.split(None, 2)[-1] for line in out.splitlines() if re.search(r" [WwVvu] ", line)]


def main():
    # The system compiler leaves weak undefined names of its own in every object.
    objects = [o for o in sys.argv[1:] if re.search(r"(avx|neon|sve|amx)", o)]
    bad = [f"{o}: weak {name}" for o in objects for name in weak(o)]
    print("\n".join(bad) or f"ok: {len(objects)} files with instruction-set flags")
    return 1 if bad or not objects else 0


if __name__ == "__main__":
    sys.exit(main())
