"""Reads v4infer.h into its four kinds of promises: constants, structs, types, functions."""
import re


class Header:
    """constants, types, functions: name -> text.  structs: name -> list of field texts."""

    def __init__(self, text):
        body = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
        self.constants = {
            m[1]: flat(m[2])
            for m in re.finditer(r"^#define (V4I_\w+)[ \t]+(\S.*)$", body, re.M)
            if not m[1].startswith(("V4I_VERSION_", "V4I_API"))
        }
        self.structs = {
            m[1]: [flat(f) for f in m[2].split(";") if f.strip()]
            for m in re.finditer(r"typedef struct (\w+) \{(.*?)\} \1;", body, re.S)
        }
        rest = re.sub(r"typedef struct (\w+) \{.*?\} \1;", "", body, flags=re.S)
        self.types = {
            re.search(r"(\w+)(?:\)\(.*)?$", flat(m[1]))[1]: flat(m[1])
            for m in re.finditer(r"^typedef (.*?);", rest, re.S | re.M)
        }
        self.functions = {
            re.search(r"(v4iu?_\w+)\(", flat(m[1]))[1]: flat(m[1])
            for m in re.finditer(r"^V4I_API ([^;{]+);", rest, re.M)
        }
        for kind in ("constants", "structs", "types", "functions"):
            if not getattr(self, kind):  # a parser that finds nothing must not pass
                raise SystemExit(f"header.py: no {kind} found; has the form of the header changed?")

    def sized_structs(self):
        """The structs that may grow; all others are frozen for ever."""
        return [n for n, fields in self.structs.items() if fields[0] == "uint32_t struct_size"]

    def field_names(self, struct):
        for text in self.structs[struct]:
            pointer_to_function = re.search(r"\(\*(\w+)\)", text)
            if pointer_to_function:
                yield pointer_to_function[1]
            else:
                for part in text.split(","):
                    yield re.search(r"(\w+)(?:\[\w+\])?$", part.strip())[1]

    def numbers(self):
        """Names of the constants that are plain integers."""
        return [n for n, v in self.constants.items() if re.fullmatch(r"\(?-?(0x)?[0-9a-fA-F]+u?\)?", v)]


def flat(text):
    return re.sub(r"\s*([*,();])\s*", r"\1", " ".join(text.split()))


def read(path):
    with open(path, encoding="ascii") as f:
        return Header(f.read())
