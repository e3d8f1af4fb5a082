"""Images that are no radiographs, drawn from nothing: python -m drr.other OUT FIRST N"""
import sys, os, zlib, cv2
import numpy as np
from .geometry import U
from .render import noise, G


def blob(r, H, W, size, rough=.15, cx=.5, cy=.5):
    """A closed irregular outline, filled, 0..1"""
    n = 48; t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    rad = 1 + sum(rough / k * r.normal() * np.cos(k * t + U(r, 0, 6.3)) for k in (2, 3, 4, 5))
    a = U(r, .75, 1.3); ang = U(r, 0, np.pi)
    x, y = size * rad * np.cos(t) * a, size * rad * np.sin(t) / a
    x, y = x * np.cos(ang) - y * np.sin(ang), x * np.sin(ang) + y * np.cos(ang)
    m = np.zeros((H, W), np.float32)
    cv2.fillPoly(m, [np.c_[x + cx * W, y + cy * H].astype(np.int32)], 1.)
    return m


def section(r, H, W):
    """CT or MR of head, trunk or limb: an outline, a shell or bones in it, organs, texture"""
    s = min(H, W); body = blob(r, H, W, s * U(r, .3, .46), .06); z = np.zeros((H, W), np.float32)
    mr = r.rand() < .5
    fat = G(body, 1) * U(r, .25, .9 if mr else .45); inner = cv2.erode(body, np.ones((3, 3)), iterations=int(s * U(r, .01, .06)))
    z = fat * (1 - inner) + inner * U(r, .3, .6)
    kind = r.randint(3)
    if kind == 0:       # head
        shell = inner - cv2.erode(inner, np.ones((3, 3)), iterations=int(s * U(r, .012, .03)))
        z = z * (1 - shell) + shell * (U(r, .0, .1) if mr else 1.)
        for _ in range(r.randint(2, 6)): z += blob(r, H, W, s * U(r, .03, .1), .2, U(r, .35, .65), U(r, .35, .65)) * inner * U(r, -.35, .35)
    elif kind == 1:     # trunk
        for _ in range(r.randint(3, 9)): z += blob(r, H, W, s * U(r, .04, .15), .25, U(r, .25, .75), U(r, .3, .7)) * inner * U(r, -.5, .4)
        v = blob(r, H, W, s * U(r, .04, .07), .15, .5, U(r, .62, .72)); z = z * (1 - v) + v * (U(r, .2, .6) if mr else U(r, .8, 1))
        for _ in range(0 if mr else r.randint(4, 12)): z += blob(r, H, W, s * U(r, .008, .02), .1, U(r, .2, .8), U(r, .25, .75)) * inner * .7
    else:               # limb
        for _ in range(r.randint(1, 4)):
            x, y, q = U(r, .4, .6), U(r, .4, .6), s * U(r, .04, .12); b = blob(r, H, W, q, .1, x, y); m = cv2.erode(b, np.ones((3, 3)), iterations=max(1, int(q * .2)))
            z = z * (1 - b) + (b - m) * (.05 if mr else 1.) + m * (U(r, .5, 1) if mr else .55)
        for _ in range(r.randint(2, 7)): z += blob(r, H, W, s * U(r, .02, .08), .3, U(r, .3, .7), U(r, .3, .7)) * inner * U(r, -.2, .2)
    z = z + body * (.05 * noise(r, H, W, 6) + U(r, .01, .08) * noise(r, H, W, 1.5))
    if mr: z *= 1 + .3 * noise(r, H, W, max(H, W) / 2)
    z = np.clip(G(z, U(r, .3, 1.2)), 0, 1.2)
    if not mr and r.rand() < .4: cv2.ellipse(z, (W // 2, int(H * .95)), (int(W * .45), int(H * .1)), 0, 180, 360, .3, 2)   # the table
    return z


def ultrasound(r, H, W):
    yy, xx = np.mgrid[:H, :W].astype(np.float32); y0 = -H * U(r, .02, .4); dx, dy = xx - W / 2, yy - y0
    rad, ang = np.hypot(dx, dy), np.abs(np.arctan2(dx, dy)); half = np.deg2rad(U(r, 25, 45)); top = -y0 + H * .03
    fan = ((ang < half) & (rad > top) & (rad < top + H * .9)).astype(np.float32)
    if r.rand() < .35: fan = ((xx > W * .12) & (xx < W * .88) & (yy > H * .05) & (yy < H * .92)).astype(np.float32)
    tissue = .4 + .3 * noise(r, H, W, 25) + .12 * noise(r, H, W, 8)
    for _ in range(r.randint(1, 5)): tissue -= blob(r, H, W, min(H, W) * U(r, .03, .15), .25, U(r, .25, .75), U(r, .25, .8)) * U(r, .1, .6)
    speckle = np.abs(noise(r, H, W, 1.2) + 1j * noise(r, H, W, 1.2)) * .8
    return fan * np.clip(tissue, 0, 1) * speckle * np.exp(-rad / H * U(r, .0, .8))


def photo(r, H, W):
    z = .5 + .25 * noise(r, H, W, max(H, W) / 2) + .12 * noise(r, H, W, max(H, W) / 6)
    for _ in range(r.randint(2, 14)):
        v, k = U(r, 0, 1), r.randint(4); x, y, s = U(r, 0, 1) * W, U(r, 0, 1) * H, U(r, .03, .4) * min(H, W)
        m = np.zeros((H, W), np.float32)
        if k == 0: m = blob(r, H, W, s, .25, x / W, y / H)
        elif k == 1: cv2.rectangle(m, (int(x), int(y)), (int(x + s * U(r, .3, 2)), int(y + s * U(r, .3, 2))), 1., -1)
        elif k == 2: cv2.line(m, (int(x), int(y)), (int(U(r, 0, W)), int(U(r, 0, H))), 1., max(1, int(s * .1)))
        else: cv2.circle(m, (int(x), int(y)), int(s * .6), 1., -1)
        shade = 1 + .3 * noise(r, H, W, s + 4); z = z * (1 - m) + m * v * shade
    return z + U(r, 0, .12) * noise(r, H, W, 1.3) * (.3 + .7 * (noise(r, H, W, 40) > 0))


def page(r, H, W):
    z = np.full((H, W), int(255 * U(r, .8, 1)), np.uint8); ink = int(255 * U(r, 0, .3))
    for y in range(int(H * .06), int(H * .94), max(8, int(H * U(r, .03, .07)))):
        if r.rand() < .15: continue
        t = ''.join(chr(97 + r.randint(26)) if r.rand() > .17 else ' ' for _ in range(r.randint(5, 50)))
        cv2.putText(z, t, (int(W * .06), y), cv2.FONT_HERSHEY_SIMPLEX, H / 900, ink, 1, cv2.LINE_AA)
    z = z.astype(np.float32) / 255
    if r.rand() < .4: z[int(H * .3):int(H * .6), int(W * .1):int(W * .7)] = photo(r, int(H * .6) - int(H * .3), int(W * .7) - int(W * .1))
    return 1 - z if r.rand() < .3 else z


def grain(r, H, W):
    k = r.randint(4)
    if k == 0: return r.rand(H, W).astype(np.float32)
    if k == 1: return .5 + .2 * noise(r, H, W, U(r, 1, 40))
    yy, xx = np.mgrid[:H, :W] / max(H, W); a = U(r, 0, 6.3)
    if k == 2: return (xx * np.cos(a) + yy * np.sin(a)).astype(np.float32) + U(r, 0, .1) * r.randn(H, W)
    return (.5 + .5 * np.sin((xx * np.cos(a) + yy * np.sin(a)) * U(r, 10, 150))).astype(np.float32) + U(r, 0, .3) * r.randn(H, W)


def finish(z, r):
    """grey values, lettering, polarity"""
    H, W = z.shape
    z = (np.clip(z, 0, 1) ** U(r, .6, 1.4) * 255).astype(np.uint8)
    for _ in range(r.choice([0, 0, 1, 3])):
        cv2.putText(z, r.choice(['R', 'L', 'A', 'P', 'H', 'IM 12', '5 mm', 'W 350', 'kV 120']), (r.randint(W), r.randint(H)), cv2.FONT_HERSHEY_SIMPLEX, U(r, .3, .7), 255, 1, cv2.LINE_AA)
    return 255 - z if r.rand() < .1 else z


def draw(seed):
    r = np.random.RandomState(seed); H, W = r.randint(200, 321), r.randint(200, 321)
    z = r.choice([section, section, section, ultrasound, ultrasound, photo, photo, page, grain])(r, H, W)
    return finish(z, r)


if __name__ == '__main__':
    out, first, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]); g = 'NOT_A_RADIOGRAPH'; rows = []
    os.makedirs(os.path.join(out, g), exist_ok=True)
    for i in range(first, first + n):
        seed = (zlib.crc32(g.encode()) ^ (i * 2654435761)) & 0x7fffffff; p = f'{g}/{g.lower()}_{i:05d}.jpg'
        cv2.imwrite(os.path.join(out, p), draw(seed), [cv2.IMWRITE_JPEG_QUALITY, 90]); rows.append(f'{p}\t{g}\t-\t{seed}\t-\tdrawn\tours')
    with open(os.path.join(out, f'MANIFEST-other-{first}.tsv'), 'w') as f: f.write('path\tregion\tview\tpose_seed\tage_class\tmesh_source\tlicence\n' + '\n'.join(rows) + '\n')
