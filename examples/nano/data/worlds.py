"""Small worlds: a village where people walk, carry, give, say; and questions about it.

A World is simulated and told in plain sentences; every answer is computed from the state, and
the reasoning (thinking mode) quotes the sentences that decide it.  tests/nano re-derives
the answers from the text alone.
"""
import random
from dataclasses import dataclass, field

PEOPLE = "Mara Tomas Edda Jory Lena Pavel Rosa Wim Alba Bren Cora Dirk Esme Finn Greta Hugo".split()
PLACES = "mill forge bakery harbour chapel tavern orchard well market stable barn bridge".split()
THINGS = "lantern rope apple bucket knife letter coin basket candle hammer ring flute".split()
TOPICS = ("the roof leaks|the fair is on Sunday|the road is closed|a storm is coming|the bread is fresh|"
          "the cat is missing|the river is high|a guest arrives tonight|the hay is dry|the goat ran away").split("|")
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
    things: list[str] = field(default_factory=list)            # in the order of the story

    def tell(self, line: str, *about: str) -> None:
        self.lines.append(line)
        for name in about:
            self.why[name] = line


def go(w: World, r: random.Random, who: str, places: list[str]) -> None:
    place = r.choice([p for p in places if p != w.where.get(who)])
    w.where[who] = place
    w.been.setdefault(who, []).append(place)
    verb = r.choice(("went to", "walked to"))
    w.tell(f"{who} {verb} the {place}.", who)


def handle(w: World, r: random.Random, who: str, things: list[str]) -> bool:
    """Takes, drops or gives something, if that is possible."""
    own = [t for t in things if w.holder.get(t) == who]
    here = w.where[who]
    found = [t for t in things if w.lies.get(t) == here]
    near = [p for p in w.where if p != who and w.where[p] == here]
    if own and near and r.random() < 0.5:
        thing, other = r.choice(own), r.choice(near)
        w.holder[thing] = other
        w.tell(f"The {thing} was given to {other}.", thing)
    elif own and r.random() < 0.3:
        thing = r.choice(own)
        del w.holder[thing]
        w.lies[thing] = here
        w.tell(f"The {thing} stayed at the {here}.", thing)
    elif found:
        thing = r.choice(found)
        w.holder[thing] = who
        del w.lies[thing]
        w.tell(f"The {thing} was taken by {who}.", thing)
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
    """A world of 2 to 5 people; people come first, then things, then `events` more sentences."""
    w = World()
    people = r.sample(PEOPLE, r.randint(2, 5 if events > 6 else 3))
    places, things = r.sample(PLACES, r.randint(3, 5)), r.sample(THINGS, r.randint(1, 4 if events > 6 else 2))
    for who in people:
        go(w, r, who, places)
    w.things = things
    for thing in things:
        w.lies[thing] = r.choice(sorted(w.where.values()) if r.random() < 0.7 else places)
        w.tell(f"The {thing} was at the {w.lies[thing]}.", thing)
    for _ in range(events):
        who, kind = r.choice(people), r.random()
        if not (say(w, r, people) if kind < 0.2 else handle(w, r, who, things)):
            go(w, r, who, places)
    return w


QA = tuple[str, str, str]  # question, reasoning, answer


def where_person(w: World, r: random.Random) -> QA:
    who = r.choice(sorted(w.where))
    return f"Where is {who}?", w.why[who], f"Now {who} is at the {w.where[who]}."


def where_before(w: World, r: random.Random) -> QA | None:
    many = sorted(p for p, places in w.been.items() if len(places) > 1)
    if not many:
        return None
    who = r.choice(many)
    old, new = w.been[who][-2:]
    return (f"Where was {who} before the {new}?", f"{who} was at: " + ", ".join(w.been[who]) + ".",
            f"Before, {who} was at the {old}.")


def who_has(w: World, r: random.Random) -> QA | None:
    if not w.holder:
        return None
    thing = r.choice(sorted(w.holder))
    return f"Who has the {thing}?", w.why[thing], f"The {thing} is now with {w.holder[thing]}."


def where_thing(w: World, r: random.Random) -> QA | None:
    """The holder is named before the place: two steps, each of which can be looked up."""
    thing = r.choice(sorted(w.holder) + sorted(w.lies))
    if thing in w.holder:
        who = w.holder[thing]
        return (f"Where is the {thing}?", f"{w.why[thing]} {w.why[who]}",
                f"The {thing} is now with {who}. Now {who} is at the {w.where[who]}.")
    return f"Where is the {thing}?", f"{w.why[thing]}", f"The {thing} is at the {w.lies[thing]}."


def who_said(w: World, r: random.Random) -> QA | None:
    if not w.said:
        return None
    a, b, topic = r.choice(w.said)
    line = f'{a} said to {b}: "{topic}".'
    if r.random() < 0.5:
        return f"What did {a} say to {b}?", line, f'Then {line}'
    return f"Who said that {topic}?", line, f"It was {a}."


def count_people(w: World, r: random.Random) -> QA:
    """Everybody is placed in the answer, then those at the place are counted."""
    place = r.choice(sorted(set(w.where.values())))
    n = sum(p == place for p in w.where.values())
    return (f"How many people are at the {place}?", " ".join(w.why[p] for p in w.been),
            "Now " + ", ".join(f"{p} is at the {w.where[p]}" for p in w.been) + f": {NUMBERS[n]} at the {place}.")


def count_things(w: World, r: random.Random) -> QA | None:
    """Every thing is named with its holder or place, then those of one person are counted."""
    if not w.holder:
        return None
    who = r.choice(sorted(set(w.holder.values())))
    n = sum(p == who for p in w.holder.values())
    each = (f"the {t} is now with {w.holder[t]}" if t in w.holder else f"the {t} is at the {w.lies[t]}" for t in w.things)
    return (f"How many things does {who} have?", " ".join(w.why[t] for t in w.things),
            "Now " + ", ".join(each) + f": {NUMBERS[n]} with {who}.")


def first_place(w: World, r: random.Random) -> QA:
    who = r.choice(sorted(w.been))
    return (f"Where did {who} go first?", f"{who} was at: " + ", ".join(w.been[who]) + ".",
            f"First {who} went to the {w.been[who][0]}.")


QUESTIONS = {"where_person": where_person, "where_before": where_before, "who_has": who_has,
             "where_thing": where_thing, "who_said": who_said, "count_people": count_people,
             "count_things": count_things, "first_place": first_place}
HARD = ("where_before", "who_said", "count_people", "count_things")  # the last to be learned
SYSTEM = ("You live in the village. Answer from what happened.",
          "You are a villager. Use only the story.", "Answer questions about the story.")


def example(r: random.Random, kind: str | None = None, turns: int = 0, events: int | None = None) -> dict:
    """A chat about one world; `kinds` and `lines` are for the scorer and the tests.

    In a chat of several turns no question is asked twice.
    """
    w = simulate(r, r.choice((1, 2, 4, 6, 8, 12, 16, 24)) if events is None else events)
    story = " ".join(w.lines)
    messages = [{"role": "system", "content": r.choice(SYSTEM)}] if r.random() < 0.3 else []
    kinds: list[str] = []
    asked: set[str] = set()
    turns = turns or r.randint(4, 8)
    for _ in range(4 * turns):
        name = kind or r.choice(sorted(QUESTIONS))
        found = QUESTIONS[name](w, r)
        if found is None or found[0] in asked:
            continue
        question, reasoning, answer = found
        messages.append({"role": "user", "content": question if asked else f"Story: {story}\n\n{question}"})
        messages.append({"role": "assistant", "reasoning": reasoning, "content": answer})
        asked.add(question)
        kinds.append(name)
        if len(kinds) == turns:
            break
    if not kinds:  # nothing of this kind can be asked here
        return example(r, kind, turns, events)
    return {"messages": messages, "thinking": r.random() < 0.15, "kinds": kinds, "lines": w.lines}
