#!/usr/bin/env python3
"""hello.py: a model says something, through ctypes.

usage: hello.py LIBV4INFER MODEL PROMPT

Nothing but Python's standard library.  A struct of v4infer.h begins with its size, so
a binding may leave out the fields at the end that it does not use, as long as it has
those of release 1.0; here they are all listed.
"""
import ctypes as c
import sys


class EngineOptions(c.Structure):
    _fields_ = [('struct_size', c.c_uint32), ('abi_version', c.c_uint32), ('next', c.c_void_p),
                ('allocator', c.c_void_p), ('log', c.c_void_p), ('log_user', c.c_void_p),
                ('log_level', c.c_int32), ('thread_count', c.c_int32), ('backend', c.c_char_p),
                ('force_isa', c.c_char_p), ('budget', c.c_void_p), ('cpus', c.c_void_p),
                ('cpu_count', c.c_size_t), ('thread_priority', c.c_int32), ('reserved0', c.c_int32)]


class ModelOptions(c.Structure):
    _fields_ = [('struct_size', c.c_uint32), ('reserved0', c.c_int32), ('next', c.c_void_p),
                ('path', c.c_char_p), ('progress', c.c_void_p), ('progress_user', c.c_void_p),
                ('cancel', c.c_void_p), ('context_hint', c.c_uint32), ('session_hint', c.c_uint32),
                ('verify_tensors', c.c_int32), ('tiered', c.c_int32)]


class Step(c.Structure):
    _fields_ = [('struct_size', c.c_uint32), ('finish', c.c_int32), ('tokens', c.c_void_p),
                ('token_count', c.c_size_t), ('text', c.c_void_p), ('text_len', c.c_size_t),
                ('logprob', c.c_float), ('drafted', c.c_uint32), ('accepted', c.c_uint32),
                ('reserved0', c.c_uint32)]


def sized(struct, **fields):
    return struct(struct_size=c.sizeof(struct), **fields)


def main(library, path, prompt):
    v4i = c.CDLL(library)
    v4i.v4i_error_message.restype = c.c_char_p
    v4i.v4i_error_message.argtypes = [c.c_void_p]

    def call(name, *args):
        error = c.c_void_p()
        if getattr(v4i, name)(*args, c.byref(error)) != 0:
            sys.exit('hello.py: ' + v4i.v4i_error_message(error).decode())

    engine, model, session = c.c_void_p(), c.c_void_p(), c.c_void_p()
    call('v4i_engine_create', c.byref(sized(EngineOptions, abi_version=1)), c.byref(engine))
    call('v4i_model_open', engine, c.byref(sized(ModelOptions, path=path.encode())),
         c.byref(model))
    call('v4i_session_create', model, None, c.byref(session))
    text = prompt.encode()
    call('v4i_session_append_text', session, text, c.c_size_t(len(text)), c.c_uint32(1))

    # One token a step: the shape of a generator, a game tick or an async task.
    step = sized(Step)
    for _ in range(64):
        call('v4i_session_step', session, None, c.byref(step))
        sys.stdout.write(c.string_at(step.text, step.text_len).decode())
        sys.stdout.flush()
        if step.finish:
            break
    print()
    for release, handle in (('session', session), ('model', model), ('engine', engine)):
        getattr(v4i, f'v4i_{release}_release')(handle)


if __name__ == '__main__':
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
