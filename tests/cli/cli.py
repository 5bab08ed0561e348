"""What the tests of the v4infer command share: running it, models to run it on."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def tiny_model(folder, seed, tokens=300, tokenizer=True):
    """Writes the random model of `seed` and, beside it, the small tokenizer."""
    script = os.path.join(SOURCE, 'tests/oracle/make_tiny_v4.py')
    subprocess.run([sys.executable, script, folder, str(seed), str(tokens)], check=True,
                   stdout=subprocess.DEVNULL)
    if tokenizer:
        shutil.copy(os.path.join(SOURCE, 'tests/tokenizer/golden/tokenizer_512.json'),
                    os.path.join(folder, 'tokenizer.json'))
    return folder


def tiny_v41(folder, seed=0, tokens=300):
    """The random V4.1 of `seed`, whose image token is that of the small tokenizer beside it."""
    script = os.path.join(SOURCE, 'tests/oracle/make_tiny_v41.py')
    subprocess.run([sys.executable, script, folder, '--seed', str(seed), '--tokens', str(tokens)], check=True,
                   stdout=subprocess.DEVNULL)
    shutil.copy(os.path.join(SOURCE, 'tests/tokenizer/golden/tokenizer_512.json'),
                os.path.join(folder, 'tokenizer.json'))
    for name in 'config.json', 'case_image.json':
        path = os.path.join(folder, name)
        with open(path) as f:
            text = f.read()
        text = re.sub(r'\b500\b', '508', text)
        with open(path, 'w') as f:
            f.write(text)
    return folder


class Command:
    def __init__(self, path):
        self.path = path

    def run(self, *args, stdin='', code=0):
        done = subprocess.run([self.path, *map(str, args)], input=stdin.encode(),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
        assert done.returncode == code, (args, done.returncode, done.stderr.decode())
        return done

    def out(self, *args, stdin=''):
        return self.run(*args, stdin=stdin).stdout.decode()

    def json(self, *args, stdin=''):
        return json.loads(self.out(*args, stdin=stdin))

    def refused(self, word, *args, code=1, stdin=''):
        """Exit code `code`, a sentence with `word` on stderr, nothing on stdout."""
        done = self.run(*args, stdin=stdin, code=code)
        text = done.stderr.decode()
        assert word in text, (args, text)
        assert text.strip() and not done.stdout, (args, done.stdout)


def main(tests, *args):
    """Runs every test_ function of the dictionary `tests` in a fresh folder."""
    failed = 0
    for name, test in tests.items():
        if not name.startswith('test_'):
            continue
        with tempfile.TemporaryDirectory(prefix='v4infer-cli-') as folder:
            try:
                test(folder, *args)
                print('ok    ', test.__doc__)
            except Exception:
                failed += 1
                print('FAILED', test.__doc__)
                traceback.print_exc(file=sys.stdout)
    sys.exit(failed != 0)
