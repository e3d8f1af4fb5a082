"""Metal in place: joint replacements, plates, nails, screws, wires and shields where surgeons put them.

Drawn in the image plane over the bones' shadows, before the anatomical warp, so that they bend with the bones.  A layer holds
relative thickness of metal, 0 to about 1; marks are joints in pixels, shadows the path lengths through each bone."""
import cv2
import numpy as np
from .geometry import U, norm


def layer(r, sc, marks, shadows, px, shape):
    """the metal of a scene; marks: name -> (x, y); shadows: bone -> image"""
    m = np.zeros(shape, np.float32)
    (wired_patella if sc['framing'] == 'WIRES' else choose(r, sc['region']))(r, m, marks, shadows, px)
    return m


def choose(r, region):
    """which metal a region gets: one of those usual there"""
    table = {
        'KNEE': [(total_knee, .45), (patella_wires, .2), (plate('tibia', 'knee', 'ankle'), .12), (plate('femur', 'knee', 'hip'), .13), (nail('tibia', 'knee', 'ankle'), .1)],
        'PELVIS': [(total_hip, .5), (hip_screws, .3), (shield, .2)],
        'HIP': [(total_hip, .6), (hip_screws, .4)],
        'ELBOW': [(olecranon_wires, .4), (plate('humerus', 'elbow', 'shoulder'), .3), (plate('ulna', 'elbow', 'wrist'), .3)],
        'FEMUR': [(nail('femur', 'hip', 'knee'), .5), (plate('femur', 'knee', 'hip'), .35), (hip_screws, .15)],
        'LOWERLEG': [(nail('tibia', 'knee', 'ankle'), .5), (plate('tibia', 'ankle', 'knee'), .5)],
        'ANKLE': [(plate('fibula', 'ankle', 'knee'), .6), (plate('tibia', 'ankle', 'knee'), .4)],
        'SHOULDER': [(head_ball, .5), (plate('humerus', 'shoulder', 'elbow'), .5)],
        'HUMERUS': [(nail('humerus', 'shoulder', 'elbow'), .4), (plate('humerus', 'elbow', 'shoulder'), .6)],
    }.get(region, [(plate('radius', 'wrist', 'elbow'), .7), (plate('ulna', 'wrist', 'elbow'), .3)])
    weights = np.array([w for _, w in table])
    return table[r.choice(len(table), p=weights / weights.sum())][0]


def bone(shadows, name, side='r'):
    """the shadow of a bone; of the right side where there are two"""
    found = [s for k, s in shadows.items() if name in k and ('_l_' + name) not in k or k.endswith(side + '_' + name)]
    return (sum(found) > 1e-4).astype(np.uint8) if found else None


def line(m, a, b, w, v=1.):
    cv2.line(m, tuple(int(x) for x in a), tuple(int(x) for x in b), float(v), max(1, int(round(w))), cv2.LINE_AA)


def put(m, mask, v): np.maximum(m, mask.astype(np.float32) * v, out=m)


def band(mask, origin, axis, lo, hi):
    """the part of a mask between two distances along an axis from a point"""
    y, x = np.mgrid[:mask.shape[0], :mask.shape[1]]
    s = (x - origin[0]) * axis[0] + (y - origin[1]) * axis[1]
    return mask * ((s >= lo) & (s <= hi))


def grow(mask, k): return cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * int(k) + 1,) * 2)) if k >= 1 else mask


def total_knee(r, m, marks, shadows, px):
    knee = marks['knee']; up = norm(marks['hip'] - knee); down = norm(marks['ankle'] - knee); side = np.array([-up[1], up[0]])
    femur, tibia = bone(shadows, 'femur'), bone(shadows, 'tibia')
    if femur is None or tibia is None: return
    low = band(femur, knee, up, -.08 * px, U(r, .012, .024) * px)
    put(m, cv2.GaussianBlur(grow(low, .0015 * px).astype(np.float32), (0, 0), .8), U(r, .7, 1))
    top = band(tibia, knee, down, -.02 * px, .2 * px); ys, xs = np.where(top)
    if len(ys) < 20: return
    edge = np.percentile((xs - knee[0]) * down[0] + (ys - knee[1]) * down[1], 1)
    put(m, grow(band(tibia, knee, down, edge, edge + U(r, .004, .009) * px), .001 * px), U(r, .7, 1))
    here = knee + down * edge
    if r.rand() < .85: line(m, here, here + down * U(r, .03, .07) * px, U(r, .008, .014) * px, U(r, .6, .9))
    if r.rand() < .25: line(m, knee + up * .02 * px, knee + up * U(r, .08, .14) * px, .012 * px, .8)


def loop(r, m, a, b, wide, w):
    """a figure of eight around the segment"""
    ax = b - a; n = norm(ax); s = np.array([-n[1], n[0]]); t = np.linspace(0, 2 * np.pi, 60)
    pts = (a + b)[None] / 2 + np.cos(t)[:, None] * ax[None] / 2 + np.sin(2 * t)[:, None] * s[None] * wide
    if r.rand() < .3: pts = (a + b)[None] / 2 + np.cos(t)[:, None] * ax[None] / 2 + np.sin(t)[:, None] * s[None] * wide
    cv2.polylines(m, [pts.astype(np.int32)], True, 1., max(1, int(w)), cv2.LINE_AA)
    if r.rand() < .7: line(m, pts[5], pts[5] + s * U(r, .004, .01) * px_of(wide), w * 1.6)


def px_of(wide): return wide / .012


def wires(r, m, mask, axis, px):
    ys, xs = np.where(mask)
    if len(ys) < 20: return
    c = np.array([xs.mean(), ys.mean()]); s = (xs - c[0]) * axis[0] + (ys - c[1]) * axis[1]; half = np.percentile(np.abs(s), 96); side = np.array([-axis[1], axis[0]])
    gap = U(r, .004, .009) * px; w = max(1, U(r, .0012, .0025) * px)
    for k in (-1, 1):
        tilt = side * r.normal(0, .003) * px; line(m, c - axis * half * U(r, 1.0, 1.35) + side * k * gap, c + axis * half * U(r, 1.0, 1.35) + side * k * gap + tilt, w)
    if r.rand() < .85: loop(r, m, c - axis * half * 1.1, c + axis * half * 1.1, U(r, .006, .014) * px, max(1, w * .7))


def patella_wires(r, m, marks, shadows, px):
    mask = bone(shadows, 'patella')
    if mask is not None: wires(r, m, mask, norm(marks['hip'] - marks['knee']), px)


def wired_patella(r, m, marks, shadows, px):
    """wires, and often the clips of the wound in a row along the limb"""
    patella_wires(r, m, marks, shadows, px)
    if r.rand() < .4: return
    axis = norm(marks['hip'] - marks['knee']); side = np.array([-axis[1], axis[0]]); step = U(r, .006, .011) * px
    c = marks['knee'] + axis * U(r, 0, .03) * px + side * U(r, -.012, .012) * px; w = U(r, .002, .0045) * px
    for i in range(-r.randint(3, 9), r.randint(3, 9)):
        p = c + axis * step * i + side * r.normal(0, .0006) * px; turn = side + axis * r.normal(0, .2)
        line(m, p - turn * w, p + turn * w, .001 * px, .8)


def olecranon_wires(r, m, marks, shadows, px):
    ulna = bone(shadows, 'ulna')
    if ulna is None: return
    ax = norm(marks['wrist'] - marks['elbow']); wires(r, m, band(ulna, marks['elbow'], ax, -.05 * px, U(r, .02, .05) * px), ax, px)


def shaft(shadows, name, a, b):
    """points along the middle of a bone from joint a to joint b, as (t in 0..1, point, half width)"""
    mask = bone(shadows, name); ax = norm(b - a); length = np.linalg.norm(b - a); side = np.array([-ax[1], ax[0]]); out = []
    if mask is None: return out
    H, W = mask.shape
    for t in np.linspace(.02, .95, 60):
        p = a + ax * length * t; q = [p + side * u for u in np.linspace(-.2, .2, 81) * length]
        inside = [v for v in q if 0 <= v[0] < W and 0 <= v[1] < H and mask[int(v[1]), int(v[0])]]
        if len(inside) > 1: out.append((t, np.mean(inside, 0), np.linalg.norm(inside[-1] - inside[0]) / 2))
    return out


def plate(name, near, far):
    """a plate along a bone, from near one joint, with screws across"""
    def draw(r, m, marks, shadows, px):
        pts = shaft(shadows, name, np.asarray(marks[near]), np.asarray(marks[far]))
        if len(pts) < 6: return
        start = r.randint(0, max(1, min(6, len(pts) - 5))); n = r.randint(min(8, len(pts) - start), min(40, len(pts) - start) + 1)
        part = pts[start:start + n]; k = r.choice([-1, 1]); across = r.rand() < .75; w = U(r, .003, .007) * px
        ax = norm(np.asarray(marks[far]) - np.asarray(marks[near])); side = np.array([-ax[1], ax[0]]) * k
        path = [p + side * (h + w * .3 if across else 0) for _, p, h in part]
        for a, b in zip(path, path[1:]): line(m, a, b, w if across else w * 2.2, .75)
        for i in range(0, len(part), r.randint(3, 7)):
            _, p, h = part[i]; tilt = ax * r.normal(0, .15) * h
            if across and r.rand() < .85: line(m, path[i], path[i] - side * 2 * h * U(r, .8, 1.1) + tilt, max(1, .0025 * px), .9)
            elif not across: cv2.circle(m, tuple(int(v) for v in path[i]), max(1, int(.003 * px)), 1., -1)
    return draw


def nail(name, a, b):
    """a nail within a bone, with locking screws"""
    def draw(r, m, marks, shadows, px):
        pts = shaft(shadows, name, np.asarray(marks[a]), np.asarray(marks[b]))
        if len(pts) < 6: return
        part = pts[r.randint(0, 3):]; ax = norm(np.asarray(marks[b]) - np.asarray(marks[a])); side = np.array([-ax[1], ax[0]])
        for p, q in zip(part, part[1:]): line(m, p[1], q[1], U(r, .009, .011) * px, .75)
        for i in (1, 3, len(part) - 3, len(part) - 5):
            if 0 <= i < len(part) and r.rand() < .7: line(m, part[i][1] - side * part[i][2] * 1.1, part[i][1] + side * part[i][2] * 1.1, .004 * px, .9)
    return draw


def total_hip(r, m, marks, shadows, px):
    for s in (['r', 'l'] if r.rand() < .25 else [r.choice(['r', 'l'])] if 'hip_l' in marks and r.rand() < .9 else ['r']):
        hip, knee = marks['hip' if s == 'r' else 'hip_l'], marks['knee' if s == 'r' else 'knee_l']
        down = norm(knee - hip); out = np.array([-down[1], down[0]]); other = marks['hip_l' if s == 'r' else 'hip']
        if out @ (hip - other) < 0: out = -out
        R = U(r, .012, .017) * px; cup = R + U(r, .006, .011) * px; c = tuple(int(v) for v in hip)
        if r.rand() < .9: cv2.ellipse(m, c, (int(cup), int(cup)), float(np.rad2deg(np.arctan2(-down[1] - .8 * -out[1], -down[0] - .8 * -out[0]))), -95, 95, .6, -1)
        cv2.circle(m, c, int(R), 1., -1)
        neck = hip + down * U(r, .025, .035) * px + out * U(r, .03, .042) * px; tip = neck + down * U(r, .09, .16) * px - out * .004 * px
        line(m, hip, neck, .012 * px, .9)
        w0, w1 = U(r, .010, .015) * px, U(r, .003, .006) * px
        cv2.fillPoly(m, [np.array([neck - out * w0, neck + out * w0 - down * .02 * px, tip + out * w1, tip - out * w1]).astype(np.int32)], .9, cv2.LINE_AA)
        if r.rand() < .2: line(m, hip - out * R, hip - out * (R + .035 * px) - down * .03 * px, .004 * px, .9)


def hip_screws(r, m, marks, shadows, px):
    s = 'r' if 'hip_l' not in marks or r.rand() < .5 else 'l'
    hip, knee = marks['hip' if s == 'r' else 'hip_l'], marks['knee' if s == 'r' else 'knee_l']
    down = norm(knee - hip); out = np.array([-down[1], down[0]])
    if 'hip_l' in marks and out @ (hip - marks['hip_l' if s == 'r' else 'hip']) < 0: out = -out
    foot = hip + down * U(r, .05, .07) * px + out * U(r, .055, .07) * px; ax = norm(hip - foot); side = np.array([-ax[1], ax[0]])
    if r.rand() < .5:
        for k in (-1, 0, 1)[:r.randint(2, 4)]: line(m, foot + side * k * .008 * px, hip + side * k * .006 * px + ax * .005 * px, .0045 * px, .9)
        return
    line(m, foot, hip + ax * .005 * px, .008 * px, .95); end = foot + down * U(r, .06, .14) * px; line(m, foot - down * .01 * px, end, .007 * px, .8)
    for t in np.linspace(.25, .95, r.randint(2, 5)):
        p = foot + (end - foot) * t; line(m, p, p - out * .035 * px, .003 * px, .9)


def shield(r, m, marks, shadows, px):
    """lead over the gonads"""
    c = (marks['hip'] + marks['hip_l']) / 2; down = norm(marks['knee'] + marks['knee_l'] - marks['hip'] - marks['hip_l']); out = np.array([-down[1], down[0]])
    c = c + down * U(r, -.05, .08) * px; w, h = U(r, .03, .06) * px, U(r, .03, .06) * px
    if r.rand() < .5: pts = [c - out * w - down * h, c + out * w - down * h, c + out * w * U(r, .2, 1) + down * h, c - out * w * U(r, .2, 1) + down * h]
    else: t = np.linspace(np.pi, 2 * np.pi, 20); pts = [c + out * np.cos(q) * w + down * np.sin(q) * h for q in t] + [c + out * w + down * h, c - out * w + down * h]
    cv2.fillPoly(m, [np.array(pts).astype(np.int32)], 1., cv2.LINE_AA)


def head_ball(r, m, marks, shadows, px):
    """a replaced humeral head with its stem"""
    sh, el = marks['shoulder'], marks['elbow']; down = norm(el - sh); R = U(r, .019, .026) * px; side = np.array([-down[1], down[0]]) * r.choice([-1, 1])
    a = float(np.rad2deg(np.arctan2(*(side - down)[::-1])))
    cv2.ellipse(m, tuple(int(v) for v in sh), (int(R), int(R)), a, -100, 100, .95, -1)
    tip = sh + down * U(r, .07, .12) * px; w = U(r, .006, .01) * px
    cv2.fillPoly(m, [np.array([sh - side * w * 1.6, sh + side * w * 1.6, tip + side * w * .5, tip - side * w * .5]).astype(np.int32)], .9, cv2.LINE_AA)
