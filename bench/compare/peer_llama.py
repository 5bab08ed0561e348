"""One measurement of llama.cpp, through llama-cpp-python (PyPI), as JSON on stdout.

usage: peer_llama.py MODEL.gguf [--prefill 512] [--decode 32] [--repeat 3] [--threads 2]
                     [--no-repack]

The same token ids as `v4infer bench`, fed directly.  Build the package from source
(pip install --no-binary llama-cpp-python llama-cpp-python), so that it uses this
processor's instructions.  Repacking copies the weights it can into another order in
anonymous memory, at load time; it is the peer's default.
"""
import ctypes
import json
import sys
import time

import llama_cpp as lc

from peer import medians, parser
from token_ids import some_tokens


class Peer:
    def __init__(self, a):
        model = lc.llama_model_default_params()
        model.use_extra_bufts = not a.no_repack
        self.model = lc.llama_model_load_from_file(a.model.encode(), model)
        if not self.model:
            sys.exit(f'{a.model}: llama.cpp does not load it')
        params = lc.llama_context_default_params()
        params.n_ctx = a.prefill + a.decode + 64
        params.n_batch = params.n_ubatch = min(a.prefill, 512)
        params.n_threads = params.n_threads_batch = a.threads
        self.context = lc.llama_init_from_model(self.model, params)
        if not self.context:
            sys.exit(f'{a.model}: llama.cpp makes no context')
        self.batch = params.n_batch

    def compute(self, tokens):
        """Tokens behind what is there; seconds."""
        start = time.perf_counter()
        for at in range(0, len(tokens), self.batch):
            part = tokens[at:at + self.batch]
            ids = (lc.llama_token * len(part))(*part)
            if lc.llama_decode(self.context, lc.llama_batch_get_one(ids, len(part))) != 0:
                sys.exit('llama_decode failed')
        lc.llama_get_logits(self.context)[0]  # waits for the result
        return time.perf_counter() - start

    def clear(self):
        lc.llama_memory_clear(lc.llama_get_memory(self.context), True)


def measure(a):
    peer = Peer(a)
    vocab = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(peer.model))
    prompt, answer = some_tokens(a.prefill, vocab, 1), some_tokens(a.decode, vocab, 2)
    prefill, decode = [], []
    for i in range(-1, a.repeat):  # the first only warms up
        peer.clear()
        seconds = peer.compute(prompt)
        each = [peer.compute([t]) for t in answer]
        if i >= 0:
            prefill.append(len(prompt) / seconds)
            decode.append(len(answer) / sum(each))
    return medians(prefill, decode)


if __name__ == '__main__':
    options = parser(__doc__)
    options.add_argument('--no-repack', action='store_true')
    options.add_argument('--verbose', action='store_true')
    args = options.parse_args()
    quiet = lc.llama_log_callback(lambda level, text, user: args.verbose and sys.stderr.write(text.decode()) and None)
    lc.llama_log_set(quiet, ctypes.c_void_p(0))
    lc.llama_backend_init()
    print(json.dumps(measure(args)))
