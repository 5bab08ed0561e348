"""Can the ABI checks fail?  Breaks the header in every way we know and wants a refusal.

Each mutation is (what, old text, new text) applied to the header of today, comments removed.  `breaks`
must be caught by api_check.py; of those, `moves` change the layout and must also be
caught by the compiler's claims; `grows` must be accepted by both.
"""
import os
import re
import subprocess
import sys
import tempfile

import api_check
import header
import record

breaks = [
    ("field removed", "  int32_t log_level;\n", ""),
    ("function removed", "V4I_API void v4i_engine_release(v4i_engine* e);\n", ""),
    ("constant changed", "#define V4I_E_IO (-4)", "#define V4I_E_IO (-5)"),
    ("callback signature", "typedef int32_t (*v4i_progress_fn)(int32_t phase,",
     "typedef int32_t (*v4i_progress_fn)(int64_t phase,"),
    ("argument type", "v4i_session_rewind(v4i_session* s, uint64_t position",
     "v4i_session_rewind(v4i_session* s, uint32_t position"),
    ("embedded sized struct", "  const v4i_memory_budget* budget;", "  v4i_memory_budget budget;"),
    ("renamed field", "  const char* force_isa;", "  const char* forced_isa;"),
]
moves = [
    ("fields reordered", "  v4i_log_fn log;\n  void* log_user;", "  void* log_user;\n  v4i_log_fn log;"),
    ("equal types swapped", "  uint64_t device_bytes;\n  uint64_t pinned_bytes;",
     "  uint64_t pinned_bytes;\n  uint64_t device_bytes;"),
    ("field inserted in the middle", "  int32_t log_level;", "  int32_t inserted, more;\n  int32_t log_level;"),
    ("field widened", "  uint32_t context_hint;", "  uint64_t context_hint;"),
    ("array length", "  char name[128];", "  char name[256];"),
    ("frozen struct grown", "  v4i_token token;\n  float bias;", "  v4i_token token;\n  float bias;\n  float more;"),
]
grows = [
    ("field appended", "  int32_t reserved0;\n} v4i_engine_options;",
     "  int32_t reserved0;\n  uint64_t added;\n} v4i_engine_options;"),
    ("function added", "V4I_API void v4i_engine_release(v4i_engine* e);",
     "V4I_API void v4i_engine_release(v4i_engine* e);\nV4I_API uint32_t v4i_added(void);"),
    ("constant added", "#define V4I_E_IO (-4)", "#define V4I_E_IO (-4)\n#define V4I_ADDED 7"),
]


def compiles(layout, path):
    source = record.claims(layout, path, set(header.read(path).sized_structs()))
    return subprocess.run([record.CC, "-std=c11", "-w", "-fsyntax-only", "-x", "c", "-"], input=source,
                          text=True, capture_output=True).returncode == 0


def main():
    with open(record.CURRENT, encoding="ascii") as f:
        text = re.sub(r"[ \t]*/\*.*?\*/", "", f.read(), flags=re.S)
    original, layout = header.Header(text), record.layout(record.CURRENT)
    wrong = []
    for what, old, new in breaks + moves + grows:
        if text.count(old) == 0:
            wrong.append(f"{what}: nothing to mutate; the header moved on, update this test")
            continue
        mutated, good = text.replace(old, new, 1), (what, old, new) in grows
        if (not list(api_check.check(original, header.Header(mutated)))) != good:
            wrong.append(f"{what}: api_check.py {'refuses' if good else 'accepts'} it")
        with tempfile.TemporaryDirectory() as tmp:
            path = os.path.join(tmp, "v4infer.h")
            with open(path, "w", encoding="ascii") as f:
                f.write(mutated)
            if (what, old, new) not in breaks and compiles(layout, path) != good:
                wrong.append(f"{what}: the layout claims {'refuse' if good else 'accept'} it")
    print("\n".join(wrong) or f"ok: {len(breaks) + len(moves)} breaks caught, {len(grows)} growths accepted")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
