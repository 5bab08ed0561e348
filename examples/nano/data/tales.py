"""Tales: short pieces of plain English, every word of which is to be predicted.

A tale is about one person, a place, a thing and now and then a second person; once introduced, names, places
and things stay the same to the end, so what comes next follows from what was told.  The choices are
few and the sentences whole, which is what a model of this size can learn.
"""
import random

from .worlds import PEOPLE, PLACES, THINGS

TIMES = "One morning|One evening|Early in the day|Late in the summer|In the first days of spring|On a cold night".split("|")
SKIES = ("the sun was warm|the rain fell hard|the wind was cold|the snow lay deep|the sky was clear|"
         "a storm was near").split("|")
WORK = {"mill": "the miller ground the corn", "forge": "the smith beat the iron", "bakery": "the baker made the bread",
        "harbour": "the sailors mended the nets", "chapel": "the bells rang for an hour",
        "tavern": "the guests sang old songs", "orchard": "the apples were ripe", "well": "the water was clear and cold",
        "market": "the traders called out their prices", "stable": "the horses ate their hay",
        "barn": "the hens slept in the straw", "bridge": "the river ran fast below"}
USE = {"lantern": "to see in the dark", "rope": "to tie up the boat", "apple": "to feed the horse",
       "bucket": "to carry the water", "knife": "to cut the bread", "letter": "to send the news",
       "coin": "to pay for the bread", "basket": "to bring home the eggs", "candle": "to light the room",
       "hammer": "to mend the roof", "ring": "to give it to a friend", "flute": "to play at the fair"}
HIDDEN = ("under a stone|behind the door|in the tall grass|on a high shelf|beside the wall|in an old box").split("|")
MOODS = ("happy|tired|glad|proud|hungry|quiet").split("|")


def opening(r: random.Random, who: str, place: str) -> list[str]:
    at = r.choice(TIMES)
    return [r.choice((f"{at} {who} went to the {place}.", f"{at} {who} walked slowly to the {place}.",
                      f"There was once a villager who was called {who}. {at} {who} went to the {place}.")),
            r.choice((f"It was quiet there, and {r.choice(SKIES)}.", f"At the {place} {WORK[place]}, and {r.choice(SKIES)}."))]


def lost(r: random.Random, who: str, place: str, thing: str) -> list[str]:
    """Something is missing and is found where it was looked for last."""
    spots = r.sample(HIDDEN, 2)
    return [f"{who} needed the {thing} {USE[thing]}, but the {thing} was gone.",
            f"First {who} looked {spots[0]}, and it was not there.",
            f"Then {who} looked {spots[1]}, and there it was.",
            f"So {who} took the {thing} {USE[thing]}."]


def helped(r: random.Random, who: str, place: str, thing: str) -> list[str]:
    """Somebody else has what is needed."""
    other = r.choice([p for p in PEOPLE if p != who])
    asked = r.choice((f'"May I have the {thing}?" asked {who}.', f'"I need the {thing} {USE[thing]}," said {who}.'))
    answer = r.choice((f'"Of course," said {other}, "here it is."', f'"You may have it until tomorrow," said {other}.'))
    return [f"At the {place} {who} met {other}, who had a {thing}.", asked, answer,
            f"{who} thanked {other} and took the {thing} {USE[thing]}."]


def waited(r: random.Random, who: str, place: str, thing: str) -> list[str]:
    """A friend comes late and brings something."""
    other = r.choice([p for p in PEOPLE if p != who])
    return [f"{who} waited for {other}, because {other} had promised to bring a {thing}.",
            r.choice((f"An hour went by, and {other} did not come.", f"It grew late, and still {other} did not come.")),
            f"At last {other} came to the {place} with the {thing}.",
            r.choice((f"{who} laughed, and they sat down together.", f"They used the {thing} {USE[thing]}."))]


def ending(r: random.Random, who: str, place: str) -> str:
    mood = r.choice(MOODS)
    return r.choice((f"In the evening {who} went home and was {mood}.", f"{who} was {mood} all day.",
                     f"When the day was over, {who} left the {place} and went home."))


def tale(r: random.Random) -> str:
    """One to three things happen to one person."""
    who, place = r.choice(PEOPLE), r.choice(PLACES)
    lines = opening(r, who, place)
    for part in r.sample((lost, helped, waited), r.randint(1, 3)):
        lines += part(r, who, place, r.choice(THINGS))
    return " ".join(lines + [ending(r, who, place)])
