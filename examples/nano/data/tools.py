"""One DSML tool call for a small set of tools, and plain answers where no tool is wanted."""
import random

from . import chat, recall, worlds

CITIES = "Paris Oslo Lima Cairo Delhi Rome Hanoi Perth".split()


def tool(name: str, description: str, **parameters: tuple[str, str]) -> dict:
    """Schema with (type, description) per parameter, all required."""
    properties = {k: {"type": t, "description": d} for k, (t, d) in parameters.items()}
    return {"type": "function", "function": {
        "name": name, "description": description,
        "parameters": {"type": "object", "properties": properties, "required": list(parameters)}}}


TOOLS = {t["function"]["name"]: t for t in (
    tool("get_weather", "Weather of a city", city=("string", "Name of the city")),
    tool("set_timer", "Start a timer", minutes=("integer", "Minutes to wait")),
    tool("move_to", "Walk to a place of the village", place=("string", "Name of the place")),
    tool("give_item", "Give something to somebody", item=("string", "The thing"), person=("string", "Who gets it")),
    tool("open_lock", "Open a lock with its code", lock=("string", "Which lock"), code=("string", "Two digits")),
    tool("set_light", "Switch a light", room=("string", "Which room"), on=("boolean", "true for on")))}


def request(r: random.Random, name: str) -> tuple[str, dict]:
    """What a user says, and the arguments that follow from it."""
    if name == "get_weather":
        city = r.choice(CITIES)
        return r.choice((f"What is the weather in {city}?", f"Is it raining in {city}?")), {"city": city}
    if name == "set_timer":
        n = r.randint(2, 90)
        return r.choice((f"Wake me in {n} minutes.", f"Set a timer for {n} minutes.")), {"minutes": n}
    if name == "move_to":
        place = r.choice(worlds.PLACES)
        return r.choice((f"Go to the {place}.", f"Please walk to the {place}.")), {"place": place}
    if name == "give_item":
        thing, who = r.choice(worlds.THINGS), r.choice(worlds.PEOPLE)
        return r.choice((f"Give the {thing} to {who}.", f"{who} needs the {thing}. Hand it over.")), \
            {"item": thing, "person": who}
    if name == "open_lock":
        key, code = recall.keys(r, 1)[0], f"{r.randint(10, 99)}"
        return r.choice((f"Open the {key} with {code}.", f"The code of the {key} is {code}. Open it.")), \
            {"lock": key, "code": code}
    room, on = r.choice(worlds.PLACES), r.random() < 0.5
    return f"Turn the light in the {room} {'on' if on else 'off'}.", {"room": room, "on": on}


def result_of(r: random.Random, name: str, arguments: dict) -> tuple[str, str]:
    """A tool's result and what to say then."""
    if name == "get_weather":
        sky, t = r.choice(("sunny", "cloudy", "rainy", "windy")), r.randint(-5, 35)
        return f'{{"sky": "{sky}", "celsius": {t}}}', f"It is {sky} in {arguments['city']}, {t} degrees."
    return '{"ok": true}', "Done."


def example(r: random.Random, only_call: bool = False, turns: int = 1) -> dict:
    """A system prompt with two to four tools; calls, sometimes their results and answers, and small talk.

    `name` and `arguments` are those of the last call.
    """
    offered = r.sample(sorted(TOOLS), r.randint(2, 4))
    messages: list[dict] = [{"role": "system", "content": "You help in the village."}]
    for turn in range(turns):
        if turn < turns - 1 and r.random() < 0.2:  # no tool is wanted
            asked, thought, said = r.choice(chat.TALK)
            messages += [{"role": "user", "content": r.choice(asked)},
                         {"role": "assistant", "reasoning": thought, "content": said}]
            continue
        name = r.choice(offered)
        text, arguments = request(r, name)
        messages += [{"role": "user", "content": text},
                     {"role": "assistant", "reasoning": f"I use {name}.", "content": "",
                      "calls": [{"name": name, "arguments": arguments}]}]
        if turn < turns - 1 or not only_call and r.random() < 0.5:
            result, answer = result_of(r, name, arguments)
            messages += [{"role": "tool", "content": result},
                         {"role": "assistant", "reasoning": "The tool answered.", "content": answer}]
    return {"messages": messages, "tools": [TOOLS[n] for n in offered], "thinking": r.random() < 0.15,
            "name": name, "arguments": arguments}
