"""Which rendered images end at one joint: python -m drr.shown FIRST REGION=N ...   (DRR_ROOT)

Prints the paths, as `generate` names them, of thighs whose knee is on the film, and whose hip is not. Such a film is as much one of the
knee, so that a training set is better without them as thighs."""
import sys

import numpy as np

from .generate import name, seed
from .render import camera
from .scene import World, build

ON, OFF = .02, -.03                                     # of the film's longer side, from its nearest edge


def inside(sc, r):
    """how far within the film each joint lies"""
    C, S, f, H, W, _ = camera(sc, r, 320)
    at = {}
    for joint, place in sc['joints'].items():
        v = C @ (place - S)
        x, y = f * v[0] / v[2] + W / 2, f * v[1] / v[2] + H / 2
        at[joint] = min(x, W - x, y, H - y) / max(W, H)
    return at


def main(first, *wanted):
    world = World()
    for region, n in (w.split('=') for w in wanted):
        for index in range(int(first), int(first) + int(n)):
            r = np.random.RandomState(seed(region, index))
            at = inside(build(world, region, r), r)
            if at['knee'] > ON and at['hip'] < OFF: print(name(region, index))


if __name__ == '__main__':
    main(*sys.argv[1:])
