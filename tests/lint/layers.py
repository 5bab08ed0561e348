"""Which folder may include which: the include table of docs/architecture.md, checked.

usage: layers.py [--self-test]     exit 1 and one line per wrong include
"""
import re
import sys

import sources

LOW = {"lib/tensor", "lib/base"}
MAY_INCLUDE = {  # folder -> folders it may name in #include "...", besides itself
    "include/v4infer": set(),
    "kernels": {"lib/tensor"},
    "kernels/cuda/driver": {"kernels", "lib/base"},  # a header that opens shared libraries
    "lib/base": set(),
    "lib/tensor": {"lib/base"},
    "lib/loader": LOW,
    "lib/tokenizer": {"lib/base"},
    "lib/media": {"lib/base", "lib/media/codecs"},
    "lib/media/codecs": set(),  # a library of its own
    "lib/model": {"lib/loader"} | LOW,
    "lib/store": LOW,
    "lib/kv": {"lib/store"} | LOW,
    "lib/experts": {"lib/store", "lib/model"} | LOW,
    "lib/engram": {"lib/store", "lib/model"} | LOW,
    "lib/forward": {"lib/kv", "lib/experts", "lib/engram", "lib/store", "lib/model"} | LOW,
    # A backend's folder: the only one of lib that knows kernels.
    "lib/forward/cpu": {"lib/forward", "lib/kv", "lib/experts", "lib/engram", "lib/store", "lib/model",
                        "kernels"} | LOW,
    "lib/forward/cuda": {"lib/forward", "lib/forward/cpu", "lib/kv", "lib/experts", "lib/engram", "lib/store", "lib/model",
                         "kernels"} | LOW,
    "lib/sampling": {"lib/tokenizer", "lib/base"},
    "lib/session": {"lib/forward", "lib/forward/cpu", "lib/forward/cuda", "lib/sampling", "lib/tokenizer", "lib/media", "lib/kv", "lib/experts",
                    "lib/engram", "lib/store", "lib/model"} | LOW,
    "lib/capi": {"lib/session", "lib/sampling", "lib/tokenizer", "lib/media", "lib/store", "lib/model",
                 "lib/base", "include/v4infer"},
    "examples": {"include/v4infer"},
    "bindings": {"include/v4infer"},
}
# Other people's headers and the folders that may see them; tests and bench see all.
PACKAGES = {
    r"fmt/": {"lib/"},
    r"nlohmann/": {"lib/", "examples/cli/"},
    r"Eigen/": {"lib/forward/"},
    r"CLI/": {"examples/cli/"},
    r"hiredis/": {"examples/custom_kv_store.c"},
    r"xxhash": {"lib/base/"},
    r"liburing": {"lib/store/"},
    r"sqlite3": {"lib/store/"},
    r"catch2/|benchmark/": set(),
    r"png\.h|jpeglib|jerror|webp/": {"lib/media/codecs/"},
    r"cuda|cublas|nccl": {"kernels/cuda/", "lib/forward/cuda/"},
}
FREE = ("tests/", "bench/")


def folder_of(path):
    """The row of the table that a file belongs to: its longest known prefix."""
    rows = [f for f in MAY_INCLUDE if path.startswith(f + "/")]
    return max(rows, key=len) if rows else None


def resolve(path, included):
    """The folder that an #include names: from the root, from include/, or beside the file."""
    if included.startswith("v4infer/"):
        included = "include/" + included
    return folder_of(included if "/" in included else path)


def check(path, text):
    own = folder_of(path)
    if path.startswith(FREE):
        return
    if own is None:
        yield f"{path}:1: this folder is not in the include table"
        return
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
        if not found:
            continue
        quote, name = found.groups()
        for package, allowed in PACKAGES.items():
            if re.match(package, name) and not path.startswith(tuple(allowed)):
                yield f"{path}:{number}: {own} may not include <{name}>"
        if name == "nlohmann/json.hpp" and path.startswith("lib/") and not path.endswith(".cc"):
            yield f"{path}:{number}: <{name}> belongs into .cc files; headers may use json_fwd.hpp"
        if quote == '"' or name.startswith("v4infer/"):
            target = resolve(path, name)
            if target is None:
                yield f'{path}:{number}: "{name}" names no folder of the tree'
            elif target != own and target not in MAY_INCLUDE[own]:
                yield f"{path}:{number}: {own} may not include {target}"


def acyclic():
    """The table itself must describe a tree that can be built."""
    state = {}

    def visit(folder, trail):
        if state.get(folder) == "done":
            return
        if folder in trail:
            yield f"the include table has a circle: {' -> '.join(trail + [folder])}"
            return
        for below in sorted(MAY_INCLUDE[folder]):
            yield from visit(below, trail + [folder])
        state[folder] = "done"

    for folder in MAY_INCLUDE:
        yield from visit(folder, [])


def self_test():
    wrong = [("lib/loader/x.cc", '#include "lib/session/session.h"'), ("kernels/x.cc", '#include "lib/base/error.h"'),
             ("lib/base/x.h", "#include <Eigen/Core>"), ("lib/model/x.h", "#include <nlohmann/json.hpp>"),
             ("lib/base/x.h", "#include <v4infer/v4infer.h>"), ("examples/x.c", '#include "lib/base/error.h"'),
             ("lib/nowhere/x.cc", ""), ("lib/kv/x.cc", '#  include "lib/model/model.h"'),
             ("include/v4infer/x.hpp", "#include <fmt/core.h>"), ("lib/forward/x.cc", '#include "other/x.h"'),
             ("lib/forward/x.cc", '#include "kernels/kernels.h"'), ("lib/forward/x.cc", '#include "lib/forward/cpu/x.h"')]
    right = [("lib/loader/x.cc", '#include "lib/base/error.h"'), ("tests/x.cc", '#include "lib/session/session.h"'),
             ("lib/forward/cpu/x.cc", '#include "kernels/kernels.h"'), ("kernels/cpu/x.cc", '#include "kernels/fp8.h"'),
             ("include/v4infer/x.hpp", '#include "v4infer.h"'), ("lib/capi/x.cc", '#include "v4infer/v4infer.h"')]
    bad = [f"not seen: {p} {t}" for p, t in wrong if not list(check(p, t))]
    bad += [f"refused: {p} {t}" for p, t in right if list(check(p, t))]
    return bad


def main():
    if sys.argv[1:] == ["--self-test"]:
        bad = self_test()
    else:
        bad = list(acyclic())
        for path in sources.sources(sources.CPP):
            bad += check(path, sources.read(path).decode("utf-8", "replace"))
    print("\n".join(bad) or "ok: includes")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
