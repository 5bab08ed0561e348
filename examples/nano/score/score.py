"""Scores a nano model: python3 -m score.score LIBV4INFER MODEL [--quick] [--report MEASURED.json] [--out SCORES.json]

Questions about small worlds (500), key recall at 1k, 4k, 16k and 64k tokens, DSML tool calls (200), and the
held-out loss of every mode, with how far native and fast are from exact (20 texts of 512 tokens).  Seeds begin with "score" and are
never trained on.  Everything is greedy and goes through the C ABI.  --report adds what
train/measure.py found.  Needs numpy.
"""
import argparse
import json
import random
import sys
import time
from typing import Callable, Iterator

import numpy as np

from data import build, recall, tools, worlds

from . import engine

DISTANCES = {1024: 100, 4096: 50, 16384: 20, 65536: 5}  # tokens: how many
WANTED = {"questions": 0.95, "recall 1024": 0.95, "recall 4096": 0.95, "recall 16384": 0.95, "recall 65536": 0.80,
          "tool calls": 0.90}
QUICK = 20  # --quick: one in so many, and no distance above 4096


def questions(count: int) -> Iterator[tuple[str, dict]]:
    for i in range(count):
        e = worlds.example(random.Random(f"score question {i}"), turns=1)
        yield e["kinds"][0], e


def recalls(model: engine.Model, tokens: int, count: int) -> Iterator[tuple[str, dict]]:
    """Texts whose asked notice is about `tokens` tokens before the question."""
    sample = recall.example(random.Random("score ratio"), 20000, 2)["messages"][0]["content"]
    per_token = len(sample) / len(model.tokenize(sample))
    for i in range(count):
        r = random.Random(f"score recall {tokens} {i}")
        yield f"recall {tokens}", recall.example(r, int(tokens * per_token))


def calls(count: int) -> Iterator[tuple[str, dict]]:
    for i in range(count):
        yield "tool calls", tools.example(random.Random(f"score call {i}"), only_call=True)


def prompt(e: dict) -> dict:
    """What the engine is given: everything before the last answer."""
    request = {"messages": [{k: m[k] for k in ("role", "content")} for m in e["messages"][:-1]]}
    if "tools" in e:
        request["tools"] = e["tools"]
    return request


def right_answer(model: engine.Model, e: dict, text: str) -> bool:
    return text.strip() == e["messages"][-1]["content"]


def right_call(model: engine.Model, e: dict, text: str) -> bool:
    try:
        found = model.parse(text, False)["tool_calls"]
        return len(found) == 1 and found[0]["name"] == e["name"] and json.loads(found[0]["arguments"]) == e["arguments"]
    except (engine.Error, ValueError):
        return False  # not a tool call at all


def run(model: engine.Model, cases, right: Callable, most: int, limit: int = sys.maxsize) -> dict[str, list[int]]:
    """Right answers and questions by kind; `limit` cases at most."""
    found: dict[str, list[int]] = {}
    for done, (kind, e) in enumerate(cases):
        if done >= limit:
            break
        text = model.answer(model.chat(prompt(e), False), most)
        score = found.setdefault(kind, [0, 0])
        score[0] += right(model, e, text)
        score[1] += 1
    return found


def held_out(model: engine.Model, count: int = 20, size: int = 512) -> list[np.ndarray]:
    """Texts of every kind, joined to `size` tokens each."""
    out = []
    for i in range(count):
        r, text = random.Random(f"score text {i}"), ""
        ids = np.empty(0, np.int32)
        while len(ids) < size:
            text += "".join(t for t, _ in build.segments(r, r.choice(build.TASKS), 2000))
            ids = model.tokenize(text)
        out.append(ids[:size])
    return out


def log_probabilities(model: engine.Model, texts: list[np.ndarray]) -> np.ndarray:
    """[tokens, vocab] of all texts, in nats."""
    out = []
    for ids in texts:
        z = model.logits(ids)[:-1]
        z -= z.max(-1, keepdims=True)
        out.append(z - np.log(np.exp(z).sum(-1, keepdims=True)))
    return np.concatenate(out)


def losses(library: str, path: str, count: int, threads: int) -> dict:
    """Mean cross entropy of each mode; KL(exact || mode) and how often the arg-max is that of exact."""
    out, exact = {}, None
    for name, mode in (("exact", engine.EXACT), ("native", engine.NATIVE), ("fast", engine.FAST)):
        try:
            model = engine.Model(library, path, mode, threads)
        except engine.Error as e:  # no int8 products here
            print(e)
            continue
        texts = held_out(model, count)
        log_p = log_probabilities(model, texts)
        out[name] = float(-np.take_along_axis(log_p, np.concatenate([t[1:] for t in texts])[:, None], 1).mean())
        if exact is None:
            exact = log_p
        else:
            out[name + "_over_exact"] = out[name] / out["exact"] - 1
            out[name + "_kl"] = float((np.exp(exact) * (exact - log_p)).sum(-1).mean())
            out[name + "_agrees"] = float((exact.argmax(-1) == log_p.argmax(-1)).mean())
        model.close()
    return out


def score(a: argparse.Namespace) -> dict:
    model, scores, part = engine.Model(a.library, a.model, engine.NATIVE, a.threads), {}, QUICK if a.quick else 1
    kinds = run(model, questions(500 // part), right_answer, 80)
    scores["questions"] = [sum(x) for x in zip(*kinds.values())]
    print(scores, kinds, flush=True)
    scores.update(run(model, calls(200 // part), right_call, 160))
    counts = dict(zip(DISTANCES, a.recall)) if a.recall else DISTANCES
    for tokens, count in counts.items():
        if count and not (a.quick and tokens > 4096):
            scores.update(run(model, recalls(model, tokens, max(1, count // part)), right_answer, 16))
            print(scores, flush=True)
    model.close()
    return {"scores": scores, "questions_by_kind": kinds, "loss": losses(a.library, a.model, 20 // min(part, 10), a.threads)}


def table(result: dict) -> str:
    lines = [f"{'task':<20}{'right':>8}{'of':>6}{'share':>9}{'wanted':>9}"]
    rows = [*result["scores"].items(), *(("  " + k, v) for k, v in sorted(result["questions_by_kind"].items()))]
    for name, (good, count) in rows:
        wanted = f"{100 * WANTED[name]:.0f} %" if name in WANTED else ""
        lines.append(f"{name:<20}{good:>8}{count:>6}{100 * good / count:>7.1f} %{wanted:>9}")
    lo = result["loss"]
    lines.append(f"held-out loss: exact {lo['exact']:.4f}")
    for mode in ("native", "fast"):
        if mode in lo:
            lines.append(f"  {mode} {lo[mode]:.4f} ({100 * lo[mode + '_over_exact']:+.2f} %, allowed +1 %), KL from exact "
                         f"{lo[mode + '_kl']:.2e} nats, arg-max of exact {100 * lo[mode + '_agrees']:.2f} %")
    if "measured" in result:
        m = result["measured"]
        lines.append(f"MTP acceptance (greedy, text given): {100 * m['mtp_acceptance']:.1f} %")
        for i, x in enumerate(m["experts"]):
            lines.append(f"experts of layer {i}: busiest {x['busiest']:.2f}, idlest {x['idlest']:.2f} of the mean, "
                         f"{x['unused']} unused")
    return "\n".join(lines)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("library")
    p.add_argument("model")
    p.add_argument("--quick", action="store_true", help="a twentieth of everything, nothing beyond 4k")
    p.add_argument("--recall", type=int, nargs=4, help="texts of 1k, 4k, 16k, 64k tokens")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--report", help="what train/measure.py wrote")
    p.add_argument("--out", help="write everything as JSON too")
    a, begin = p.parse_args(), time.time()
    result = score(a)
    result["seconds"] = time.time() - begin
    if a.report:
        result["measured"] = json.load(open(a.report, encoding="ascii"))
    print(table(result))
    if a.out:
        with open(a.out, "w", encoding="ascii") as f:
            json.dump(result, f, indent=1)
            f.write("\n")


if __name__ == "__main__":
    main()
