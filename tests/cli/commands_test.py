"""Every command of v4infer but eval.  usage: commands_test.py V4INFER"""
import csv
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import xml.dom.minidom

import cli

PROMPT = 'Once upon a time'


def test_usage(folder, command):
    """wrong usage is exit code 2 with a sentence, --help and --version are 0"""
    for args in ([], ['fly'], ['run'], ['run', folder], ['run', folder, '--prompt'],
                 ['run', folder, '--prompt', 'x', '--threads', '-1'],
                 ['run', folder, '--prompt', 'x', '--max-tokens', 'many'],
                 ['run', folder, '--prompt', 'x', '--prompt-file', 'y'], ['tokenize', folder],
                 ['bench', folder, '--decode', '0'], ['chat', folder, '--think', 'hard']):
        command.refused('', *args, code=2)
    assert 'chat' in command.out('--help')
    for name in 'chat', 'run', 'eval', 'tokenize', 'detokenize', 'render', 'inspect', 'bench', 'plan':
        assert 'model' in command.out(name, '--help')
    assert command.out('--version').startswith('v4infer 1.')


def test_failures(folder, command):
    """what cannot be opened is exit code 1 with the library's sentence"""
    command.refused('/no/such/model', 'inspect', '/no/such/model')
    command.refused('model', 'run', folder, '--prompt', 'x')  # an empty folder
    path = cli.tiny_model(folder, 1, tokenizer=False)
    command.refused('tokenizer.json', 'run', path, '--prompt', 'x')
    command.refused('mmx', 'inspect', path, '--isa', 'mmx')
    command.refused('backend "metal"', 'inspect', path, '--backend', 'metal')
    command.refused('budget', 'inspect', path, '--ram', '1KB')
    with open(os.path.join(path, 'config.json'), 'w') as f:
        f.write('{')
    command.refused('config.json', 'inspect', path)


def test_run(folder, command):
    """run: same seed, same text; greedy; stop; max-tokens; logprobs; stdin; chat"""
    path = cli.tiny_model(folder, 1)
    base = ['run', path, '--json', '--max-tokens', 12, '--prompt', PROMPT]
    one, two = command.json(*base, '--seed', 5), command.json(*base, '--seed', 5)
    assert one['text'] == two['text'] and one['tokens'] == 12 and one['finish'] == 'length'
    assert one['text'] != command.json(*base, '--seed', 6)['text']
    greedy = command.json(*base, '--greedy', '--logprobs', 3)
    for l in greedy['logprobs']:
        assert l['token'] == l['top'][0]['token'] and len(l['top']) == 3
        assert abs(l['logprob'] - l['top'][0]['logprob']) < 1e-4
    assert ''.join(l['text'] for l in greedy['logprobs']).startswith(greedy['text'][:2])
    text = greedy['text']
    stop = command.json(*base, '--greedy', '--stop', text[4:6])
    assert stop['finish'] == 'stop' and stop['text'] == text[:text.index(text[4:6])]
    plain = command.out('run', path, '--greedy', '--max-tokens', 12, '--prompt-file', '-',
                        stdin=PROMPT)
    assert plain == text + '\n'
    chat = command.json(*base, '--chat', '--greedy')
    assert chat['prompt_tokens'] > greedy['prompt_tokens'] or chat['text'] != text
    command.refused('temperature', *base, '--temperature', '-1')


def test_stats(folder, command):
    """run --stats: a full bar, speed, KV bytes and memory on stderr; stdout is the text as without it"""
    path = cli.tiny_model(folder, 1)
    base = ['run', path, '--greedy', '--max-tokens', 12, '--prompt', PROMPT * 20]
    done = command.run(*base, '--stats')
    told = done.stderr.decode().splitlines()
    assert done.stdout.decode() == command.out(*base) and len(told) == 4, told
    assert told[0].strip().startswith('prompt [########') and '12 tokens,' in told[1], told
    assert 'bytes per token' in told[2] and 'KiB' in told[2] and 'mapped' in told[3], told


def test_disk(folder, command):
    """run --disk: a second run takes the prompt from the folder and says the same; bench counts whole prompts"""
    path = cli.tiny_model(folder, 1)
    disk = os.path.join(folder, 'kv')
    base = ['run', path, '--greedy', '--max-tokens', 12, '--prompt', PROMPT * 60, '--stats']
    plain = command.run(*base)
    first = command.run(*base, '--disk', disk + ':1G')
    second = command.run(*base, '--disk', disk)
    assert plain.stdout == first.stdout == second.stdout
    told = [d.stderr.decode().splitlines()[-1] for d in (plain, first, second)]
    assert 'disk' not in told[0] and ' 0 tokens came from there' in told[1], told
    assert '[disk: ' in told[2] and 'KiB' in told[2], told
    assert int(told[2].split()[-5]) >= 512, told
    bench = command.json('bench', path, '--prefill', 600, '--decode', 4, '--repeat', 1, '--json',
                         '--disk', disk)
    assert bench['prefill_tokens_per_s'] > 0
    command.refused('/proc/kv', 'run', path, '--prompt', 'x', '--disk', '/proc/kv')
    os.mkdir(os.path.join(folder, 'of:2026x'))  # a colon of a folder's name
    for disk in ('of:2026x/kv', 'of:2026x/kv2:1M'):
        command.run('run', path, '--prompt', 'x', '--max-tokens', 1, '--disk', os.path.join(folder, disk))
    assert sorted(os.listdir(os.path.join(folder, 'of:2026x'))) == ['kv', 'kv2']
    command.refused('--disk', 'run', path, '--prompt', 'x', '--disk', disk + ':' + '9' * 20)


def test_tokens(folder, command):
    """tokenize and detokenize are inverse, and text cannot inject special tokens"""
    path = cli.tiny_model(folder, 1)
    text = 'na\u00efve \u65e5\u672c\u8a9e <think> \U0001f600\n'
    ids = command.json('tokenize', path, '--text', text)
    assert command.out('detokenize', path, '--ids', '-', stdin=json.dumps(ids)) == text
    assert command.json('detokenize', path, '--json', '--ids', '-', stdin=json.dumps(ids)) == text
    special = command.json('tokenize', path, '--file', '-', '--special', stdin=text)
    assert len(special) < len(ids)
    bos = command.json('tokenize', path, '--text', 'a', '--bos')
    assert bos[0] == 0 and bos[1:] == command.json('tokenize', path, '--text', 'a')
    command.refused('512', 'detokenize', path, '--ids', '-', stdin='[512]')


def test_render(folder, command):
    """render: messages become the prompt, ids and text agree, broken ones are refused"""
    path = cli.tiny_model(folder, 1)
    messages = [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': '<think>?'}]
    def render(*args):
        return command.json('render', path, '--json', '--messages', '-', *args,
                            stdin=json.dumps(messages))
    off, on = render(), render('--think', 'on')
    assert off['text'].endswith('</think>') and on['text'].endswith('<think>')
    assert 'Be brief.' in off['text'] and '<think>?' in off['text']
    back = command.json('detokenize', path, '--json', '--ids', '-', stdin=json.dumps(off['ids']))
    assert back == off['text']
    assert not render('--no-answer')['text'].endswith('</think>')
    assert len(render('--think', 'max')['ids']) > len(on['ids'])
    tools = {'messages': messages, 'tools': [{'type': 'function', 'function': {
        'name': 'look', 'description': 'x', 'parameters': {'type': 'object', 'properties': {}}}}]}
    assert '"name": "look"' in command.json('render', path, '--json', '--messages', '-',
                                            stdin=json.dumps(tools))['text']
    for wrong in '{', '[{"role": "king", "content": "x"}]', '[{"content": "x"}]', '3':
        command.refused('', 'render', path, '--messages', '-', stdin=wrong)


def test_inspect(folder, command):
    """inspect: the numbers add up; the tensor table is complete; memory is what KV takes"""
    path = cli.tiny_model(folder, 1)
    d = command.json('inspect', path, '--tensors', '--json')
    sizes = d['sizes']
    assert sizes['tensors'] == len(d['tensors']) == 427
    assert sum(t['bytes'] for t in d['tensors']) == sizes['tensor_bytes']
    assert sizes['expert_bytes'] + sizes['dense_bytes'] + sizes['draft_bytes'] == \
        sizes['tensor_bytes']
    assert [l['attention'] for l in d['plan']['layers']] == ['window', 'csa', 'hca', 'csa']
    assert d['memory']['kv_bytes_per_token'] > 0
    assert 'weight_bytes_per_token' in command.out('inspect', path)
    assert 'layers.3.ffn.experts.7.w3.weight' in command.out('inspect', path, '--tensors')


def test_bench(folder, command):
    """bench: every promised number is there, and those that hang together do"""
    path = cli.tiny_model(folder, 1)
    b = command.json('bench', path, '--prefill', 16, '--decode', 12, '--sessions', 3, '--json',
                     '--threads', 2, '--repeat', 2)
    for key in ('decode_tokens_per_s', 'prefill_tokens_per_s', 'weight_bytes_per_token',
                'read_bandwidth_bytes_per_s', 'bf16_peak_flops', 'prefill_flops_share',
                'decode_bandwidth_share', 'peak_rss_bytes', 'peak_anonymous_bytes',
                'open_seconds', 'first_token_seconds', 'first_token_bytes',
                'first_token_bound_share', 'step_one_tokens_per_s', 'step_all_tokens_per_s',
                'sessions_speedup'):
        assert b[key] > 0, key
    assert b['threads'] == 2 and b['sessions'] == 3 and b['context_tokens'] == 16
    assert b['decode_tokens_per_s_min'] <= b['decode_tokens_per_s'] <= b['decode_tokens_per_s_max']
    assert b['first_token_seconds'] > b['open_seconds']
    assert b['peak_rss_bytes'] > b['peak_anonymous_bytes']
    assert b['decode_bandwidth_share'] < 1 and b['first_token_bound_share'] < 1
    d = command.json('inspect', path, '--json')
    assert b['weight_bytes_per_token'] == (d['sizes']['weight_bytes_per_token'] -
                                           d['sizes']['per_token']['indexer']['bytes'])
    tensors = sum(t['bytes'] for t in command.json('inspect', path, '--json', '--tensors')['tensors'])
    assert b['weight_bytes_per_token'] < tensors


def test_tiers(folder, command):
    """bench --tiers: less and less memory, the same bits, and a prompt that is taken up from the disk"""
    path = cli.tiny_model(folder, 1)
    chart, disk = os.path.join(folder, 'tiers.svg'), os.path.join(folder, 'tiers')
    base = ['bench', path, '--tiers', '--context', 2000, '--decode', 8]
    table = list(csv.DictReader(command.out(*base, '--svg', chart, '--disk', disk).splitlines()))
    assert [row['share'] for row in table] == ['100', '50', '25', '10'], table
    for row in table[1:]:
        assert row['same_bits'] == 'true' and int(row['reused_tokens']) > 1500, row
        assert int(row['kv_ram_bytes']) < int(table[0]['kv_ram_bytes']), row
        assert int(row['ram_bytes']) <= int(row['ram_cap_bytes']), row
        assert 0 < float(row['kv_hit']) < 1 and int(row['read_bytes_per_token']) > 0, row
    assert xml.dom.minidom.parse(chart).getElementsByTagName('rect').length == 8
    rows = command.json(*base, '--json')['rows']
    assert [r['same_bits'] for r in rows] == [True] * 4 and rows[0]['ram_cap_bytes'] == 0
    for context in (600, 1000):  # a wave of rows takes more than all rows
        rows = command.json('bench', path, '--tiers', '--context', context, '--decode', 4, '--json')['rows']
        assert [r['same_bits'] for r in rows] == [True] * 4, rows
    command.refused('--tiers', 'bench', path, '--svg', chart, code=2)


def test_profile(folder, command):
    """bench --profile: the parts add up to the total, and the total to what the caller waited"""
    path = cli.tiny_model(folder, 1)
    base = ['bench', path, '--prefill', 80, '--decode', 20, '--repeat', 1, '--profile']
    b = command.json(*base, '--json')
    for kind, tokens in (('prefill', 80), ('decode', 20)):
        p = b['profile'][kind]
        parts = p['parts']
        assert p['tokens'] == tokens, p
        assert sum(part['ns'] for part in parts.values()) == p['total_ns']
        assert 0.3 * p['wall_ns'] < p['total_ns'] <= p['wall_ns'], p
        assert 0 < p['idle_ns'] < p['total_ns'], p
        for name in ('attention', 'rows', 'compressor', 'indexer', 'router', 'routed_experts',
                     'shared_expert', 'mhc', 'norms', 'head'):
            assert parts[name]['ns'] > 0 and parts[name]['bytes'] > 0, (kind, name)
    decode = b['profile']['decode']['parts']
    weights = sum(p['bytes'] for name, p in decode.items() if name not in ('rows', 'indexer')) / 20
    d = command.json('inspect', path, '--json')['sizes']['per_token']
    assert weights == b['weight_bytes_per_token'] - d['indexer']['bytes']
    assert decode['indexer']['bytes'] / 20 > d['indexer']['bytes']  # keys come on top
    assert 'routed_experts' in command.out(*base)


def events(text):
    return [json.loads(line) for line in text.splitlines()]


def text_of(answer):
    return ''.join(e.get('text', '') for e in answer if e['type'] in ('content', 'reasoning'))


def turns(all_events):
    out, now = [], []
    for e in all_events:
        now.append(e)
        if e['type'] == 'end':
            out.append(now)
            now = []
    return out


def test_chat(folder, command):
    """chat: several turns; /fork and /back, /save and /load give the same answer again"""
    path = cli.tiny_model(folder, 1)
    saved = os.path.join(folder, 'saved')
    args = ['chat', path, '--json', '--greedy', '--max-tokens', 6]
    script = f'hello\n/save {saved}\n/fork\nand you?\n/back\nand you?\n/quit\nnever\n'
    answers = turns(events(command.out(*args, stdin=script)))
    assert len(answers) == 3
    assert text_of(answers[1]) == text_of(answers[2])
    loaded = events(command.out(*args, stdin=f'/load {saved}\nand you?\n'))
    assert loaded[0]['text'] == 'loaded 1 turns'
    assert text_of(loaded) .endswith(text_of(answers[1]))
    thinking = turns(events(command.out(*args, stdin='/think on\nhello\n')))
    assert thinking[0][1]['type'] == 'reasoning'
    wrong = events(command.out(*args, stdin=f'/load {path}/config.json\n/back\n/what\nhello\n'))
    assert [e['type'] for e in wrong[:3]] == ['error'] * 3
    assert text_of(wrong[3:]) == text_of(answers[0])


def tight_ram(command, path, tokens):
    """--ram with a tenth of the KV rows of a session that need not be in memory"""
    plan = command.json('plan', path, '--context', tokens, '--disk', '1G', '--memory-rate', '10G', '--json')
    return plan['host_bytes_tiered'] + (plan['host_bytes'] - plan['host_bytes_tiered']) // 10


def test_status(folder, command):
    """chat --stats: a status line after each answer, with what is known; the same in JSON"""
    path = cli.tiny_model(folder, 1)
    base = ['chat', path, '--greedy', '--max-tokens', 4, '--stats']
    def lines(*args, stdin='hello\nand you?\n'):
        told = command.run(*base, *args, stdin=stdin).stderr.decode().splitlines()
        return [line for line in told if line.startswith('[ram ')]
    plain, full = lines(), lines('--ram', '1G', '--disk', os.path.join(folder, 'kv'))
    assert len(plain) == len(full) == 2, (plain, full)
    for line in plain:
        assert re.fullmatch(r'\[ram [0-9.]+ M]', line), line
    for line in full:
        assert re.fullmatch(r'\[ram 0\.[0-9]/1\.0 G \| disk [0-9.]+ [KM]]', line), line
    tight = lines('--ram', tight_ram(command, path, 2000), '--disk', os.path.join(folder, 'kv2'),
                  stdin=PROMPT * 200 + '\nand you?\n')
    assert len(tight) == 2 and re.search(r' \| kv hit [0-9]+%]$', tight[1]), tight
    end = turns(events(command.out(*base, '--json', '--ram', '1G', stdin='hello\n')))[0][-1]
    assert 0 < end['ram_bytes'] < end['ram_cap_bytes'] == 1 << 30 and 'disk_bytes' not in end


def test_plan(folder, command):
    """plan: what fits and what would help; following the advice makes it fit; --json has the same"""
    path = cli.tiny_model(folder, 1)
    base = ['plan', path, '--memory-rate', '10G', '--disk-rate', '1G', '--context', '4K']
    roomy = command.json(*base, '--json')
    assert roomy['fits'] and roomy['tokens'] == roomy['context_fitting'] == 4096, roomy
    assert roomy['experts_mapped'] and not roomy['would_help'], roomy
    assert roomy['decode_tokens_per_s_estimate'] > 0 and not roomy['memory_rate_measured']
    need = roomy['host_bytes']
    ram = str(need - 200000)
    tight = command.json(*base, '--json', '--ram', ram)
    assert not tight['fits'] and tight['context_fitting'] < 4096, tight
    assert any(t.startswith('--disk') for t in tight['would_help']), tight
    assert command.json(*base, '--json', '--ram', ram, '--disk', '1G')['fits']
    assert not command.json(*base, '--json', '--ram', ram, '--disk', '4K')['fits']
    most = tight['context_fitting']
    assert command.json(*base[:-2], '--json', '--ram', ram, '--context', most)['fits']
    assert not command.json(*base[:-2], '--json', '--ram', ram, '--context', most + 1)['fits']
    assert command.json(*base, '--json', '--ram', need)['fits']
    text = command.out(*base, '--ram', ram, '--disk', '1G')
    for word in ('routed experts', 'fits: ', 'with a disk', 'estimate, nothing was run'):
        assert word in text, (word, text)
    measured = command.json('plan', path, '--json')
    assert measured['memory_rate_measured'] and measured['memory_bytes_per_s'] > 0
    command.refused('/no/such', 'plan', '/no/such')
    command.refused('', 'plan', path, '--disk', 'much', code=2)


def test_interrupt(folder, command):
    """Ctrl-C stops the answer, not the program"""
    path = cli.tiny_model(folder, 1)
    p = subprocess.Popen([command.path, 'chat', path, '--json'], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdin.write(b'hello\n')
    p.stdin.flush()
    first = p.stdout.readline()  # the answer has begun; it has no other end in sight
    assert json.loads(first)['type'] == 'content'
    p.send_signal(signal.SIGINT)
    while True:
        e = json.loads(p.stdout.readline())
        if e['type'] == 'end':
            break
    assert e['finish'] == 'cancelled'
    out, err = p.communicate(b'/quit\n', timeout=60)
    assert p.returncode == 0, (p.returncode, err)


def test_terminal(folder, command):
    """on a terminal chat shows a prompt and plain text, and Ctrl-D ends it"""
    path = cli.tiny_model(folder, 1)
    me, child = pty.openpty()
    p = subprocess.Popen([command.path, 'chat', path, '--greedy', '--max-tokens', '4'],
                         stdin=child, stdout=child, stderr=child, start_new_session=True)
    os.close(child)
    os.write(me, b'hello\n')
    seen, end = b'', time.time() + 60
    while b'tokens/s' not in seen and time.time() < end:
        seen += os.read(me, 4096)
    os.write(me, b'\x04')
    while p.poll() is None and time.time() < end:
        try:
            seen += os.read(me, 4096)
        except OSError:
            break
    assert p.wait(10) == 0
    assert b'> ' in seen and b'{"type"' not in seen
    os.close(me)


if __name__ == '__main__':
    cli.main(globals(), cli.Command(sys.argv[1]))
