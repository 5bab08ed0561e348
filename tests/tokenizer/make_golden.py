#!/usr/bin/env python3
"""Golden data of the tokenizer tests, made with Hugging Face `tokenizers`.

    make_golden.py train OUT.json SIZE FOLDER...   a small tokenizer of the V4 kind
    make_golden.py vectors TOKENIZER.json COUNT SEED OUT.bin   what `tokenizers` answers

Needs `pip install tokenizers`.  The committed files were made with 0.23.3:

    train golden/tokenizer.json 4096 ../../lib ../../kernels ../oracle (the tree's own text)
    train golden/tokenizer_512.json 512 (same folders; for models of 512 tokens)
    vectors golden/tokenizer.json 6000 1 golden/vectors.bin

Against the published tokenizer, which is too large to commit:

    make_golden.py vectors tokenizer.json 24000 2 /tmp/v.bin
    V4I_TOKENIZER=tokenizer.json V4I_VECTORS=/tmp/v.bin test_tokenizer "[published]"

Vector file: "V4TV1\\n", count, then per vector: 1 byte (1: added tokens are cut out, 0:
they are not), byte count, UTF-8 bytes, id count, ids; all numbers LEB128.
"""
import json
import os
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

SPLITS = [
    "\\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
]
BAR, LOW = "\uff5c", "\u2581"
SPECIAL = ["<%sbegin%sof%ssentence%s>" % (BAR, LOW, LOW, BAR), "<%send%sof%ssentence%s>" % (BAR, LOW, LOW, BAR),
           "<%s%spad%s%s>" % (BAR, LOW, LOW, BAR)]
LATER = ["<%s%s%s>" % (BAR, w, BAR) for w in
         ["User", "Assistant", "System", "latest_reminder", "action", "query", "authority", "domain", "title",
          "read_url", "deepseek_image"]]
PLAIN = ["<think>", "</think>", BAR + "DSML" + BAR]


def train(out, size, roots):
    base = size - len(LATER) - len(PLAIN)
    files = []
    for root in roots:
        for folder, _, names in os.walk(root):
            files += [os.path.join(folder, n) for n in names if n.endswith((".h", ".cc", ".md", ".py"))]
    text = [open(f, encoding="utf-8").read() for f in sorted(files)]
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(s), "isolated") for s in SPLITS]
        + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    rng = random.Random(0)
    text += [s for _, s in (sample(rng, i) for i in range(3000))]
    trainer = trainers.BpeTrainer(vocab_size=base, special_tokens=SPECIAL, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tok.train_from_iterator(text, trainer)
    while tok.get_vocab_size() < base:  # keeps the later ids where they belong
        tok.add_special_tokens([AddedToken("<%splace%sholder%s%d%s>" % (
            BAR, LOW, LOW, tok.get_vocab_size(), BAR), normalized=False, special=True)])
    tok.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in LATER])
    tok.add_tokens([AddedToken(t, normalized=t == PLAIN[2], special=False) for t in PLAIN])
    with open(out, "w", encoding="utf-8") as f:
        json.dump(json.loads(tok.to_str()), f, ensure_ascii=False, separators=(",", ":"))
    print(out, os.path.getsize(out), "bytes,", tok.get_vocab_size(), "tokens")


WORDS = ("the of and to in is you that it was for on are as with his they be at one have this from or had by hot but "
         "some what there we can out other were all your when up use word how said an each she which do their time if "
         "will way about many then them would write like so these her long make thing see him two has look more day "
         "could go come did my sound no most number who over know water than call first people may down side been now "
         "don't it's I'll you're HTTPServer na\u00efve caf\u00e9 \u00c5ngstr\u00f6m Stra\u00dfe \u041c\u043e\u0441\u043a\u0432\u0430 \u0395\u03bb\u03bb\u03ac\u03b4\u03b1").split()
CODE = ("for (int i = 0; i < n; ++i) {\n\tsum += a[i] * b[i];\n}\n", "def f(x, *args, **kw):\n    return {k: v for k, v in x}\n",
        "SELECT * FROM t WHERE a >= 10.5e-3 AND b != 'x';", "<div class=\"a b\">&nbsp;</div>\r\n", "#include <vector>\n\n\n",
        "x->y::z<T&&>(p...)", "$ grep -rn \"foo\\.bar\" ./src | awk '{print $2}'\n", "0x1fULL == 0b1010'1010", "//--- ~~~ ===\n",
        "fn main() -> Result<(), Box<dyn Error>> { Ok(()) }", "\\frac{a}{b} \\sum_{i=1}^{n}", "https://example.com/a?b=c&d=%20#e")
RANGES = [(0x20, 0x7f), (0x00, 0x20), (0x80, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xd80),
          (0xe00, 0x1000), (0x1680, 0x1690), (0x2000, 0x2100), (0x2100, 0x2c00), (0x3000, 0x3130), (0x4e00, 0x9fb0),
          (0x9fa0, 0xa000), (0xac00, 0xd7b0), (0xe000, 0xe100), (0xf900, 0x10000), (0x10000, 0x10400), (0x11000, 0x11600),
          (0x1d400, 0x1d800), (0x1e800, 0x1ea00), (0x1f000, 0x1fb00), (0x20000, 0x20100), (0xe0000, 0xe0200), (0x10fff0, 0x110000)]
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u3000", "\u2028", "\x0b", "\x85", "\u200b", "\u1680", " \n "]
EMOJI = ["\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1eb\U0001f1f7", "\U0001f44d\U0001f3fd", "\u2764\ufe0f",
         "#\ufe0f\u20e3"]


def code_point(rng, ranges):
    while True:
        low, high = rng.choice(ranges)
        c = rng.randrange(low, high)
        if not 0xd800 <= c < 0xe000:
            return chr(c)


def prose(rng, n):
    return "".join(rng.choice(WORDS) + rng.choice([" "] * 12 + [", ", ". ", "? ", "\n", "\n\n", " (", ") ", "; ", " 12", "'s "])
                   for _ in range(n))


def cjk(rng, n):
    return "".join(rng.choice([chr(rng.randrange(0x4e00, 0x9fff)), chr(rng.randrange(0x3041, 0x30ff)), chr(rng.randrange(0x4e00, 0x5000)),
                               "\uff0c", "\u3002", "\u30fb", "A", "7", "\n", "\u3001", "\uac00", " "]) for _ in range(n))


def combining(rng, n):
    return "".join(rng.choice("aeiouxyz \u0915\u0e01\u05d0") + "".join(chr(rng.randrange(0x300, 0x370)) for _ in range(rng.randrange(4)))
                   for _ in range(n))


def long_run(rng, n):
    unit = rng.choice(["a", " ", "\n", "ab", "1", "!", "\u4e2d", "\u3042", "\t ", "-", "\u0301", "\U0001f600", "=", "aA", " a", "\x00", "e\u0301"])
    return rng.choice(["", "x", " ", "\n"]) + unit * n + rng.choice(["", "x", " ", "\n", "."])


def sample(rng, i):
    """(cut added tokens?, text)"""
    kind = i % 12
    if kind == 0: return 1, prose(rng, rng.randrange(1, 25))
    if kind == 1: return 1, "".join(rng.choice(CODE) for _ in range(rng.randrange(1, 4)))
    if kind == 2: return 1, cjk(rng, rng.randrange(1, 40))
    if kind == 3: return 1, "".join(rng.choice(EMOJI + WORDS[:20] + SPACES) for _ in range(rng.randrange(1, 15)))
    if kind == 4: return 1, combining(rng, rng.randrange(1, 20))
    if kind == 5: return 1, bytes(rng.randrange(256) for _ in range(rng.randrange(1, 60))).decode("latin-1")
    if kind == 6: return 1, "".join(code_point(rng, [(0, 0x110000)]) for _ in range(rng.randrange(1, 30)))
    if kind == 7: return 1, "".join(code_point(rng, RANGES) for _ in range(rng.randrange(1, 40)))
    if kind == 8: return 1, long_run(rng, rng.randrange(1, 60) if i % 24 == 8 else rng.randrange(60, 700))
    if kind == 9: return 1, "".join(rng.choice(SPACES + ["a", "b1", "?", "\u4e2d", "9"]) for _ in range(rng.randrange(1, 30)))
    if kind == 10: return 1, "".join(rng.choice(SPECIAL + LATER + PLAIN + WORDS[:9] + [" ", "<", BAR, "<think", "\n"])
                                     for _ in range(rng.randrange(1, 12)))
    return 1, "".join(rng.choice("abcXYZ019 .,'\"-_/\\()[]{}<>!?\n\t\u00e9\u4e2d\u3042") for _ in range(rng.randrange(1, 60)))


def leb(n):
    out = bytearray()
    while n >= 128:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def vectors(tokenizer, count, seed, out):
    tok = Tokenizer.from_file(tokenizer)
    plain = json.load(open(tokenizer, encoding="utf-8"))
    plain["added_tokens"] = []  # what text becomes when nothing is cut out
    tok_plain = Tokenizer.from_str(json.dumps(plain))
    rng = random.Random(seed)
    seen, blob, tokens, size = set(), [], 0, 0
    while len(blob) < count:
        i = len(blob)
        _, text = sample(rng, i)
        cut = 0 if i % 12 == 10 and rng.random() < 0.5 else 1
        if (cut, text) in seen:
            text += prose(rng, 3)
        seen.add((cut, text))
        ids = (tok if cut else tok_plain).encode(text, add_special_tokens=False).ids
        data = text.encode()
        tokens += len(ids)
        size += len(data)
        blob.append(bytes([cut]) + leb(len(data)) + data + leb(len(ids)) + b"".join(map(leb, ids)))
    with open(out, "wb") as f:
        f.write(b"V4TV1\n" + leb(len(blob)) + b"".join(blob))
    print(out, os.path.getsize(out), "bytes,", len(seen), "distinct texts,", size, "text bytes,", tokens, "ids")


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train(sys.argv[2], int(sys.argv[3]), sys.argv[4:])
    else:
        vectors(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
