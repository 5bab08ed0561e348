"""Which files the lint looks at: the sources of the tree, tracked or about to be."""
import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOP = ("include", "kernels", "lib", "bindings", "examples", "tests", "bench")
CPP = (".h", ".hpp", ".c", ".cc", ".cu", ".cuh", ".inc")
TEXT = CPP + (".py", ".sh", ".cmake", "CMakeLists.txt", ".in")
SKIP = {"__pycache__", "build", "golden", "released", "results", "corpus", "node_modules", "target"}


def folders(tops=TOP):
    """(path from the root, folder names, file names), in a fixed order."""
    for top in tops:
        for path, names, files in os.walk(os.path.join(ROOT, top)):
            names[:] = sorted(n for n in names if n not in SKIP and not n.startswith("."))
            yield os.path.relpath(path, ROOT), names, sorted(files)


def sources(endings=TEXT):
    """Paths from the root."""
    for path, _, files in folders():
        for name in files:
            if name.endswith(endings):
                yield os.path.join(path, name)


def read(path):
    with open(os.path.join(ROOT, path), "rb") as f:
        return f.read()
