"""The generators of examples/nano/data: same seed same text, and answers that the text supports."""
import json
import os
import random
import re

import nano
from data import build, lists, recall, render, tools, worlds


def replay(lines):
    """The village as its sentences tell it, read without the generator's state."""
    where, been, holder, lies, said, order = {}, {}, {}, {}, [], []
    for line in lines:
        if m := re.fullmatch(r"(\w+) (?:went|walked) to the (\w+)\.", line):
            assert where.get(m[1]) != m[2], line
            where[m[1]] = m[2]
            been.setdefault(m[1], []).append(m[2])
        elif m := re.fullmatch(r"The (\w+) was at the (\w+)\.", line):
            assert m[1] not in holder and m[1] not in lies, line
            lies[m[1]] = m[2]
            order.append(m[1])
        elif m := re.fullmatch(r"The (\w+) was taken by (\w+)\.", line):
            assert m[1] not in holder and lies.pop(m[1]) == where[m[2]], line
            holder[m[1]] = m[2]
        elif m := re.fullmatch(r"The (\w+) stayed at the (\w+)\.", line):
            assert where[holder.pop(m[1])] == m[2], line
            lies[m[1]] = m[2]
        elif m := re.fullmatch(r"The (\w+) was given to (\w+)\.", line):
            assert where[holder[m[1]]] == where[m[2]] and holder[m[1]] != m[2], line
            holder[m[1]] = m[2]
        else:
            m = re.fullmatch(r'(\w+) said to (\w+): "(.+)"\.', line)
            assert m, line
            said.append(m.groups())
    return where, been, holder, lies, said, order


def expected(question, lines):
    """The answer to a question, from the replayed sentences."""
    where, been, holder, lies, said, order = replay(lines)
    if m := re.fullmatch(r"Where is (\w+)\?", question):
        return f"Now {m[1]} is at the {where[m[1]]}."
    if m := re.fullmatch(r"Where was (\w+) before the (\w+)\?", question):
        assert been[m[1]][-1] == m[2]
        return f"Before, {m[1]} was at the {been[m[1]][-2]}."
    if m := re.fullmatch(r"Who has the (\w+)\?", question):
        return f"The {m[1]} is now with {holder[m[1]]}."
    if m := re.fullmatch(r"Where is the (\w+)\?", question):
        who = holder.get(m[1])
        return f"The {m[1]} is now with {who}. Now {who} is at the {where[who]}." if who else f"The {m[1]} is at the {lies[m[1]]}."
    if m := re.fullmatch(r"What did (\w+) say to (\w+)\?", question):
        (topic,) = [t for a, b, t in said if (a, b) == (m[1], m[2])]
        return f'Then {m[1]} said to {m[2]}: "{topic}".'
    if m := re.fullmatch(r"Who said that (.+)\?", question):
        (who,) = [a for a, _, t in said if t == m[1]]
        return f"It was {who}."
    if m := re.fullmatch(r"How many people are at the (\w+)\?", question):
        n = sum(p == m[1] for p in where.values())
        return "Now " + ", ".join(f"{p} is at the {where[p]}" for p in been) + f": {worlds.NUMBERS[n]} at the {m[1]}."
    if m := re.fullmatch(r"How many things does (\w+) have\?", question):
        n = sum(p == m[1] for p in holder.values())
        each = (f"the {t} is now with {holder[t]}" if t in holder else f"the {t} is at the {lies[t]}" for t in order)
        return "Now " + ", ".join(each) + f": {worlds.NUMBERS[n]} with {m[1]}."
    m = re.fullmatch(r"Where did (\w+) go first\?", question)
    return f"First {m[1]} went to the {been[m[1]][0]}."


def test_worlds():
    """the answer to each of 1,200 village questions follows from the story's sentences alone"""
    r, kinds = random.Random("test worlds"), {}
    for i in range(400):
        e = worlds.example(r, sorted(worlds.QUESTIONS)[i % 8], 1) if i < 200 else worlds.example(r)
        talk = [m for m in e["messages"] if m["role"] != "system"]
        for name, ask, answer in zip(e["kinds"], talk[::2], talk[1::2]):
            kinds[name] = kinds.get(name, 0) + 1
            question = ask["content"].split("\n\n")[-1]
            assert answer["content"] == expected(question, e["lines"]), (question, answer, e["lines"])
    assert set(kinds) == set(worlds.QUESTIONS) and sum(kinds.values()) > 1200, kinds


def test_seeds():
    """the same seed gives the same text and another seed another one, for every kind"""
    for kind in build.TASKS:
        text = lambda seed: build.segments(random.Random(seed), kind, 2000)
        assert text("train 1") == text("train 1"), kind
        assert any(text(f"train {i}") != text(f"score {i}") for i in range(3)), kind


def test_recall():
    """exactly one notice names each asked key, and it has the answer; the first is far enough"""
    r = random.Random("test recall")
    for size in (0, 100, 3000, 20000):
        e = recall.example(r, size, 9, 5)
        talk = [m["content"] for m in e["messages"]]
        text, talk[0] = talk[0].split("\n\n")
        asked = [re.fullmatch(r"What is the code of the (.+)\?", q)[1] for q in talk[::2]]
        for key, answer in zip(asked, talk[1::2]):
            (code,) = re.findall(rf"The code of the {key} is (\d\d)\.", text)
            assert answer == f"The code of the {key} is {code}."
        assert len(set(asked)) == 5
        assert len(text) - text.index(f"of the {asked[0]} is") >= size


def test_lists():
    """list answers are what the request says"""
    r, seen = random.Random("test lists"), set()
    for _ in range(400):
        ask, answer = (m["content"] for m in lists.example(r)["messages"])
        head, items = ask.split(": ")[0], ask.split(": ")[1].split(", ")
        seen.add(head)
        got = answer.split(": ")[-1].split(", ")
        if head == "Reverse this list":
            assert got == items[::-1]
        elif head == "Sort this list":
            assert sorted(got) == sorted(items) and \
                all(int(a) <= int(b) for a, b in zip(got, got[1:]))
        elif head == "Repeat this list":
            assert got == items
    assert len(seen) == len(lists.TASKS)


def test_tools():
    """a call names an offered tool and gives every parameter in its type"""
    kinds = {"string": str, "integer": int, "boolean": bool}
    r = random.Random("test tools")
    for _ in range(300):
        e = tools.example(r)
        (schema,) = [t["function"] for t in e["tools"] if t["function"]["name"] == e["name"]]
        assert list(e["arguments"]) == schema["parameters"]["required"]
        for k, v in e["arguments"].items():
            assert type(v) is kinds[schema["parameters"]["properties"][k]["type"]], (k, v)


def published(case):
    """A case of the published encoding tests as the generators write it."""
    data = json.load(open(case, encoding="utf-8"))
    out = []
    for m in data["messages"]:
        new = {k: m[k] for k in ("role", "content") if k in m}
        if "reasoning_content" in m:
            new["reasoning"] = m["reasoning_content"]
        if "tool_calls" in m:
            new["calls"] = [{"name": c["function"]["name"], "arguments": json.loads(c["function"]["arguments"])}
                            for c in m["tool_calls"]]
        out.append(new)
    return {"messages": out, "tools": data["tools"], "thinking": True}


def test_rendering():
    """chats are rendered as in the published encoding case, byte for byte"""
    folder = os.path.join(nano.SOURCE, "tests/tokenizer/golden/chat")
    text = "".join(t for t, _ in render.render(published(os.path.join(folder, "case_1.json"))))
    want = open(os.path.join(folder, "case_1.v4.txt"), encoding="utf-8").read()
    assert text == want, (text, want)


def test_answers_are_marked():
    """the model's own words, and nothing else, end with the end-of-sentence token"""
    for kind in build.TASKS:
        for text, answer in build.segments(random.Random(f"test {kind}"), kind, 2000):
            assert text.endswith(render.EOS) == answer and text.count(render.EOS) == answer


nano.main(globals())
