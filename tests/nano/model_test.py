"""The model in examples/nano/model: complete, small, equal to PyTorch, and it answers.  usage: model_test.py V4INFER

golden/ holds what was measured when the model was made: a text's ids, a sample of PyTorch's logits in
mode exact (examples/nano/train/golden.py), and greedy answers of mode native.
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

import nano

MODEL = os.path.join(nano.SOURCE, "examples/nano/model")
GOLDEN = os.path.join(nano.SOURCE, "tests/nano/golden")
COMMAND = sys.argv[1]
MOST_BYTES = 25_000_000


def run(*args, stdin=""):
    done = subprocess.run([COMMAND, *args], input=stdin.encode(), capture_output=True, timeout=300)
    assert done.returncode == 0, (args, done.stderr.decode())
    return done.stdout.decode()


def test_size():
    """the folder has every file of an official checkpoint, and at most 25 MB"""
    names = os.listdir(MODEL)
    size = sum(os.path.getsize(os.path.join(MODEL, n)) for n in names)
    assert size <= MOST_BYTES, size
    assert {"config.json", "tokenizer.json", "model.safetensors.index.json"} <= set(names), names
    index = json.load(open(os.path.join(MODEL, "model.safetensors.index.json"), encoding="ascii"))
    assert set(index["weight_map"].values()) == {n for n in names if n.endswith(".safetensors")}


def test_layers():
    """every kind of layer is there: window layers with hash routing, CSA, HCA, experts, MTP"""
    config = json.load(open(os.path.join(MODEL, "config.json"), encoding="ascii"))
    assert {0, 4, 128} <= set(config["compress_ratios"]) and config["num_hash_layers"] == 2
    assert config["num_nextn_predict_layers"] == 1 and config["hc_mult"] == 4 and config["sliding_window"] == 128
    assert config["expert_dtype"] == "fp4" and config["n_routed_experts"] >= 4


def test_exact():
    """exact mode equals PyTorch's logits within 1e-3"""
    golden = np.load(os.path.join(GOLDEN, "model.npz"))
    with tempfile.TemporaryDirectory() as folder:
        ids, out = os.path.join(folder, "ids.json"), os.path.join(folder, "out.npy")
        with open(ids, "w", encoding="ascii") as f:
            json.dump(golden["ids"].tolist(), f)
        run("eval", MODEL, "--ids", ids, "--mode", "exact", "--out", out)
        got = np.load(out)[np.ix_(golden["positions"], golden["tokens"])]
    worst = np.abs(got - golden["logits"]).max()
    print(f"        largest difference {worst:.1e} of {got.size} logits")
    assert worst < 1e-3, worst


def test_answers():
    """questions about stories, codes and lists get the answers that were measured, all of them right"""
    cases = json.load(open(os.path.join(GOLDEN, "answers.json"), encoding="utf-8"))
    for case in cases:
        got = run("run", MODEL, "--chat", "--greedy", "--max-tokens", "80", "--prompt-file", "-", stdin=case["prompt"])
        assert got.strip() == case["answer"], (case, got)
    assert len(cases) >= 5


nano.main(globals())
