"""Copying and transforming lists."""
import random

WORDS = ("apple river stone cloud table green seven music window paper garden silver morning bottle winter pencil "
         "island engine butter castle ladder mirror orange pepper rabbit saddle ticket valley wallet yellow").split()


def numbers(r: random.Random) -> list[str]:
    return [str(r.randint(0, 99)) for _ in range(r.randint(2, 12))]


def words(r: random.Random) -> list[str]:
    return r.sample(WORDS, r.randint(2, 10))


def join(items: list[str]) -> str:
    return ", ".join(items)


TASKS = {  # name: (how it is asked, what is done, whether it is for numbers only)
    "copy": ("Repeat this list: {}", list, False),
    "reverse": ("Reverse this list: {}", lambda x: x[::-1], False),
    "sort": ("Sort this list: {}", lambda x: sorted(x, key=lambda i: (int(i), i) if i.isdigit() else (0, i)), False),
    "first": ("What is the first item of: {}", lambda x: x[:1], False),
    "last": ("What is the last item of: {}", lambda x: x[-1:], False),
    "even": ("Keep the even numbers: {}", lambda x: [i for i in x if int(i) % 2 == 0] or ["none"], True),
    "upper": ("Write in capitals: {}", lambda x: [i.upper() for i in x], False),
    "count": ("How many items are in: {}", lambda x: [str(len(x))], False),
}


def example(r: random.Random) -> dict:
    name = r.choice(sorted(TASKS))
    form, do, numeric = TASKS[name]
    items = numbers(r) if numeric or r.random() < 0.5 else words(r)
    return {"messages": [{"role": "user", "content": form.format(join(items))},
                         {"role": "assistant", "reasoning": f"The list is {join(items)}.",
                          "content": join(do(items))}],
            "thinking": r.random() < 0.15}
