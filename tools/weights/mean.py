"""The weighted mean of two files of weights of one network (Wortsman et al. 2022): python3 tools/weights/mean.py A B PART OUT

OUT is (1 - PART) * A + PART * B, in B's precision. B may have further heads behind those of A: these are B's own. B's card, which must
lie beside it, is written beside OUT with OUT's SHA-256; its calibration, thresholds and figures are B's until `radroute evaluate --fit`
has fitted them anew. Needs numpy and safetensors."""
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file


def mean(name, a, b, part):
    rows = len(a) if name.startswith('fc.') else len(b)
    if len(a) != rows or rows > len(b) or a.shape[1:] != b.shape[1:]:
        sys.exit(f'{name} is {a.shape} in A and {b.shape} in B')
    result = b.copy()
    result[:rows] = (1 - part) * a.astype(np.float32) + part * b[:rows].astype(np.float32)
    return result


def main(a, b, part, out):
    card = json.loads(Path(b).with_suffix('.json').read_text())
    a, b = load_file(a), load_file(b)
    missing = set(a) ^ set(b)
    if missing:
        sys.exit(f'in one of the files alone: {", ".join(sorted(missing))}')
    save_file({name: mean(name, a[name], b[name], float(part)) for name in b}, out)
    card['sha256'] = hashlib.sha256(Path(out).read_bytes()).hexdigest()
    Path(out).with_suffix('.json').write_text(json.dumps(card, indent=2) + '\n')
    print(f'{out} and its card: now radroute evaluate --fit --model {out}')


if __name__ == '__main__':
    main(*sys.argv[1:])
