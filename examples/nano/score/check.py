"""Do trainer, engine and scorer speak the same encoding?  python3 -m score.check LIBV4INFER MODEL

MODEL is any model with the nano tokenizer, trained or not.  For 200 examples of each kind the
prompt that the engine renders must be the tokens of the training text up to the answer, and
the scorer must count the true answer as right and a changed one as wrong.
"""
import random
import sys

import numpy as np

from data import lists, recall, render, tools, worlds

from . import engine, score

MAKERS = {"worlds": worlds.example, "lists": lists.example, "tools": lambda r: tools.example(r, only_call=True),
          "recall": lambda r: recall.example(r, 500)}


def trained_text(e: dict, thinking: bool) -> tuple[str, str]:
    """Everything before the last answer, and that answer."""
    parts = render.render({**e, "thinking": thinking})
    return "".join(t for t, _ in parts[:-1]), parts[-1][0]


def check(model: engine.Model, name: str, count: int = 200) -> int:
    """Number of wrong examples."""
    bad = 0
    for i in range(count):
        e = MAKERS[name](random.Random(f"check {name} {i}"))
        for thinking in (False, True):
            before, answer = trained_text(e, thinking)
            same = np.array_equal(model.chat(score.prompt(e), thinking), model.tokenize(before))
            bad += not same
        right = score.right_call if name == "tools" else score.right_answer
        answer = trained_text(e, False)[1].removesuffix(render.EOS)
        spoiled = answer.replace('name="', 'name="x', 1) if name == "tools" else answer + "s"
        bad += not right(model, e, answer) or right(model, e, spoiled)
    return bad


def main(library: str, path: str) -> int:
    model = engine.Model(library, path, threads=1)
    wrong = {name: check(model, name) for name in MAKERS}
    model.close()
    print(wrong, "ok" if not any(wrong.values()) else "FAILED")
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
