"""Numbers, directions and rotations that every part of the renderer needs."""
import numpy as np


def U(r, a, b):
    """a number between a and b, as a plain float"""
    return float(r.uniform(a, b))


def norm(v):
    return v / (np.linalg.norm(v) + 1e-12)


def rot(axis, angle):
    """a rotation about an axis, in radians"""
    x, y, z = norm(np.asarray(axis, float))
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K
