#!/usr/bin/env python3
"""Golden data of token_classes_test.cc: Engram's classes of token ids, by Python's own Unicode.

    make_classes.py digest TOKENIZER.json      classes, and SHA-256 of the map as little-endian int32
    make_classes.py pick TOKENIZER.json OUT    a small vocabulary with what is difficult in that one
    make_classes.py folds                      SHA-256 of what is left of every code point

The committed golden/class_tokens.json is "pick" of the published V4 tokenizer.json (its 128,000 base
tokens are V4.1's).  Python 3.11 (Unicode 14) and 3.14 (Unicode 16) give the same for it; "folds" needs 16.
"""
import hashlib
import json
import random
import re
import struct
import sys
import unicodedata

if unicodedata.unidata_version != "16.0.0" and sys.argv[1:2] == ["folds"]:
    import unicodedata2 as unicodedata

WHITE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
PRINTS = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
BYTE_OF = {chr(b): b for b in PRINTS}
BYTE_OF.update({chr(0x100 + i): b for i, b in enumerate(b for b in range(256) if b not in PRINTS)})
# Letters of Unicode 16 whose lower case Python 3.11 does not know.
LATER = {0x1c89: 0x1c8a, 0xa7cb: 0x264, 0xa7cc: 0xa7cd, 0xa7da: 0xa7db, 0xa7dc: 0x19b}
LATER.update({c: c + 32 for c in range(0x10d50, 0x10d66)})


def without_marks(text):
    text = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text))
    text = "".join(c for c in text if unicodedata.category(c)[0] != "M")
    return "".join(chr(LATER[ord(c)]) if ord(c) in LATER else c.lower() for c in text)


def key_of(raw, added):
    text = raw if added else bytes(BYTE_OF[c] for c in raw).decode("utf-8", "replace")
    if "\ufffd" in text:
        return raw
    key = re.sub("[ \t\r\n]+", " ", without_marks(text))
    return key if key == " " else key.strip(WHITE) or text


def read(path):
    j = json.load(open(path, encoding="utf-8"))
    tokens = {i: (t, False) for t, i in j["model"]["vocab"].items()}
    tokens.update({t["id"]: (t["content"], True) for t in j["added_tokens"]})
    return [tokens[i] for i in range(len(tokens))]


def classes_of(tokens):
    seen = {}
    return [seen.setdefault(key_of(*t), len(seen)) for t in tokens]


def digest(classes):
    data = struct.pack("<%di" % len(classes), *classes)
    return "%d ids, %d classes, %s" % (len(classes), max(classes) + 1, hashlib.sha256(data).hexdigest())


def pick(tokens, out):
    """Members of shared classes, what has no valid text, what normalises to nothing."""
    base, rng = tokens[3:128000], random.Random(1)
    members = {}
    for t in base:
        members.setdefault(key_of(*t), []).append(t)
    text = {t: bytes(BYTE_OF[c] for c in t[0]).decode("utf-8", "replace") for t in base}
    chosen = [t for t in base if not text[t].isascii() and len(members[key_of(*t)]) > 1]
    chosen = rng.sample(chosen, 900) + [t for t in base if text[t].isspace()]
    chosen += rng.sample([t for t in base if "\ufffd" in text[t]], 200)
    chosen += [t for t in base if key_of(*t) == text[t] and without_marks(text[t]).strip(WHITE) == ""]
    chosen += [t for k in sorted(members, key=lambda k: -len(members[k]))[1:12] for t in members[k]]
    order = {t: i for i, t in enumerate(base)}
    chosen = sorted(set(chosen), key=order.get)
    with open(out, "w") as f:
        json.dump({"tokens": [t for t, _ in chosen], "classes": classes_of(chosen)}, f, separators=(",", ":"))
        f.write("\n")
    print(len(chosen), "tokens", digest(classes_of(chosen)))


def folds():
    h = hashlib.sha256()
    for c in range(0x110000):
        if not 0xd800 <= c < 0xe000:
            h.update("".join([chr(c), without_marks(chr(c)), "\n"]).encode("utf-32-le"))
    print(unicodedata.unidata_version, h.hexdigest())


if __name__ == "__main__":
    if sys.argv[1] == "folds":
        folds()
    elif sys.argv[1] == "digest":
        print(digest(classes_of(read(sys.argv[2]))))
    else:
        pick(read(sys.argv[2]), sys.argv[3])
