"""hello.c against the installed package with plain cc, and hello.py through ctypes.

usage: hello_test.py BUILD_DIR CMAKE CC EXAMPLES_DIR
"""
import glob
import os
import subprocess
import sys

import cli

PROMPT = 'Once upon a time'


def output(*args, **env):
    done = subprocess.run(args, env={**os.environ, **env}, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def test_hello(folder, build, cmake, cc, examples):
    """hello.c, built by cc with pkg-config's flags, and hello.py print the same text"""
    model = cli.tiny_model(os.path.join(folder, 'model'), 1)
    prefix = os.path.join(folder, 'installed')
    output(cmake, '--install', build, '--prefix', prefix)
    pc, = glob.glob(f'{prefix}/lib*/**/v4infer.pc', recursive=True)
    library, = glob.glob(f'{prefix}/lib*/**/libv4infer.so.1', recursive=True)
    flags = output('pkg-config', '--cflags', '--libs', 'v4infer',
                   PKG_CONFIG_PATH=os.path.dirname(pc)).split()
    program = os.path.join(folder, 'hello')
    output(cc, os.path.join(cli.SOURCE, 'examples/hello.c'), '-o', program, *flags)
    said = output(program, model, PROMPT, LD_LIBRARY_PATH=os.path.dirname(library))
    assert len(said.strip()) > 20, said
    script = os.path.join(cli.SOURCE, 'examples/hello.py')
    assert output(sys.executable, script, library, model, PROMPT) == said
    print('        ' + repr(said[:60]))

    failed = subprocess.run([program, '/no/such/model', PROMPT], stderr=subprocess.PIPE,
                            env={**os.environ, 'LD_LIBRARY_PATH': os.path.dirname(library)})
    assert failed.returncode == 1 and b'/no/such/model' in failed.stderr


def test_chat(folder, build, cmake, cc, examples):
    """the chat example answers every line, the second with the first in mind"""
    model = cli.tiny_model(folder, 1, 10)
    done = subprocess.run([os.path.join(examples, 'chat'), model], input=b'hello\nand you?\n',
                          stdout=subprocess.PIPE, check=True)
    assert done.stdout.count(b'> ') >= 3 and len(done.stdout) > 100


def test_village(folder, build, cmake, cc, examples):
    """twenty sessions in one batch: each says something after its name"""
    model = cli.tiny_model(folder, 1, 10)
    lines = subprocess.run([os.path.join(examples, 'npc_many_sessions'), model, '8'],
                           stdout=subprocess.PIPE, check=True).stdout
    for i in range(20):
        _, _, rest = lines.partition(b'Villager %d:' % i)
        assert rest.split(b'Villager')[0].strip(), i
    assert b'KV state' in lines


if __name__ == '__main__':
    cli.main(globals(), *sys.argv[1:])
