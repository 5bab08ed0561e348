"""The token ids that `v4infer bench` computes; see examples/cli/bench_runs.cc."""


def some_tokens(n, vocab, seed):
    out, x = [], seed
    for _ in range(n):
        x = (x * 6364136223846793005 + 1442695040888963407) % 2**64
        out.append((x >> 33) % vocab)
    return out
