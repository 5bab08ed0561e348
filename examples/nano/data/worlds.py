"""Small worlds: a village where people walk, carry, give, say; and questions about it.

A World is simulated and told in plain sentences; every answer is computed from the state, and
the reasoning (thinking mode) quotes the sentences that decide it.  tests/nano re-derives
the answers from the text alone.
"""
import random
from dataclasses import dataclass, field

PEOPLE = ("Mara Tomas Edda Jory Lena Pavel Rosa Wim Alba Bren Cora Dirk Esme Finn Greta Hugo Ines Jonas Kaya Liam "
          "Nora Otto Petra Quinn Runa Sven Tilda Ulf Vera Yann").split()
PLACES = ("mill forge bakery harbour chapel tavern orchard well market stable barn bridge garden school tower "
          "meadow smithy quarry brewery library").split()
THINGS = ("lantern rope apple bucket knife letter coin basket candle hammer ring flute blanket map loaf kettle "
          "book shovel feather bell").split()
TOPICS = ("the roof leaks|the fair is on Sunday|the bridge is closed|a storm is coming|the bread is fresh|"
          "the cat is missing|the river is high|the bell is broken|a guest arrives tonight|the hay is dry|"
          "the road is muddy|the apples are ripe|the goat ran away|the ferry is late|the stove is cold").split("|")
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()


@dataclass
class World:
    """State, the sentences so far, and for each person, thing the sentences that matter."""
    where: dict[str, str] = field(default_factory=dict)        # person -> place
    been: dict[str, list[str]] = field(default_factory=dict)   # person -> places in order
    holder: dict[str, str] = field(default_factory=dict)       # thing -> person
    lies: dict[str, str] = field(default_factory=dict)         # thing -> place
    said: list[tuple[str, str, str]] = field(default_factory=list)  # speaker, hearer, topic
    lines: list[str] = field(default_factory=list)
    why: dict[str, str] = field(default_factory=dict)          # person or thing -> last sentence

    def tell(self, line: str, *about: str) -> None:
        self.lines.append(line)
        for name in about:
            self.why[name] = line


def go(w: World, r: random.Random, who: str, places: list[str]) -> None:
    place = r.choice([p for p in places if p != w.where.get(who)])
    w.where[who] = place
    w.been.setdefault(who, []).append(place)
    verb = r.choice(("went to", "walked to", "moved to"))
    w.tell(f"{who} {verb} the {place}.", who)


def handle(w: World, r: random.Random, who: str, things: list[str]) -> bool:
    """Takes, drops or gives something, if that is possible."""
    own = [t for t in things if w.holder.get(t) == who]
    here = w.where[who]
    found = [t for t in things if t not in w.holder and w.lies.get(t, here) == here]
    near = [p for p in w.where if p != who and w.where[p] == here]
    if own and near and r.random() < 0.5:
        thing, other = r.choice(own), r.choice(near)
        w.holder[thing] = other
        w.tell(f"{who} gave the {thing} to {other}.", thing)
    elif own and r.random() < 0.5:
        thing = r.choice(own)
        del w.holder[thing]
        w.lies[thing] = here
        w.tell(f"{who} put down the {thing}.", thing)
    elif found:
        thing = r.choice(found)
        w.holder[thing] = who
        w.lies.pop(thing, None)
        w.tell(f"{who} took the {thing}.", thing)
    else:
        return False
    return True


def say(w: World, r: random.Random, people: list[str]) -> bool:
    used = {t for _, _, t in w.said}
    free = [t for t in TOPICS if t not in used]
    if not free:
        return False
    a, b = r.sample(people, 2)
    if any((x, y) == (a, b) for x, y, _ in w.said):
        return False
    topic = r.choice(free)
    w.said.append((a, b, topic))
    w.tell(f'{a} said to {b}: "{topic}".')
    return True


def simulate(r: random.Random, events: int) -> World:
    """A world of 2 to 6 people; each is somewhere before anything else happens to them."""
    w = World()
    people = r.sample(PEOPLE, r.randint(2, 6))
    places, things = r.sample(PLACES, r.randint(3, 6)), r.sample(THINGS, r.randint(2, 5))
    for who in people:
        go(w, r, who, places)
    while len(w.lines) < max(events, len(people)):
        who, kind = r.choice(people), r.random()
        if kind < 0.4 or not (say(w, r, people) if kind > 0.8 else handle(w, r, who, things)):
            go(w, r, who, places)
    return w


QA = tuple[str, str, str]  # question, reasoning, answer


def where_person(w: World, r: random.Random) -> QA:
    who = r.choice(sorted(w.where))
    return f"Where is {who}?", w.why[who], f"{who} is at the {w.where[who]}."


def where_before(w: World, r: random.Random) -> QA | None:
    many = sorted(p for p, places in w.been.items() if len(places) > 1)
    if not many:
        return None
    who = r.choice(many)
    old, new = w.been[who][-2:]
    return (f"Where was {who} before the {new}?", f"{who} was at: " + ", ".join(w.been[who]) + ".",
            f"{who} was at the {old}.")


def who_has(w: World, r: random.Random) -> QA | None:
    if not w.holder:
        return None
    thing = r.choice(sorted(w.holder))
    return f"Who has the {thing}?", w.why[thing], f"{w.holder[thing]} has the {thing}."


def where_thing(w: World, r: random.Random) -> QA | None:
    known = sorted(w.holder) + sorted(w.lies)
    if not known:
        return None
    thing = r.choice(known)
    if thing in w.holder:
        who = w.holder[thing]
        return f"Where is the {thing}?", f"{w.why[thing]} {w.why[who]}", f"The {thing} is at the {w.where[who]}."
    return f"Where is the {thing}?", f"{w.why[thing]}", f"The {thing} is at the {w.lies[thing]}."


def who_said(w: World, r: random.Random) -> QA | None:
    if not w.said:
        return None
    a, b, topic = r.choice(w.said)
    line = f'{a} said to {b}: "{topic}".'
    if r.random() < 0.5:
        return f"What did {a} say to {b}?", line, f'{a} said: "{topic}".'
    return f"Who said that {topic}?", line, f"{a} said that."


def count_people(w: World, r: random.Random) -> QA:
    place = r.choice(sorted(set(w.where.values())))
    there = [p for p in w.been if w.where[p] == place]
    n = len(there)
    people = "one person is" if n == 1 else f"{NUMBERS[n]} people are"
    return (f"How many people are at the {place}?", f"At the {place}: " + ", ".join(there) + ".",
            f"{people.capitalize()} at the {place}.")


def count_things(w: World, r: random.Random) -> QA:
    who = r.choice(sorted(w.where))
    own = sorted(t for t, p in w.holder.items() if p == who)
    listed = ", ".join("the " + t for t in own) or "nothing"
    return (f"How many things does {who} have?", f"{who} has {listed}.",
            f"{who} has {NUMBERS[len(own)]} thing{'' if len(own) == 1 else 's'}.")


def first_place(w: World, r: random.Random) -> QA:
    who = r.choice(sorted(w.been))
    return (f"Where did {who} go first?", f"{who} was at: " + ", ".join(w.been[who]) + ".",
            f"{who} first went to the {w.been[who][0]}.")


QUESTIONS = {"where_person": where_person, "where_before": where_before, "who_has": who_has,
             "where_thing": where_thing, "who_said": who_said, "count_people": count_people,
             "count_things": count_things, "first_place": first_place}
SYSTEM = ("You live in the village. Answer from what happened.",
          "You are a villager. Use only the story.", "Answer questions about the story.")


def example(r: random.Random, kind: str | None = None, turns: int = 0) -> dict:
    """A chat about one world; `kinds` and `lines` are for the scorer and the tests."""
    w = simulate(r, r.choice((4, 6, 8, 12, 16, 24, 32)))
    story = " ".join(w.lines)
    messages = [{"role": "system", "content": r.choice(SYSTEM)}] if r.random() < 0.7 else []
    kinds: list[str] = []
    for turn in range(turns or r.randint(1, 4)):
        found = None
        while found is None:
            name = kind or r.choice(sorted(QUESTIONS))
            found = QUESTIONS[name](w, r)
            name, kind = name, None if found is None else kind
        question, reasoning, answer = found
        messages.append({"role": "user", "content": question if turn else f"{story}\n\n{question}"})
        messages.append({"role": "assistant", "reasoning": reasoning, "content": answer})
        kinds.append(name)
    return {"messages": messages, "thinking": r.random() < 0.3, "kinds": kinds, "lines": w.lines}
