"""Copying and transforming lists."""
import random

WORDS = ("apple river stone cloud table green seven music window paper garden silver morning bottle winter "
         "island engine butter ladder mirror orange rabbit ticket valley").split()


def numbers(r: random.Random) -> list[str]:
    return [str(n) for n in r.sample(range(10, 100), r.randint(2, 6))]


def words(r: random.Random) -> list[str]:
    return r.sample(WORDS, r.randint(2, 6))


def join(items: list[str]) -> str:
    return ", ".join(items)


TASKS = {  # name: (how it is asked, what is done)
    "copy": ("Repeat this list: {}", list),
    "reverse": ("Reverse this list: {}", lambda x: x[::-1]),
    "sort": ("Sort this list: {}", lambda x: sorted(x, key=int)),
    "first": ("What is the first item of: {}", lambda x: x[:1]),
    "last": ("What is the last item of: {}", lambda x: x[-1:]),
    "count": ("How many items are in: {}", lambda x: [str(len(x))])}


def example(r: random.Random, turns: int = 1) -> dict:
    messages = []
    for _ in range(turns):
        name = r.choice(sorted(TASKS))
        form, do = TASKS[name]
        items = numbers(r) if name == "sort" or r.random() < 0.5 else words(r)
        messages += [{"role": "user", "content": form.format(join(items))},
                     {"role": "assistant", "reasoning": f"The list is {join(items)}.", "content": join(do(items))}]
    return {"messages": messages, "thinking": r.random() < 0.1}
