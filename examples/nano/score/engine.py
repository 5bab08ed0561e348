"""libv4infer through ctypes, as much as the scorer needs; see examples/hello.py for the idea."""
import ctypes as c
import json

import numpy as np

NATIVE, EXACT, FAST = 1, 2, 3


class EngineOptions(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("abi_version", c.c_uint32), ("next", c.c_void_p),
                ("allocator", c.c_void_p), ("log", c.c_void_p), ("log_user", c.c_void_p),
                ("log_level", c.c_int32), ("thread_count", c.c_int32), ("backend", c.c_char_p),
                ("force_isa", c.c_char_p), ("budget", c.c_void_p)]


class Numerics(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("type", c.c_uint32), ("next", c.c_void_p),
                ("mode", c.c_int32), ("reserved0", c.c_int32)]


class ModelOptions(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("reserved0", c.c_int32), ("next", c.c_void_p),
                ("path", c.c_char_p), ("progress", c.c_void_p), ("progress_user", c.c_void_p),
                ("cancel", c.c_void_p), ("context_hint", c.c_uint32), ("session_hint", c.c_uint32),
                ("verify_tensors", c.c_int32), ("reserved1", c.c_int32)]


class ModelInfo(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("capabilities", c.c_uint32), ("family", c.c_char * 64),
                ("digest", c.c_char * 65), ("reserved1", c.c_char * 7), ("parameter_count", c.c_uint64),
                ("file_bytes", c.c_uint64), ("layer_count", c.c_uint32), ("vocab_size", c.c_uint32),
                ("embed_dim", c.c_uint32), ("context_max", c.c_uint32), ("expert_count", c.c_uint32),
                ("expert_active", c.c_uint32)]


class ChatOptions(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("thinking", c.c_int32), ("tools_json", c.c_char_p),
                ("tools_json_len", c.c_size_t), ("open_assistant", c.c_int32), ("effort", c.c_int32)]


class SamplerOptions(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("greedy", c.c_int32), ("temperature", c.c_float),
                ("top_p", c.c_float), ("min_p", c.c_float), ("repeat_penalty", c.c_float),
                ("top_k", c.c_int32), ("repeat_window", c.c_int32)]


class GenerateOptions(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("max_tokens", c.c_int32), ("run", c.c_void_p),
                ("on_step", c.c_void_p), ("on_step_user", c.c_void_p), ("stop", c.c_void_p),
                ("stop_count", c.c_size_t)]


class SessionOptions(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("context_size", c.c_uint32), ("next", c.c_void_p),
                ("tiers", c.c_void_p), ("tier_count", c.c_size_t), ("seed", c.c_uint64),
                ("priority", c.c_int32), ("capture", c.c_int32)]


def sized(struct, **fields):
    return struct(struct_size=c.sizeof(struct), **fields)


class Error(Exception):
    """The library's sentence."""


class Model:
    """One model in one mode; every answer is greedy and in a session of its own."""

    def __init__(self, library: str, path: str, mode: int = NATIVE, threads: int = 0):
        self.lib = c.CDLL(library)
        self.lib.v4i_error_message.restype = c.c_char_p
        self.lib.v4i_error_message.argtypes = [c.c_void_p]
        for name in ("data", "size"):
            getattr(self.lib, f"v4i_buffer_{name}").argtypes = [c.c_void_p]
        self.lib.v4i_buffer_data.restype = c.c_void_p
        self.lib.v4i_buffer_size.restype = c.c_size_t
        self.engine, self.model, self.sampler = c.c_void_p(), c.c_void_p(), c.c_void_p()
        numerics = sized(Numerics, type=1, mode=mode)
        self.call("v4i_engine_create", c.byref(sized(EngineOptions, abi_version=1, thread_count=threads)),
                  c.byref(self.engine))
        options = sized(ModelOptions, path=path.encode(), next=c.addressof(numerics))
        self.call("v4i_model_open", self.engine, c.byref(options), c.byref(self.model))
        self.call("v4i_sampler_create", self.model, c.byref(sized(SamplerOptions, greedy=1)), c.byref(self.sampler))
        info = sized(ModelInfo)
        self.call("v4i_model_get_info", self.model, c.byref(info))
        self.vocab = info.vocab_size

    def close(self) -> None:
        for name, handle in (("sampler", self.sampler), ("model", self.model), ("engine", self.engine)):
            self.release(name, handle)

    def release(self, name: str, handle: c.c_void_p) -> None:
        release = getattr(self.lib, f"v4i_{name}_release")
        release.argtypes, release.restype = [c.c_void_p], None
        release(handle)

    def call(self, name: str, *args) -> None:
        error = c.c_void_p()
        if getattr(self.lib, name)(*args, c.byref(error)) != 0:
            message = self.lib.v4i_error_message(error).decode()
            self.lib.v4i_error_free(error)
            raise Error(message)

    def take(self, buffer: c.c_void_p) -> str:
        size = self.lib.v4i_buffer_size(buffer)
        text = c.string_at(self.lib.v4i_buffer_data(buffer), size).decode()
        self.release("buffer", buffer)
        return text

    def tokens(self, name: str, text: str, *middle) -> np.ndarray:
        """Ids from a function that fills an array."""
        data, count = text.encode(), c.c_size_t()
        out = np.empty(len(data) + 4096, np.int32)
        self.call(name, self.model, data, c.c_size_t(len(data)), *middle,
                  out.ctypes.data_as(c.c_void_p), c.c_size_t(len(out)), c.byref(count))
        return out[:count.value].copy()

    def chat(self, request: dict, thinking: bool) -> np.ndarray:
        """A prompt that ends where the assistant begins."""
        options = sized(ChatOptions, thinking=2 if thinking else 1, open_assistant=1)
        return self.tokens("v4i_chat_encode_json", json.dumps(request, ensure_ascii=False), c.byref(options))

    def tokenize(self, text: str) -> np.ndarray:
        """Special tokens are cut out; used for text of our own generators."""
        return self.tokens("v4i_tokenize", text, c.c_uint32(2))

    def parse(self, text: str, thinking: bool) -> dict:
        data, buffer = text.encode(), c.c_void_p()
        self.call("v4i_chat_parse", self.model, data, c.c_size_t(len(data)), c.c_int32(2 if thinking else 1),
                  c.byref(buffer))
        return json.loads(self.take(buffer))

    def session(self, context: int) -> c.c_void_p:
        s = c.c_void_p()
        self.call("v4i_session_create", self.model, c.byref(sized(SessionOptions, context_size=context)), c.byref(s))
        return s

    def answer(self, ids: np.ndarray, most: int) -> str:
        """The greedy continuation, without the end token."""
        s, buffer, finish = self.session(len(ids) + most + 8), c.c_void_p(), c.c_int32()
        try:
            self.call("v4i_session_set_sampler", s, self.sampler, None)
            self.call("v4i_session_append_tokens", s, ids.ctypes.data_as(c.c_void_p), c.c_size_t(len(ids)))
            self.call("v4i_session_generate", s, c.byref(sized(GenerateOptions, max_tokens=most)),
                      c.byref(buffer), c.byref(finish))
            return self.take(buffer)
        finally:
            self.release("session", s)

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """[T, vocab]."""
        s, out = self.session(len(ids) + 8), np.empty((len(ids), self.vocab), np.float32)
        try:
            self.call("v4i_session_eval", s, ids.ctypes.data_as(c.c_void_p), c.c_size_t(len(ids)), None,
                      out.ctypes.data_as(c.c_void_p), c.c_size_t(out.size))
            return out
        finally:
            self.release("session", s)
