"""What the measurements of peers share: options, and what they report."""
import argparse
import statistics


def parser(doc):
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument('model')
    for name, default in (('prefill', 512), ('decode', 32), ('repeat', 3), ('threads', 2)):
        p.add_argument('--' + name, type=int, default=default)
    return p


def medians(prefill, decode):
    """Of tokens per second, one number a repetition."""
    return {'prefill_tokens_per_s': statistics.median(prefill), 'decode_tokens_per_s': statistics.median(decode)}
