"""Images in the v4infer command, on a tiny V4.1.  usage: images_test.py V4INFER LOOK"""
import json
import os
import struct
import subprocess
import sys

import numpy as np

import cli


def ppm(folder, name, width, height, seed, comment=b''):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    path = os.path.join(folder, name)
    with open(path, 'wb') as f:
        f.write(b'P6\n' + comment + b'%d %d\n255\n' % (width, height) + pixels.tobytes())
    return path


def events(text):
    return [json.loads(line) for line in text.splitlines()]


def text_of(all_events):
    return ''.join(e.get('text', '') for e in all_events if e['type'] in ('content', 'reasoning'))


def ends(all_events):
    return [e for e in all_events if e['type'] == 'end']


def test_run(folder, command):
    """run --image: images before the prompt, in their order, with and without --chat"""
    path = cli.tiny_v41(folder)
    a, b = ppm(folder, 'a.ppm', 200, 150, 1), ppm(folder, 'b.ppm', 120, 210, 2, b'# a comment\n')
    for more in [], ['--chat']:
        base = ['run', path, '--greedy', '--max-tokens', 8, '--prompt', 'What is this?', '--json', *more]
        text = command.json(*base)
        one = command.json(*base, '--image', a)
        two = command.json(*base, '--image', a, '--image', b)
        turned = command.json(*base, '--image', b, '--image', a)
        assert text['prompt_tokens'] + 10 < one['prompt_tokens'] < two['prompt_tokens'], (text, one, two)
        assert two['prompt_tokens'] == turned['prompt_tokens']
        assert len({r['text'] for r in (text, one, two, turned)}) >= 3
        assert one == {**command.json(*base, '--image', a), **speeds(one)}
    with open(a, 'rb') as f:
        again = os.path.join(folder, 'again.ppm')
        with open(again, 'wb') as g:
            g.write(f.read() + b'trailing bytes are not pixels')
    assert command.json(*base, '--image', again)['text'] == one['text']


def speeds(result):
    return {k: v for k, v in result.items() if k.endswith('per_s')}


def test_tokens(folder, command):
    """--image-tokens makes an image cost less"""
    path = cli.tiny_v41(folder)
    a = ppm(folder, 'a.ppm', 300, 200, 1)
    base = ['run', path, '--max-tokens', 1, '--prompt', 'x', '--json', '--image', a]
    text = command.json(*base[:-2])['prompt_tokens']
    full, less = command.json(*base), command.json(*base, '--image-tokens', 25)
    assert less['prompt_tokens'] - text <= 25 < full['prompt_tokens'] - text, (text, full, less)
    command.refused('--image-tokens', *base, '--image-tokens', 18, code=2)


def test_refused(folder, command):
    """what is no picture, or nothing that the model takes, is a sentence with the file's name"""
    path = cli.tiny_v41(folder)
    good = ppm(folder, 'good.ppm', 30, 20, 1)

    def refuse(word, data, *args):
        bad = os.path.join(folder, 'bad.ppm')
        with open(bad, 'wb') as f:
            f.write(data)
        command.refused(word, 'run', path, '--prompt', 'x', '--image', good, '--image', bad, *args)
        command.refused('bad.ppm: ', 'run', path, '--prompt', 'x', '--image', bad, *args)
    refuse('is empty', b'')
    refuse('width', b'P6\n')
    refuse('height', b'P6 10 x 255\n')
    refuse('largest value', b'P6 10 10 # no more')
    refuse('only 255', b'P6 1 1 65535\n......')
    refuse('width', b'P6 99999999999999999999 1 255\n')
    refuse('expected 3145728000', b'P6 32768 32000 255\n' + b'.' * 3000)
    refuse('299 bytes of them, expected 300', b'P6 10 10 255\n' + b'.' * 299)
    refuse('narrow', b'P6 100000 1 255\n' + b'.' * 300000)
    refuse('', b'neither this nor that')
    refuse('', b'\x89PNG\r\n\x1a\n cut')
    command.refused('no/such: cannot be read', 'run', path, '--prompt', 'x', '--image', 'no/such')
    command.refused('is a folder', 'run', path, '--prompt', 'x', '--image', folder)
    command.refused('', 'run', path, '--prompt', 'x', '--image', code=2)
    text = cli.tiny_model(os.path.join(folder, 'v4'), 1)
    for more in [], ['--chat']:
        command.refused('good.ppm: this model takes no images', 'run', text, '--prompt', 'x', '--image', good, *more)


def test_chat(folder, command):
    """chat: --image goes with the first message, /image with the next; later turns compute what is new"""
    path = cli.tiny_v41(folder)
    a, b = ppm(folder, 'a.ppm', 200, 150, 1), ppm(folder, 'b.ppm', 120, 210, 2)
    base = ['chat', path, '--json', '--greedy', '--max-tokens', 6]
    by_option = events(command.out(*base, '--image', a, stdin='hello\nand?\n'))
    by_command = events(command.out(*base, stdin=f'/image {a}\nhello\nand?\n'))
    assert by_command[0]['type'] == 'info' and a in by_command[0]['text'] and 'tokens' in by_command[0]['text']
    assert text_of(by_option) == text_of(by_command[1:])
    first, second = ends(by_option)
    assert second['prompt_tokens'] < first['prompt_tokens'] - 10, (first, second)
    plain = events(command.out(*base, stdin='hello\nand?\n'))
    assert ends(plain)[0]['prompt_tokens'] < first['prompt_tokens'] - 10
    later = events(command.out(*base, stdin=f'hello\n/image {a}\n/image {b}\nand?\nso?\n'))
    counts = [e['prompt_tokens'] for e in ends(later)]
    assert counts[0] == ends(plain)[0]['prompt_tokens'] and counts[1] > counts[0] + 20 > counts[2], counts
    dropped = events(command.out(*base, stdin=f'/image {a}\n/image\nhello\nand?\n'))
    assert text_of(dropped) == text_of(plain)
    wrong = events(command.out(*base, stdin='/image no/such\nhello\nand?\n'))
    assert wrong[0] == {'type': 'error', 'text': 'no/such: cannot be read'}
    assert text_of(wrong[1:]) == text_of(plain)


def test_saved(folder, command):
    """/save keeps the images: what is loaded goes on as the conversation would have, nothing computed twice"""
    path = cli.tiny_v41(folder)
    a, b = ppm(folder, 'a.ppm', 200, 150, 1), ppm(folder, 'b.ppm', 120, 210, 2)
    saved = os.path.join(folder, 'saved')
    base = ['chat', path, '--json', '--greedy', '--max-tokens', 6]
    talk = events(command.out(*base, '--image-tokens', 25, stdin=
                              f'/image {a}\nhello\n/fork\n/image {b}\ntwo\n/save {saved}\nthree\n/back\n/image {b}\ntwo\n'))
    answers = ends(talk)
    assert len(answers) == 4
    spoken = [''.join(e['text'] for e in part) for part in split(talk)]
    assert spoken[1] == spoken[3]
    os.remove(a)
    os.remove(b)
    loaded = events(command.out(*base, stdin=f'/load {saved}\nthree\n'))
    assert loaded[0]['text'] == 'loaded 2 turns', loaded[0]
    assert text_of(loaded) == spoken[2]
    assert ends(loaded)[0]['prompt_tokens'] == answers[2]['prompt_tokens']
    with open(saved, 'rb') as f:
        data = f.read()
    assert data.startswith(b'v4infer conversation 2\n')
    for cut in 10, 40, 300, 2000, len(data) // 2, len(data) - 9:
        with open(saved, 'wb') as f:
            f.write(data[:cut])
        wrong = events(command.out(*base, stdin=f'/load {saved}\n'))
        assert [e['type'] for e in wrong] == ['error'], (cut, wrong)
    for old, new in ((b'"type":"image"', b'"type":"imagf"'), (b'"type":"image"', b'"type":5      '),
                     (b' 25\n', b' 26\n')):
        with open(saved, 'wb') as f:
            f.write(data.replace(old, new, 1))
        wrong = events(command.out(*base, stdin=f'/load {saved}\nso\n'))
        assert wrong, (old, new)
        assert (wrong[0]['type'] == 'error') == (b'type' in old), (old, wrong)


def split(all_events):
    """What was said, answer by answer."""
    out = [[]]
    for e in all_events:
        if e['type'] in ('content', 'reasoning'):
            out[-1].append(e)
        if e['type'] == 'end':
            out.append([])
    return out[:-1]


def test_look(folder, command):
    """the example look says what run --chat says"""
    path = cli.tiny_v41(folder)
    a = ppm(folder, 'a.ppm', 200, 150, 1)
    example = cli.Command(sys.argv[2])
    want = command.out('run', path, '--chat', '--image', a, '--prompt', 'What?', '--max-tokens', 64)
    assert example.out(path, a, 'What?') == want and len(want) > 30
    for wrong in (path, os.path.join(folder, 'no/such')), (path,):
        example.refused('usage', *wrong, code=2)
    example.refused('no/model', os.path.join(folder, 'no/model'), a)
    with open(a, 'r+b') as f:
        f.truncate(1000)
    example.refused('do not agree', path, a)
    example.refused('takes none', cli.tiny_model(os.path.join(folder, 'v4'), 1), a)


def test_eval(folder, command):
    """eval --case: every position of text and images equals the oracle within 1e-4; chunks change nothing"""
    path = cli.tiny_v41(folder, tokens=120)
    case = os.path.join(path, 'case_image.json')
    out, want = os.path.join(folder, 'logits.npy'), os.path.join(folder, 'want.npy')
    subprocess.run([sys.executable, os.path.join(cli.SOURCE, 'tests/oracle/v41_oracle.py'), path, '--case',
                    'case_image.json', '--save', want], check=True, stdout=subprocess.DEVNULL)
    got = command.json('eval', path, '--case', case, '--mode', 'exact', '--out', out, '--json')
    a, b = np.load(out), np.load(want)
    assert got['tokens'] == 120 and a.shape == b.shape == (120, 512), (got, a.shape, b.shape)
    assert np.abs(a - b).max() < 1e-4, np.abs(a - b).max()
    base = ['eval', path, '--case', case, '--sha256', '--next', 3]
    assert len({command.out(*base, *args) for args in ([], ['--chunk', 1], ['--chunk', 7], ['--threads', 2])}) == 1
    command.refused('stands for an image', 'eval', path, '--ids', case, '--sha256')
    command.refused('--ids', *base, '--ids', case, code=2)
    command.refused('--ids or --case', 'eval', path, '--sha256', code=2)


def test_eval_refused(folder, command):
    """a damaged case of eval is a sentence with its file, and the tensor"""
    path = cli.tiny_v41(folder, tokens=60)
    case, tensors = os.path.join(path, 'case_image.json'), os.path.join(path, 'images.safetensors')
    with open(case) as f:
        good = json.load(f)
    with open(tensors, 'rb') as f:
        data = f.read()

    def refuse(word, change=None, bytes=None):
        changed = json.loads(json.dumps(good))
        if change:
            change(changed)
        with open(case, 'w') as f:
            json.dump(changed, f)
        with open(tensors, 'wb') as f:
            f.write(data if bytes is None else bytes)
        command.refused(word, 'eval', path, '--case', case, '--sha256')
    command.run('eval', path, '--case', case, '--sha256')
    refuse('case_image.json', lambda c: c.pop('images'))
    refuse('ids', lambda c: c.update(ids='x'))
    refuse('roles', lambda c: c['roles'].pop())
    refuse('starts at 60', lambda c: c['images'][1].update(start=60))
    refuse('starts at 3', lambda c: c['images'][1].update(start=3))
    refuse('patches, expected', lambda c: c['images'][0].update(grid_h=9))
    refuse('0 x', lambda c: c['images'][0].update(grid_w=0))
    refuse('case_image.json', lambda c: c['images'][0].update(grid_w=-1))
    refuse('8 ids, expected 7', lambda c: c['images'][0].update(grid_h=2, grid_w=10))
    refuse('expected 508', lambda c: c.update(ids=[77 if i == 508 else i for i in c['ids']]))
    refuse('stands for an image', lambda c: c['images'].pop())
    refuse('no tensor image.1.patches', bytes=data.replace(b'image.1.patches', b'image.7.patches'))
    refuse('BF16 or F32', bytes=data.replace(b'BF16', b'BF61', 1))
    refuse('outside', bytes=data[:-2])
    refuse('no safetensors', bytes=data[:5])
    refuse('no safetensors', bytes=struct.pack('<Q', 1 << 60) + data[8:])
    refuse('no JSON header', bytes=data[:8] + b'x' + data[9:])
    refuse('damaged', bytes=data.replace(b'"shape"', b'"shope"', 1))
    refuse('for each patch', bytes=data.replace(b'"shape": [20, 3', b'"shape": [20, 9').replace(b'14, 14], "data_offsets": [0, 23520]', b'14, 14], "data_offsets": [0, 23516]'))
    os.remove(tensors)
    command.refused('images.safetensors: cannot be read', 'eval', path, '--case', case, '--sha256')


if __name__ == '__main__':
    cli.main(globals(), cli.Command(sys.argv[1]))
