"""Key-value recall over a distance: a notice hidden in long text, asked for at the end.

The distance is in characters of filler per token wanted (about 4); build.py and the scorer
measure the exact number of tokens afterwards.  The filler is harmless sentences, among
them notices about other keys.
"""
import random

COLOURS = "red blue green white black silver golden amber violet grey copper ivory".split()
OBJECTS = "gate chest lock safe vault door cellar locker crate cabinet tower archive".split()
WHO = "The baker|A sailor|The miller|An old woman|The teacher|A child|The smith|A fisherman|The guard|A trader".split("|")
DOES = ("swept the yard|mended a net|counted the sacks|fed the hens|carried water|cut the hay|painted a fence|"
        "sang a song|lit the stove|drew a map|closed the shutters|washed the windows").split("|")
WHEN = "at dawn|before noon|after lunch|in the evening|at night|in the rain|on Monday|last week".split("|")


def filler(r: random.Random) -> str:
    return f"{r.choice(WHO)} {r.choice(DOES)} {r.choice(WHEN)}."


def notice(key: str, value: str) -> str:
    return f"The code of the {key} is {value}."


def keys(r: random.Random, count: int) -> list[str]:
    return r.sample([f"{c} {o}" for c in COLOURS for o in OBJECTS], count)


def example(r: random.Random, characters: int, notices: int = 0) -> dict:
    """The asked notice stands `characters` before the end of the text, others anywhere."""
    count = notices or r.randint(2, 8)
    codes = {k: "".join(r.choice("0123456789") for _ in range(4)) for k in keys(r, count)}
    asked = r.choice(sorted(codes))
    lines, size = [], 0
    while size < characters:
        lines.append(filler(r))
        size += len(lines[-1]) + 1
    for k in codes:
        if k != asked:
            lines.insert(r.randint(0, len(lines)), notice(k, codes[k]))
    text = " ".join([notice(asked, codes[asked])] + lines)
    before = " ".join(filler(r) for _ in range(r.randint(0, 3)))
    return {"messages": [
        {"role": "user", "content": f"{before}{' ' if before else ''}{text}\n\nWhat is the code of the {asked}?"},
        {"role": "assistant", "reasoning": notice(asked, codes[asked]), "content": f"{codes[asked]}"}],
        "thinking": r.random() < 0.15, "answer": codes[asked]}
