"""Processes with a disk tier that are killed.  usage: killed_test.py V4INFER [ROUNDS]"""
import os
import random
import signal
import subprocess
import sys
import time

import cli

NANO = os.path.join(cli.SOURCE, 'examples/nano/model')
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5


def prompt(folder, words=1500):
    """A file with a text of about 3,000 tokens."""
    path = os.path.join(folder, 'prompt.txt')
    with open(os.path.join(cli.SOURCE, 'docs/architecture.md')) as f:
        known = f.read().split()
    choose = random.Random(3)
    with open(path, 'w') as f:
        f.write(' '.join(choose.choice(known) for _ in range(words)))
    return path


def command_line(file):
    return ['run', NANO, '--prompt-file', file, '--greedy', '--max-tokens', '12', '--threads', '1',
            '--json']


def test_killed(folder, command):
    """after kill -9 at random instants of a prefill, the next process says what one without a disk tier says"""
    file = prompt(folder)
    began = time.monotonic()
    want = command.json(*command_line(file))['text']
    takes = time.monotonic() - began
    assert want, 'the model says nothing'
    choose = random.Random(4)
    disk = os.path.join(folder, 'disk')
    killed = left = 0
    for _ in range(ROUNDS):
        # Every other folder is a new one: an empty one and one that processes died in.
        if choose.random() < 0.5:
            disk = os.path.join(folder, 'disk%d' % choose.randrange(1 << 30))
        args = command_line(file) + ['--disk', disk, '--ram', choose.choice(['24M', '1G'])]
        child = subprocess.Popen([command.path, *args], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        time.sleep(choose.random() * takes)
        child.send_signal(signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
        left += os.path.exists(os.path.join(disk, 'index.db'))
        again = command.json(*args)
        assert again['text'] == want, (again['text'], want)
    assert killed > ROUNDS / 2 and left > 0, (killed, left)


cli.main(dict(globals()), cli.Command(sys.argv[1]))
