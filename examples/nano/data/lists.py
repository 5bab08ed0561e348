"""Copying and transforming lists."""
import random

WORDS = ("apple river stone cloud table green seven music window paper garden silver morning bottle winter "
         "island engine butter ladder mirror orange rabbit ticket valley").split()


def numbers(r: random.Random) -> list[str]:
    return [str(n) for n in r.sample(range(10, 100), r.randint(2, 8))]


def words(r: random.Random) -> list[str]:
    return r.sample(WORDS, r.randint(2, 8))


def join(items: list[str]) -> str:
    return ", ".join(items)


TASKS = {  # name: (how it is asked, what is done, how it is said)
    "copy": ("Repeat this list: {}", list, "The list: {}"),
    "reverse": ("Reverse this list: {}", lambda x: x[::-1], "Reversed: {}"),
    "sort": ("Sort this list: {}", lambda x: sorted(x, key=int), "Sorted: {}"),
    "first": ("What is the first item of: {}", lambda x: x[:1], "It is {}"),
    "last": ("What is the last item of: {}", lambda x: x[-1:], "It is {}"),
    "count": ("How many items are in: {}", lambda x: [str(len(x))], "There are {}")}


def example(r: random.Random, turns: int = 1) -> dict:
    messages = []
    for _ in range(turns):
        name = r.choice((*sorted(TASKS), "copy", "reverse"))
        form, do, say = TASKS[name]
        items = numbers(r) if name == "sort" or r.random() < 0.5 else words(r)
        messages += [{"role": "user", "content": form.format(join(items))},
                     {"role": "assistant", "reasoning": f"The list is {join(items)}.",
                      "content": say.format(join(do(items)))}]
    return {"messages": messages, "thinking": r.random() < 0.1}
