"""What the binary may export, import and need.

usage: symbols.py LIBRARY     exit 1 when it breaks a rule
       symbols.py --plugin LIBRARY FUNCTION   of a plug-in: the one function, no memory of its own
       symbols.py --self-test builds one small library per rule that breaks it

Exports: the functions of v4infer.h, all of them, under V4INFER_1.0, nothing else.
Imports: nothing that ends, prints, reads the environment or alters the process.
Needs:   the C and C++ runtimes only; its own name is libv4infer.so.1.

What stays allowed and looks like a way out: dlopen and secure_getenv, by which a host that asks for
a CUDA backend or gives image files gets our own plug-ins (lib/base/plugin.cc); std::terminate, which the compiler places
where an exception would leave a noexcept function and where a running std::thread
would be destroyed; __stack_chk_fail, which is the system's own guard; and pthread_sigmask and setpriority, with
which the library's own threads block signals and take the priority of the engine's options (lib/base/thread.cc).
"""
import os
import re
import subprocess
import sys
import tempfile

import header

HERE = os.path.dirname(os.path.abspath(__file__))
CURRENT = os.path.join(HERE, "../../include/v4infer/v4infer.h")
SONAME = "libv4infer.so.1"
NODE = "V4INFER_1.0"
MAY_NEED = r"lib(stdc\+\+|c\+\+|c\+\+abi|gcc_s|m|c|pthread|dl)\.so\.\d+|ld-linux.*"

FORBIDDEN = {
    "ends the process": "abort exit _exit _Exit quick_exit kill raise pthread_exit pthread_kill "
    "__assert_fail __assert_perror_fail _ZSt21__glibcxx_assert_failPKciS0_S0_",
    "runs code at the end of the process": "__cxa_atexit __cxa_at_quick_exit __cxa_thread_atexit",
    "prints": "printf vprintf fprintf vfprintf dprintf puts putchar putc fputs fputc perror psignal "
    "__printf_chk __fprintf_chk __vprintf_chk __vfprintf_chk stdout stderr _IO_putc "
    "_ZSt4cout _ZSt4cerr _ZSt4clog _ZSt5wcout _ZSt5wcerr syslog __syslog_chk",
    "reads or writes the environment": "getenv setenv putenv unsetenv clearenv environ",
    "changes the locale": "setlocale uselocale _ZNSt6locale6globalERKS_",
    "touches signals": "signal sigaction sigprocmask sigaltstack alarm setitimer",
    "changes the floating-point environment": "fesetenv fesetround feholdexcept feupdateenv "
    "feenableexcept fedisableexcept fesetexceptflag",
    "changes the process": "chdir fchdir chroot umask fork vfork execve execv execvp execl posix_spawn "
    "system popen setrlimit prctl nice dlmopen srand rand strtok",
}

MEMORY = "malloc calloc realloc free posix_memalign aligned_alloc mmap _Znwm _Znam"


def dynamic(library, which):
    out = subprocess.run(["nm", "-D", which, library], check=True, capture_output=True, text=True).stdout
    return [line.split()[-1] for line in out.splitlines()]


def check_exports(library, names):
    wanted, found = {f"{n}@@{NODE}" for n in names}, set(dynamic(library, "--defined-only"))
    found.discard(NODE)
    found.discard(f"{NODE}@@{NODE}")
    yield from (f"exports {s}, which is not in the header" for s in sorted(found - wanted))
    yield from (f"does not export {s}" for s in sorted(wanted - found))


def check_imports(library):
    found = {s.split("@")[0] for s in dynamic(library, "--undefined-only")}
    for why, names in FORBIDDEN.items():
        yield from (f"imports {s}, which {why}" for s in names.split() if s in found)


def check_names(library, wanted):
    out = subprocess.run(["readelf", "-dW", library], check=True, capture_output=True, text=True).stdout
    soname = re.findall(r"SONAME\).*\[(.*)\]", out)
    if soname != wanted:
        yield f"is named {soname}, wanted {wanted}"
    for needed in re.findall(r"NEEDED\).*\[(.*)\]", out):
        if not re.fullmatch(MAY_NEED, needed):
            yield f"needs {needed}; only the C and C++ runtimes may be needed"
    if "TEXTREL" in out:
        yield "has text relocations"


def check(library, names):
    broken = [*check_exports(library, names), *check_imports(library), *check_names(library, [SONAME])]
    return [f"{os.path.basename(library)} {b}" for b in broken]


def check_plugin(library, function):
    exported, imported = ({s.split("@")[0] for s in dynamic(library, which)} - {NODE}
                          for which in ("--defined-only", "--undefined-only"))
    broken = [f"exports {s}" for s in sorted(exported - {function})]
    broken += [f"does not export {function}"] * (function not in exported)
    broken += [f"imports {s}: its memory is the host's" for s in MEMORY.split() if s in imported]
    broken += [*check_imports(library), *check_names(library, [])]
    return [f"{os.path.basename(library)} {b}" for b in broken]


def findings(folder, code, flags=(), soname=SONAME, judge=lambda library: check(library, ["v4i_one"])):
    """What check(), or another judge, says of a library made of `code`, whose header is one function, v4i_one."""
    source, library = os.path.join(folder, "one.c"), os.path.join(folder, "libone.so")
    script = os.path.join(folder, "one.map")
    with open(source, "w", encoding="ascii") as f:
        f.write(code)
    with open(script, "w", encoding="ascii") as f:
        f.write(NODE + " { global: v4i_*; local: *; };\n")
    subprocess.run([os.environ.get("CC", "cc"), "-w", "-O0", "-fno-builtin", "-shared", "-fPIC", source,
                    "-o", library, f"-Wl,--version-script={script}", *([f"-Wl,-soname,{soname}"] if soname else []), *flags],
                   check=True)
    return judge(library)


def self_test():
    one = "int v4i_one(void) { return 1; }\n"
    symbols = [s for names in FORBIDDEN.values() for s in names.split()]
    with tempfile.TemporaryDirectory() as folder:
        wrong = [f"the good library is refused: {b}" for b in findings(folder, one)]
        for symbol in symbols:  # a reference is enough; the library is never run
            found = findings(folder, one + f"extern char {symbol}[];\nvoid* f(void) {{ return {symbol}; }}\n")
            if not any(f"imports {symbol}," in b for b in found):
                wrong.append(f"an import of {symbol} is not seen")
        more = {"an extra export": findings(folder, one + "int v4i_two(void) { return 2; }"),
                "a missing export": findings(folder, "int v4i_zero(void) { return 0; }"),
                "a wrong name": findings(folder, one, soname="libone.so"),
                "a foreign library": findings(folder, one, flags=["-Wl,--no-as-needed", "-lresolv"])}
        plugin = dict(soname=None, judge=lambda library: check_plugin(library, "v4i_one"))
        wrong += [f"the good plug-in is refused: {b}" for b in findings(folder, one, **plugin)]
        more |= {f"{what} of a plug-in": findings(folder, one + code, **plugin) for what, code in {
            "an extra export": "int v4i_two(void) { return 2; }\n",
            "memory": "extern char malloc[];\nvoid* f(void) { return malloc; }\n"}.items()}
        wrong += [f"{what} is not seen" for what, found in more.items() if not found]
    print("\n".join(wrong) or f"ok: {len(symbols)} imports and {len(more)} other breaks caught")
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(self_test())
    if sys.argv[1] == "--plugin":
        problems = check_plugin(*sys.argv[2:])
    else:
        problems = check(sys.argv[1], header.read(CURRENT).functions)
    print("\n".join(problems) or "ok: exports, imports and names")
    sys.exit(1 if problems else 0)
