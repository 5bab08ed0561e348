"""The ABI contract: usage: api_check.py RELEASED.h CURRENT.h    exit 1 when it is broken

Allowed: new constants, new functions, new types, and fields appended to structs that
begin with struct_size.  Everything else is a break, also when every size stays the same.
"""
import re
import sys

import header


def check(old, new):
    """Yields one sentence per broken promise."""
    for kind in ("constants", "types", "functions"):
        now = getattr(new, kind)
        for name, was in getattr(old, kind).items():
            if name not in now:
                yield f"{kind[:-1]} {name}: removed"
            elif now[name] != was:
                yield f'{kind[:-1]} {name}: was "{was}", is "{now[name]}"'
    for name, was in old.structs.items():
        now = new.structs.get(name)
        if now is None:
            yield f"struct {name}: removed"
        elif now[: len(was)] != was:
            yield f"struct {name}: an existing field changed or moved"
        elif now != was and was[0] != "uint32_t struct_size":
            yield f"struct {name}: has no struct_size, so it cannot grow"
    yield from check_embedding(new)


def check_embedding(new):
    """A sized struct inside another could never grow: it is pointed to, never embedded."""
    sized = set(new.sized_structs())
    for name, fields in new.structs.items():
        for field in fields:
            inner = re.match(r"(\w+) \w", field)
            if inner and inner[1] in sized:
                yield f"struct {inner[1]}: may grow, but {name} embeds it"


def main():
    old, new = header.read(sys.argv[1]), header.read(sys.argv[2])
    broken = list(check(old, new))
    print("\n".join(broken) or f"ok: {len(old.functions)} functions, {len(old.structs)} structs, "
          f"{len(old.constants)} constants kept")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
