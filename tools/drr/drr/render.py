"""Scene -> 8-bit radiograph-like image."""
import numpy as np, cv2
from .raster import splat, tube
from .geometry import norm, U, rot
from .implants import layer
from .scene import placed
from . import volume

FONT = [cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX]
G = lambda im, s: cv2.GaussianBlur(im, (0, 0), s) if s > .2 else im


def noise(r, H, W, s):
    n = r.randn(max(4, int(H / s) + 3), max(4, int(W / s) + 3)).astype(np.float32)
    return cv2.resize(n, (W, H), interpolation=cv2.INTER_CUBIC)


def varied(r, layers):
    """anatomical variety: one smooth elastic warp and an anisotropic stretch of all layers"""
    H, W = layers[0].shape
    amp = U(r, 0, .022) * min(H, W); gx, gy = np.meshgrid(np.arange(W, dtype=np.float32), np.arange(H, dtype=np.float32))
    sx, sy = 1 + r.normal(0, .04), 1 + r.normal(0, .04)
    mx = (gx - W / 2) * sx + W / 2 + amp * noise(r, H, W, max(H, W) / 3.5); my = (gy - H / 2) * sy + H / 2 + amp * noise(r, H, W, max(H, W) / 3.5)
    at = mx.astype(np.float32), my.astype(np.float32)
    return [cv2.remap(np.ascontiguousarray(q, dtype=np.float32), *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for q in layers], at


def camera(sc, r, npx):
    """axes, place and focal length in pixels of the tube of a scene, the film's height and width, and pixels a metre at the target"""
    fov, asp = sc['fov'], sc['aspect']          # fov is the width; with 'fovh' the height
    wd, ht = (fov / asp, fov) if sc.get('fovh') else (fov, fov * asp)
    small = sc['region'] in ('PELVIS', 'CHEST', 'LSPINE', 'SHOULDER', 'CLAVICLE', 'HIP', 'ABDOMEN', 'TSPINE')
    quarter = (not small) and r.rand() < .07
    if quarter: wd, ht = ht, wd
    px = npx / max(wd, ht); W, H = max(96, int(wd * px)), max(96, int(ht * px))
    d = sc['d']; up = norm(sc['up'] - d * (sc['up'] @ d)); right = np.cross(d, up)
    roll = np.deg2rad(r.normal(0, 4 if small else 7))
    if not small and r.rand() < .12: roll += np.deg2rad(U(r, -30, 30))
    if not small and r.rand() < .08: roll += np.pi
    if quarter: roll += np.pi / 2 * r.choice([-1, 1])
    Q = rot(d, roll); C = np.stack([Q @ right, -(Q @ up), d])
    sod = U(r, .85, 1.4); S = sc['target'] - d * sod; f = px * sod
    return C, S, f, H, W, px


def on_film(v, f, H, W):
    """whether points before the tube are seen"""
    if v[:, 2].min() < .15: return False
    x = f * v[:, 0] / v[:, 2] + W / 2; y = f * v[:, 1] / v[:, 2] + H / 2
    return x.max() >= 0 and y.max() >= 0 and x.min() <= W and y.min() <= H


def stool(r, H, W, px):
    """air in a bowel full of stool, in metres: many small bubbles in a round or long patch"""
    patch = np.zeros((H, W), np.float32)
    size = np.array([U(r, .012, .035), U(r, .012, .06)]) * px
    cv2.ellipse(patch, (int(r.uniform(.2, .8) * W), int(r.uniform(0, .6) * H)), (int(size[0]) + 1, int(size[1]) + 1), r.uniform(0, 180), 0, 360, 1., -1)
    bubbles = sum(np.maximum(0, noise(r, H, W, max(1.2, U(r, .002, .007) * px)) - U(r, 0, .6)) for _ in range(2))
    return G(patch, .003 * px) * bubbles * U(r, .006, .02)


def project(w, sc, r, npx=320):
    if sc['framing'] == 'VOLUME':
        *layers, px = volume.layers(sc, r, npx)
        return *varied(r, layers)[0], px
    C, S, f, H, W, px = camera(sc, r, npx)
    d, cx, cy = sc['d'], W / 2, H / 2
    out = np.zeros((H, W), np.float32); cort = out.copy(); trab = out.copy()
    cam = lambda v: np.ascontiguousarray(((v - S) @ C.T), dtype=np.float32)
    shadows = {}
    for key, outer, inner in placed(w, sc):
        seen = [(q, fc) for q, fc in ((cam(v), fc) for v, fc in outer) if on_film(q, f, H, W)]
        if not seen: continue
        bo, ibone = np.zeros((H, W), np.float32), np.zeros((H, W), np.float32)
        for q, fc in seen: splat(q, fc, f, f, cx, cy, bo)
        sg = np.sign(bo.sum()) or 1.; bo = np.maximum(bo * sg, 0)
        for v, fc in inner: splat(cam(v), fc, f, f, cx, cy, ibone)
        ibone = np.clip(ibone * (np.sign(ibone.sum()) or 1.), 0, bo)
        cort += bo - ibone
        if sc['implant']: shadows[key] = shadows.get(key, 0) + bo
        if 'skull' in key or 'jaw' in key: trab += 0 * ibone
        else: trab += ibone
    cort *= sc['bone'] * sc['size'] ** .3; trab *= sc['marrow'] * sc['size'] ** .3
    # soft tissue
    soft = np.zeros((H, W), np.float32); parts = []
    for p, rr in sc['tubes']:
        a = np.zeros((H, W), np.float32); tube(cam(np.asarray(p)).astype(np.float64), np.asarray(rr, float), f, f, cx, cy, a); parts.append(a)
    if 'torso' in sc:
        p, wdt, ratio = sc['torso']
        # width axis of the body, seen from this direction
        lat = np.array([0, 1., 0]) if sc['region'] in ('PELVIS', 'HIP', 'LSPINE', 'ABDOMEN', 'TSPINE') else np.array([1., 0, 0])
        c = abs(lat @ d); cs = np.sqrt(max(0, 1 - c * c))
        we = np.sqrt((wdt * cs) ** 2 + (wdt * ratio * c) ** 2); de = wdt * wdt * ratio / we
        a = np.zeros((H, W), np.float32); tube(cam(p).astype(np.float64), np.c_[we, de], f, f, cx, cy, a); parts.append(a)
    parts = [G(a, .004 * px) for a in parts]
    bone = cort + trab
    if sc['region'] in ('HAND', 'WRIST', 'FOOT', 'ANKLE', 'FOREARM', 'FINGER'):
        dist = cv2.distanceTransform((bone < 1e-4).astype(np.uint8), cv2.DIST_L2, 5) / px
        hb = sc['halo']; a = 2 * np.sqrt(np.maximum(0, hb ** 2 - np.minimum(dist, hb) ** 2)) + .6 * G(bone, .006 * px)
        parts.append(G(a, .0025 * px))
    if parts:
        st = np.stack(parts); soft = (np.sum(st ** 5, 0) + 1e-12) ** .2
    soft = np.maximum(soft, bone * 1.05)
    soft = soft * (1 + .025 * noise(r, H, W, 60) + .008 * noise(r, H, W, 12))
    air = np.zeros_like(soft)
    if sc.get('lungs') is not None:
        Cc, up_, left_, fwd_ = sc['lungs']
        for sgn in (-1, 1):
            pts = np.array([Cc - up_ * z + left_ * sgn * x for z, x in ((.02, .05), (.08, .068), (.16, .075), (.21, .08))])
            a = np.zeros((H, W), np.float32); tube(cam(pts).astype(np.float64), np.array([[.035, .05], [.055, .075], [.062, .085], [.06, .08]]), f, f, cx, cy, a)
            air += G(a, .006 * px)
        air = np.minimum(air, soft * .72); air *= 1 + .05 * noise(r, H, W, 14) + .035 * noise(r, H, W, 5) + .02 * noise(r, H, W, 2.5); air = np.minimum(air, soft * .8)
    if sc['gas']:
        for _ in range(r.randint(0, 9) * sc['gas']):
            x, y = r.uniform(.1, .9) * W, r.uniform(.0, .62) * H; s = r.uniform(.01, .03) * px
            blob = np.zeros((H, W), np.float32); cv2.ellipse(blob, (int(x), int(y)), (int(s * r.uniform(.8, 2)) + 1, int(s) + 1), r.uniform(0, 180), 0, 360, 1., -1)
            blob = G(blob, .35 * s + .5) * (1 + .5 * noise(r, H, W, max(3, s * .5)))
            air += np.clip(blob, 0, 1.3) * r.uniform(.01, .04)
        for _ in range(sc['stool']): air += stool(r, H, W, px)
        air = np.clip(air, 0, soft * .6)
    met = np.zeros((H, W), np.float32)
    if sc['implant']:
        seen = {k: cam(np.asarray(p)[None])[0] for k, p in sc['joints'].items()}
        met = layer(r, sc, {k: np.array([f * v[0] / v[2] + cx, f * v[1] / v[2] + cy]) for k, v in seen.items()}, shadows, px, (H, W))
    (soft, cort, trab, air), at = varied(r, (soft, cort, trab, air))
    sc['metal'] = cv2.remap(met, *at, cv2.INTER_LINEAR)
    return soft, cort, trab, air, px


def metal(r, sc, H, W, px, bone):
    """screws, plates, wires, nails as simple shapes over the bone"""
    m = np.zeros((H, W), np.float32); ys, xs = np.where(bone > .5 * bone.max())
    if len(ys) < 10: return m
    i = r.randint(len(ys)); x, y = xs[i], ys[i]; a = r.uniform(0, np.pi); kind = r.randint(4)
    L = r.uniform(.03, .12) * px; w = max(2, int(r.uniform(.004, .012) * px)); dx, dy = np.cos(a) * L / 2, np.sin(a) * L / 2
    P = lambda u, v: (int(x + u * dx * 2 - v * dy * 2), int(y + u * dy * 2 + v * dx * 2))
    if kind == 0: cv2.line(m, P(-.5, 0), P(.5, 0), 1., w)
    elif kind == 1:
        cv2.line(m, P(-.5, 0), P(.5, 0), .7, w)
        for u in np.linspace(-.45, .45, r.randint(4, 9)): cv2.line(m, P(u, 0), P(u, .25 * r.choice([1, 1, .7])), 1., max(1, w // 3))
    elif kind == 2:
        for _ in range(r.randint(1, 4)): o = r.normal(0, .2); cv2.line(m, P(-.6, o), P(.6, o + r.normal(0, .15)), 1., max(1, w // 4))
    else: cv2.circle(m, (int(x), int(y)), int(L * .25) + 2, 1., -1); cv2.line(m, P(0, 0), P(.7, 0), 1., w)
    return m


def form(soft, cort, trab, air, px, sc, r):
    H, W = soft.shape
    thick = float(np.percentile(soft[soft > .004], 90)) if (soft > .004).any() else .05
    kv = min(1., r.rand() * .7 + thick * 2.5); mu_s, mu_c = 20 + 9 * (1 - kv), 68 + 50 * (1 - kv); mu_t = mu_s * U(r, 1.45, 2.0)
    tex = .5 * noise(r, H, W, 1.6) + .5 * noise(r, H, W, 3.2)
    cort = cort * (1 + .04 * tex); trab = trab * (1 + U(r, .03, .15) * tex)
    A = mu_s * np.maximum(0, soft - air) + (mu_c - mu_s) * cort + (mu_t - mu_s) * trab
    ext = np.zeros_like(A)
    if r.rand() < .07: ext += metal(r, sc, H, W, px, cort + trab) * U(r, 1, 4)
    if sc['implant']: ext += sc['metal'] * U(r, 1.5, 5)
    if r.rand() < .06:      # cast / splint: even veil with weave
        ext += G((soft > .004).astype(np.float32), .006 * px) * U(r, .1, .4) * (1 + .2 * noise(r, H, W, 5) + .1 * noise(r, H, W, 2))
    I = .55 * np.exp(-A * .85 - ext) + .45 * np.exp(-A * 1.2 - ext)
    sf = U(r, .02, .2); I = (1 - sf) * I + sf * G(I, .03 * px)
    I = G(I, U(r, .3, 1.1)); q = 10 ** U(r, 2.9, 4.8) / (np.median(I[soft > .004]) if (soft > .004).sum() > 50 else 1.)
    I = np.maximum(I + r.randn(H, W).astype(np.float32) * np.sqrt(np.maximum(I, 1e-4) / q), (.02 if r.rand() < .6 else .12) * np.percentile(I, 5) + 1e-7)
    y = -np.log(I)
    fine = sc['region'] in ('HAND', 'WRIST', 'FOOT', 'ANKLE', 'FINGER')
    k = U(r, .45, .9) if thick > .12 else U(r, .2, .75)
    if thick > .12 or r.rand() < .8: y = y - k * G(y, U(r, .02, .08) * px) + U(r, 0, .8) * (y - G(y, U(r, 1, 3)))
    body = soft > .004
    v = y[body] if body.sum() > 100 else y.ravel()
    lo, hi = np.percentile(v, U(r, .2, 12)), np.percentile(v, U(r, 97.5, 99.95))
    if r.rand() < .65: lo = max(np.percentile(y, .5), lo - U(r, .0, .6) * (hi - lo))
    z = np.clip((y - lo) / (hi - lo + 1e-6), 0, 1) ** (U(r, .45, 1.0) if fine else U(r, .65, 1.4))
    if r.rand() < .25: z = z / (z + U(r, .3, .8) * (1 - z) + 1e-6)
    return z


def dress(z, r, region):
    """mirror, collimation, markers, polarity, composites"""
    H, W = z.shape
    if r.rand() < .5: z = z[:, ::-1]
    z = np.ascontiguousarray(z, dtype=np.float32)
    if r.rand() < .55:
        bg = r.choice([0] * 9 + [.03, .05, .12, .9]); m = U(r, 0, .1); a = np.deg2rad(r.normal(0, 5))
        c = np.array([W / 2, H / 2]); hw = np.array([W * (.5 - m * r.rand()), H * (.5 - m * r.rand())])
        P = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * hw; R = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        mk = np.zeros((H, W), np.float32); cv2.fillPoly(mk, [(P @ R.T + c).astype(np.int32)], 1.); mk = G(mk, U(r, .3, 1.5))
        z = z * mk + bg * (1 - mk)
    if r.rand() < .12: # dark pad as on a page
        p = [r.randint(0, max(2, W // 3)) for _ in range(2)]; z = cv2.copyMakeBorder(z, r.randint(0, H // 8), r.randint(0, H // 8), p[0], p[1], cv2.BORDER_CONSTANT, value=float(r.choice([0, 0, 0, 0, .05, 1])))
    H, W = z.shape
    z = (np.clip(z, 0, 1) * 255).astype(np.uint8)
    for _ in range(r.choice([0, 1, 1, 2])):
        t = r.choice(['L', 'R', 'R', 'L', 'LT', 'AP', 'PORT', 'ERECT', 'RIGHT', 'LEFT', 'JD', 'WB', '12']); x, y = (r.choice([.05, .85]) + r.normal(0, .03)) * W, r.uniform(.08, .95) * H
        fs = U(r, .25, .75) * min(H, W) / 260; col = U(r, .75, 1.)
        if r.rand() < .25: cv2.rectangle(z, (int(x) - 4, int(y - 24 * fs) - 4), (int(x + 20 * fs * len(t)), int(y) + 4), int(255 * U(r, .3, .6)), -1)
        if r.rand() < .15: cv2.circle(z, (int(x + 9 * fs), int(y - 9 * fs)), int(18 * fs), int(255 * col), 1)
        cv2.putText(z, t, (int(x), int(y)), FONT[r.randint(3)], fs, int(255 * col), 1 + int(fs > .8), cv2.LINE_AA)
    if r.rand() < .03: z = 255 - z
    return z


def one(w, region, r):
    from .scene import build
    for _ in range(6):
        sc = build(w, region, r)
        s, c, t, a, px = project(w, sc, r)
        if ((c + t) > .001).mean() > .04: break
    return form(s, c, t, a, px, sc, r), sc


def make(w, region, seed):
    r = np.random.RandomState(seed)
    z, sc = one(w, region, r)
    if region.partition('_')[0] not in ('PELVIS', 'CHEST', 'SKULL', 'HIP', 'CLAVICLE', 'ABDOMEN') and r.rand() < .06:     # two views on one page
        y, sc2 = one(w, region, r); h = min(z.shape[0], y.shape[0])
        f = lambda q: cv2.resize(q.astype(np.float32), (max(8, int(q.shape[1] * h / q.shape[0])), h), interpolation=cv2.INTER_AREA)
        z = np.hstack([f(z), np.zeros((h, r.randint(1, 10)), np.float32), f(y)]); sc['view'] += '+' + sc2['view']
        if z.shape[1] > 320: z = cv2.resize(z, (320, int(z.shape[0] * 320 / z.shape[1])), interpolation=cv2.INTER_AREA)
    return dress(z, r, region), sc
