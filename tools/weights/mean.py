"""The weighted mean of two files of weights of one network (Wortsman et al. 2022): python3 tools/weights/mean.py A B PART OUT

OUT is (1 - PART) * A + PART * B, in B's order and precision. B may have further heads behind those of A: these are B's own. Both are
safetensors in half or single precision, as `radroute train` writes them."""
import json
import struct
import sys

import numpy as np

KINDS = {'F16': np.float16, 'F32': np.float32}


def load(path):
    with open(path, 'rb') as f:
        data = f.read()
    start = 8 + struct.unpack('<Q', data[:8])[0]
    header = json.loads(data[8:start])
    header.pop('__metadata__', None)
    return header, data[:start], bytearray(data[start:])


def tensor(entry, data):
    begin, end = entry['data_offsets']
    return np.frombuffer(bytes(data[begin:end]), KINDS[entry['dtype']]).astype(np.float32).reshape(entry['shape'])


def main(a, b, part, out):
    part = float(part)
    of_a, _, data_a = load(a)
    of_b, head, data_b = load(b)
    for name, entry in of_b.items():
        first, mean = tensor(of_a[name], data_a), tensor(entry, data_b).copy()
        rows = first.shape[0] if name.startswith('fc.') else mean.shape[0]
        if first.shape[0] > mean.shape[0] or first.shape[1:] != mean.shape[1:] or first.shape[0] < rows:
            sys.exit(f'{name} is {first.shape} in {a} and {mean.shape} in {b}')
        mean[:rows] = (1 - part) * first[:rows] + part * mean[:rows]
        begin, end = entry['data_offsets']
        data_b[begin:end] = mean.astype(KINDS[entry['dtype']]).tobytes()
    with open(out, 'wb') as f:
        f.write(head + data_b)


if __name__ == '__main__':
    main(*sys.argv[1:])
