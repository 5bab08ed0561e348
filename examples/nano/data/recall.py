"""Key-value recall over a distance: notices hidden in long text, asked for at the end.

The distance is in characters of filler; the scorer measures how many tokens that is.  The filler
is harmless sentences.  Several questions may follow one text, so that one long text
teaches more than one answer.
"""
import random

from . import lists

KEYS = ("gate chest lock safe vault door cellar locker crate cabinet tower archive box case room store library lantern "
        "bucket basket candle hammer kettle mirror").split()
WHO = "The baker|A sailor|The miller|An old woman|The teacher|A child|The smith|A fisherman|The guard|A trader".split("|")
DOES = ("swept the yard|mended a net|counted the sacks|fed the hens|carried water|cut the hay|painted a fence|"
        "sang a song|lit the stove|drew a map|closed the shutters|washed the windows").split("|")
WHEN = "at dawn|before noon|after lunch|in the evening|at night|in the rain|on Monday|last week".split("|")


def filler(r: random.Random) -> str:
    return f"{r.choice(WHO)} {r.choice(DOES)} {r.choice(WHEN)}."


def notice(key: str, value: str) -> str:
    return f"The code of the {key} is {value}."


def keys(r: random.Random, count: int) -> list[str]:
    return r.sample(KEYS, count)


def question(key: str) -> str:
    return f"What is the code of the {key}?"


def example(r: random.Random, characters: int, notices: int = 0, turns: int = 1) -> dict:
    """The notice asked first stands `characters` before the end of the text, others anywhere."""
    count = max(notices or r.randint(2, 8), turns)
    codes = {k: f"{r.randint(10, 99)}" for k in keys(r, count)}
    asked = list(codes)[:turns]
    lines, size = [], 0
    while size < characters:
        lines.append(filler(r))
        size += len(lines[-1]) + 1
    for k in list(codes)[1:]:
        lines.insert(r.randint(0, len(lines)), notice(k, codes[k]))
    before = [filler(r) for _ in range(r.randint(0, 3))]
    text = " ".join(before + [notice(asked[0], codes[asked[0]])] + lines)
    messages = []
    for i, k in enumerate(asked):
        messages += [{"role": "user", "content": question(k) if i else f"{text}\n\n{question(k)}"},
                     {"role": "assistant", "reasoning": notice(k, codes[k]), "content": notice(k, codes[k])}]
    return {"messages": messages, "thinking": r.random() < 0.1}


def pairs(r: random.Random) -> dict:
    """The same without a story: many keys and values in few tokens, many short questions."""
    values = lists.WORDS if r.random() < 0.5 else [str(n) for n in range(10, 100)]
    known = dict(zip(keys(r, r.randint(3, 12)), r.sample(values, 12)))
    text = "Remember: " + ", ".join(f"the {k} is {v}" for k, v in known.items()) + "."
    messages = []
    for k in r.sample(sorted(known), min(len(known), 8)):
        messages += [{"role": "user", "content": f"And the {k}?" if messages else f"{text}\n\nWhat is the {k}?"},
                     {"role": "assistant", "reasoning": f"The {k} is {known[k]}.", "content": f"The {k} is {known[k]}."}]
    return {"messages": messages, "thinking": False}
