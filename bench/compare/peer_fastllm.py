"""One measurement of fastllm (ftllm on PyPI), which reads official safetensors itself.

usage: peer_fastllm.py MODEL [--prefill 512] [--decode 32] [--repeat 3] [--threads 2]

MODEL needs a tokenizer.json and tokenizer_config.json (any; token ids are fed directly).
Prefill is the time to the first token, decode the tokens after it.  fastllm copies the
weights into memory of its own when it loads.
"""
import ctypes
import json
import os
import sys
import time

from peer import medians, parser


def measure(a):
    from ftllm import llm
    from token_ids import some_tokens
    llm.set_cpu_threads(a.threads)
    model = llm.model(a.model)
    with open(os.path.join(a.model, 'config.json'), encoding='utf-8') as f:
        vocab = json.load(f)['vocab_size']
    prefill, decode = [], []
    for i in range(-1, a.repeat):  # the first only warms up
        prompt = some_tokens(a.prefill, vocab, i + 3)  # another each time: it keeps a history
        ids = (ctypes.c_int * len(prompt))(*prompt)
        stop, stops = model.stop_token_ctypes(None)
        start = time.perf_counter()
        handle = llm.fastllm_lib.launch_response_llm_model(
            model.model, len(prompt), ids, a.decode + 1, a.decode + 1, False, 1.0, 1, 1.0, 1.0, False,
            stop, stops)
        times = []
        while llm.fastllm_lib.fetch_response_llm_model(model.model, handle) >= 0:
            times.append(time.perf_counter())
        if i >= 0:
            prefill.append(len(prompt) / (times[0] - start))
            decode.append((len(times) - 1) / (times[-1] - times[0]))
    return medians(prefill, decode)


if __name__ == '__main__':
    args = parser(__doc__).parse_args()
    real = os.dup(1)  # the peer talks on stdout
    os.dup2(2, 1)
    found = measure(args)
    os.write(real, (json.dumps(found) + '\n').encode())
    sys.stdout.flush()
    os._exit(0)  # its threads do not end by themselves
