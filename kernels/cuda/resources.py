"""Registers, spills, occupancy and the instructions that matter of every compiled kernel.

usage: resources.py [--cuobjdump PATH] [--check] [--write FILE] FATBIN...
       resources.py --self-test

Reads what `cmake --preset cuda` compiled (build/cuda/cuda/*.fatbin) and prints a table in markdown,
or writes it to a file.  --check exits 1 where
  a kernel for sm_90 or sm_120 uses local memory (spills),
  a kernel has shared memory of its own (all of it is dynamic: sizes are in NAME.h),
  a kernel for few tokens has no 128-bit loads from global memory,
  a kernel that should use tensor cores has no HMMA.
Needs cuobjdump and nvdisasm: of the toolkit or, without it, from PyPI (nvidia-cuda-cuobjdump,
nvidia-cuda-nvdisasm).
"""
import argparse
import os
import re
import shutil
import subprocess
import sys

NO_SPILLS = ("sm_90", "sm_120")
WIDE_LOADS = re.compile(r"v4i_(products|experts)_few\d*$")
TENSOR = re.compile(r"v4i_(products|experts|attention)_(few|many|split)\d*(_\w+)?$|v4i_index_scores$")
# Of a multiprocessor: threads, blocks.  All have 65536 registers.
LIMITS = {"sm_80": (2048, 32), "sm_86": (1536, 16), "sm_89": (1536, 24), "sm_90": (2048, 32),
          "sm_100": (2048, 32), "sm_120": (1536, 24)}
INSTRUCTION = re.compile(r"^ {8}/\*[0-9a-f]{4,}\*/ +(?:\{ *)?(?:@!?\w+ +)?([A-Z][A-Z0-9_.]*)", re.M)


class Kernel:
    """One kernel, compiled for one target."""

    def __init__(self, name, target, file):
        self.name, self.target, self.file = name, target, file
        self.registers = self.stack = self.shared = self.threads = 0
        self.local = self.loads = self.shared_loads = self.copies = self.hmma = self.imma = 0

    def count(self, instruction):
        words = instruction.split(".")
        self.local += words[0] in ("LDL", "STL")
        self.hmma += words[0] == "HMMA"
        self.imma += words[0] == "IMMA"
        if "128" in words:
            self.loads += words[0] == "LDG"
            self.shared_loads += words[0] == "LDS"
            self.copies += words[0] == "LDGSTS"
        self.shared_loads += words[0] == "LDSM" and "4" in words

    def blocks(self):
        """Blocks that fit a multiprocessor by threads and registers, before dynamic shared memory."""
        threads, blocks = LIMITS[self.target]
        warps = max(1, (self.threads + 31) // 32)
        registers = (self.registers * 32 + 255) // 256 * 256  # of a warp
        by_registers = 65536 // 4 // registers * 4 // warps if registers else blocks
        return min(blocks, threads // 32 // warps, by_registers)


def output(command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def by_function(text, head):
    """(name, text that follows) for every line that `head` matches."""
    parts = re.split(head, text, flags=re.M)
    return zip(parts[1::2], parts[2::2])


def parse(target, file, usage, sass, elf):
    """The kernels of one target, from what cuobjdump prints."""
    kernels = {}
    for name, text in by_function(usage, r"^ Function (\w+):$"):
        k = kernels[name] = Kernel(name, target, file)
        found = dict(re.findall(r"(\w+)(?:\[\d+\])?:(\d+)", text.split("\n Function")[0]))
        k.registers, k.stack = int(found["REG"]), int(found["STACK"])
        # From sm_90 on the 1024 bytes that the system has in every block are among them.
        reserved = 1024 if int(target[3:]) >= 90 else 0
        k.shared = int(found["SHARED"]) - reserved
    for name, text in by_function(sass, r"^\t*Function : (\w+)$"):
        for instruction in INSTRUCTION.findall(text):
            kernels[name].count(instruction)
    for name, text in by_function(elf, r"^\.nv\.info\.(\w+)$"):
        threads = re.search(r"EIATTR_MAX_THREADS\s+Format:.*\s+Value:\s*0x([0-9a-f]+)", text)
        if threads and name in kernels:
            kernels[name].threads = int(threads[1], 16)
    return list(kernels.values())


def read(cuobjdump, fatbin):
    file = os.path.basename(fatbin).replace(".fatbin", ".cu")
    for target in LIMITS:
        texts = [output([cuobjdump, what, "-arch", target, fatbin]) for what in ("-res-usage", "-sass", "-elf")]
        yield from parse(target, file, *texts)


def problems(kernels):
    for k in kernels:
        where = f"{k.file}: {k.name} for {k.target}"
        if k.target in NO_SPILLS and (k.local or k.stack):
            yield f"{where} uses local memory: {k.stack} bytes of stack, {k.local} loads and stores"
        if k.shared:
            yield f"{where} has {k.shared} bytes of shared memory that is not dynamic"
        if WIDE_LOADS.match(k.name) and not k.loads:
            yield f"{where} has no 128-bit loads from global memory"
        if TENSOR.match(k.name) and not k.hmma:
            yield f"{where} has no HMMA"
    if not kernels:
        yield "there are no kernels"


def table(kernels):
    """One line per kernel: what differs by target in the order of LIMITS, the rest of sm_90."""
    targets = " ".join(t[3:] for t in LIMITS)
    yield f"| kernel | file | threads | registers: {targets} | blocks by registers: {targets} | local memory | " \
          "16-byte loads: global, cp.async, shared | HMMA |"
    yield "|---|---|---|---|---|---|---|---|"
    for name in sorted({k.name for k in kernels}):
        of = {k.target: k for k in kernels if k.name == name}
        one = of.get("sm_90") or next(iter(of.values()))
        registers = " ".join(str(of[t].registers) if t in of else "-" for t in LIMITS)
        blocks = " ".join(str(of[t].blocks()) if t in of else "-" for t in LIMITS)
        local = ", ".join(f"{t}: {k.stack} B, {k.local} accesses" for t, k in of.items() if k.local or k.stack)
        yield f"| {name} | {one.file} | {one.threads} | {registers} | {blocks} | {local or 'none'} | " \
              f"{one.loads}, {one.copies}, {one.shared_loads} | {one.hmma} |"


def self_test():
    usage = ("Resource usage:\n Common:\n  GLOBAL:0\n Function v4i_products_few:\n"
             "  REG:{} STACK:{} SHARED:{} LOCAL:0 CONSTANT[0]:424 TEXTURE:0\n")
    line = "        /*0010*/              {} R1, [R2] ;          /* 0x00 */\n"
    elf = ".nv.info.v4i_products_few\n\tAttribute:\tEIATTR_MAX_THREADS\n\tFormat:\tEIFMT_SVAL\n\tValue:\t0x100 0x1 0x1\n"
    good = ["LDG.E.NA.128.CONSTANT", "@!P0 HMMA.16816.F32.BF16", "{ LDS.128", "LDGSTS.E.BYPASS.128"]

    def kernel(instructions, registers=128, stack=0, shared=1024):
        sass = "\t\tFunction : v4i_products_few\n" + "".join(line.format(i) for i in instructions)
        return parse("sm_90", "x.cu", usage.format(registers, stack, shared), sass, elf)

    k = kernel(good)[0]
    wrong = []
    if (k.registers, k.shared, k.threads, k.loads, k.hmma, k.shared_loads, k.copies) != (128, 0, 256, 1, 1, 1, 1):
        wrong.append(f"read {vars(k)}")
    if k.blocks() != 2 or kernel(good, 32)[0].blocks() != 8 or kernel(good, 255)[0].blocks() != 1:
        wrong.append("wrong occupancy")
    if list(problems([k])):
        wrong.append("a good kernel is refused")
    for name, bad in (("no wide load", kernel(good[1:])), ("no HMMA", kernel(good[:1])), ("nothing", []),
                      ("static shared memory", kernel(good, shared=1040)),
                      ("a spill", kernel(good + ["STL.64"])), ("a stack", kernel(good, stack=8))):
        if not list(problems(bad)):
            wrong.append(f"not seen: {name}")
    print("\n".join(wrong) or "ok: resources of kernels")
    return 1 if wrong else 0


def find_cuobjdump(given):
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    beside = os.path.join(os.path.dirname(os.path.realpath(nvcc)), "cuobjdump")
    found = given or shutil.which("cuobjdump") or (beside if os.path.exists(beside) else None)
    if not found:
        sys.exit("there is no cuobjdump: see the first lines of this script")
    folder = os.path.dirname(os.path.abspath(found))  # it calls nvdisasm
    os.environ["PATH"] = folder + os.pathsep + os.environ["PATH"]
    return found


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    parser = argparse.ArgumentParser()
    parser.add_argument("--cuobjdump")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", metavar="FILE")
    parser.add_argument("fatbins", nargs="+", metavar="FATBIN")
    options = parser.parse_args()
    cuobjdump = find_cuobjdump(options.cuobjdump)
    kernels = [k for fatbin in sorted(options.fatbins) for k in read(cuobjdump, fatbin)]
    text = "\n".join(table(kernels))
    if options.write:
        with open(options.write, "w", encoding="ascii") as f:
            f.write(text + "\n")
    elif not options.check:
        print(text)
    if not options.check:
        return 0
    bad = list(problems(kernels))
    print("\n".join(bad) or f"ok: {len(kernels)} compiled kernels")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
