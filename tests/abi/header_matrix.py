"""Every public header compiles alone and twice, in every language it is for, without a warning.

usage: header_matrix.py [compilers]     default: those of gcc, clang that are installed
"""
import glob
import os
import shutil
import subprocess
import sys

INCLUDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../include")
STRICT = "-Wall -Wextra -Wpedantic -Wundef -Werror -fsyntax-only".split()
C_ONLY = "-Wpadded -Wstrict-prototypes -Wmissing-prototypes".split()


def compile_one(command, language, source):
    done = subprocess.run(command + ["-I", INCLUDE, "-x", language, "-"], input=source, text=True,
                          capture_output=True)
    return [] if done.returncode == 0 else [" ".join(command) + "\n" + done.stderr]


def main():
    compilers = sys.argv[1:] or [c for c in ("gcc", "clang") if shutil.which(c)]
    if not compilers:
        raise SystemExit("no compiler found")
    c_headers = sorted(glob.glob(os.path.join(INCLUDE, "v4infer/*.h")))
    cc_headers = sorted(glob.glob(os.path.join(INCLUDE, "v4infer/*.hpp")))
    wrong, count = [], 0
    runs = [(h, "c", s, C_ONLY) for h in c_headers for s in ("c99", "c11", "c17")]
    runs += [(h, "c++", s, ["-Wpadded"]) for h in c_headers for s in ("c++11", "c++17", "c++20")]
    runs += [(h, "c++", s, []) for h in cc_headers for s in ("c++17", "c++20")]
    for compiler in compilers:
        for path, language, standard, more in runs:
            twice = f"#include <v4infer/{os.path.basename(path)}>\n" * 2
            wrong += compile_one([compiler, f"-std={standard}"] + STRICT + more, language, twice)
            count += 1
    print("\n".join(wrong) or f"ok: {count} compilations with {', '.join(compilers)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
