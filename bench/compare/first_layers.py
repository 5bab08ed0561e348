"""Makes a model of the first N layers of another: links to its files, a shorter config.

usage: first_layers.py MODEL OUT N

Two such models give the cost of a pure layer: what differs between them is layers only,
the head and the embedding are the same.
"""
import json
import os
import sys


def load(*path):
    with open(os.path.join(*path), encoding='utf-8') as f:
        return json.load(f)


def main(model, out, layers):
    config, index = load(model, 'config.json'), load(model, 'model.safetensors.index.json')
    config['num_hidden_layers'] = layers
    config['num_nextn_predict_layers'] = 0
    config['compress_ratios'] = config['compress_ratios'][:layers]
    config['num_hash_layers'] = min(config.get('num_hash_layers', 0), layers)

    def stays(name):
        kind, _, rest = name.partition('.')
        return kind != 'mtp' and (kind != 'layers' or int(rest.split('.')[0]) < layers)
    index['weight_map'] = {n: f for n, f in index['weight_map'].items() if stays(n)}
    os.makedirs(out, exist_ok=True)
    for file in sorted(set(index['weight_map'].values())):
        os.symlink(os.path.relpath(os.path.join(model, file), out), os.path.join(out, file))
    for name, content in (('config.json', config), ('model.safetensors.index.json', index)):
        with open(os.path.join(out, name), 'w', encoding='utf-8') as f:
            json.dump(content, f, indent=1)


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
