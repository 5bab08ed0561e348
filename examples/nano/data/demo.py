"""The long text of `make demo`: python3 -m data.demo [SEED [CHARACTERS]] writes a prompt that ends with a question.

Seeds begin with "demo"; none was trained on.  Needs nothing but Python.
"""
import random
import sys

from . import recall


def main(seed: str = "1", characters: str = "71700") -> None:
    example = recall.example(random.Random(f"demo {seed}"), int(characters))
    sys.stdout.write(example["messages"][0]["content"])


if __name__ == "__main__":
    main(*sys.argv[1:])
