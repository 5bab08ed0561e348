"""The example custom_kv_store against a Redis server of its own.

usage: redis_test.py CUSTOM_KV_STORE    exit code 77: no server or no example, nothing was tested
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import cli

SERVER = shutil.which('redis-server')
TOLD = re.compile(r'\[(\d+) tokens came from the store, (\d+) were computed\]')
TEXT = ('Once upon a time there was a mill by a river, and the miller had three sons. ' * 40)


class Redis:
    """A server on a socket in `folder`, without files."""

    def __init__(self, folder, *args):
        self.socket = os.path.join(folder, 'redis')
        if os.path.exists(self.socket):
            os.unlink(self.socket)  # of one that was killed
        self.process = subprocess.Popen(
            [SERVER, '--port', '0', '--unixsocket', self.socket, '--save', '', '--appendonly', 'no',
             '--dir', folder, *args], stdout=subprocess.DEVNULL)
        end = time.time() + 30
        while not os.path.exists(self.socket):
            assert self.process.poll() is None and time.time() < end, 'redis-server does not start'
            time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


def run(example, *args, code=0):
    done = subprocess.run([example, *map(str, args)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=300)
    assert done.returncode == code, (args, done.returncode, done.stdout, done.stderr)
    return done.stdout.decode(errors='replace')


def prompt(folder, more=''):
    path = os.path.join(folder, 'text')
    with open(path, 'w') as f:
        f.write(TEXT + more)
    return path


def say(example, redis, model, text):
    out = run(example, redis.socket, model, text)
    told = TOLD.search(out)
    return out[:told.start()], int(told[1]), int(told[2])


def test_selftest(folder, example):
    """the store passes the self-test, also while many commands are in its pipeline"""
    with Redis(folder) as redis:
        for _ in range(3):
            assert run(example, redis.socket, 'selftest') == 'the store passes\n'


def test_full(folder, example):
    """a server without room refuses, which the self-test tells; text comes as without a store"""
    model = cli.tiny_model(os.path.join(folder, 'model'), 1)
    text = prompt(folder)
    with Redis(folder, '--maxmemory', '1mb') as redis:
        assert 'is lost' in run(example, redis.socket, 'selftest', code=1)
        full, reused, _ = say(example, redis, model, text)
        assert reused == 0
    os.makedirs(os.path.join(folder, 'other'))
    with Redis(os.path.join(folder, 'other')) as redis:
        assert say(example, redis, model, text)[0] == full


def test_two_processes(folder, example):
    """a second process answers from the first one's prefix: same text, only the rest computed"""
    model = cli.tiny_model(os.path.join(folder, 'model'), 1)
    text = prompt(folder)
    with Redis(folder) as redis:
        first, reused, computed = say(example, redis, model, text)
        assert reused == 0 and computed > 700, (reused, computed)
        again, reused, rest = say(example, redis, model, text)
        assert again == first
        assert reused >= 512 and reused + rest == computed, (reused, rest, computed)
        print(f'        {computed} tokens: {reused} from the store, {rest} computed')
        longer, reused, _ = say(example, redis, model, prompt(folder, 'The end.'))
        assert reused >= 512 and longer != first


def hang(process, seconds):
    process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    process.send_signal(signal.SIGCONT)


def test_server_goes_away(folder, example):
    """a server that is killed, or hangs, costs time: the text is the same and the exit code 0"""
    model = cli.tiny_model(os.path.join(folder, 'model'), 1)
    text = prompt(folder)
    with Redis(folder) as redis:
        want, _, _ = say(example, redis, model, text)
        redis.process.kill()
        redis.process.wait()
        got, reused, _ = say(example, redis, model, text)
        assert got == want and reused == 0
    for stop in (lambda: redis.process.kill(), lambda: hang(redis.process, 2)):
        with Redis(folder) as redis:
            p = subprocess.Popen([example, redis.socket, model, text], stdout=subprocess.PIPE)
            time.sleep(0.2)
            stop()
            out, _ = p.communicate(timeout=120)
            assert p.returncode == 0 and out.decode(errors='replace').startswith(want), out


if __name__ == '__main__':
    if SERVER is None or not os.path.exists(sys.argv[1]):
        print('skipped: no', 'redis-server' if SERVER is None else sys.argv[1])
        sys.exit(77)
    cli.main(globals(), sys.argv[1])
