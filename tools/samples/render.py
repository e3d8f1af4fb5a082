#!/usr/bin/env python3
"""Renders synthetic radiographs from the Apache-2.0 bones alone: the raw material of tests/data.

    python3 tools/samples/render.py BONES OUT REGION:FIRST-LAST ...

BONES is a writable folder with the bones for `tools/drr`. OUT/REGION_INDEX.png is written for
each index, and OUT/sources.tsv says which meshes each picture was made of. A picture is a pure function of (region, index).

The renderer takes its hip bones and the thorax of its shoulders and chests from opensim-models. Here they are replaced:
the hip bones by myo_sim's own `r_pelvis.stl` and `l_pelvis.stl`, the ribs by `thorax.stl` and the spine by `ground_spine.stl`
(in the same frame as the ones they replace). Reading any .vtp, the format of opensim-models, is an error.

Indices: the training pictures are 0-499 for the five regions, 0-149 outside, and 1000 upwards. Samples take what lies between.
"""
import os
import sys
import zlib

PIXELS = 400  # longer side


def load(bones):
    """The renderer with a World that knows myo_sim only."""
    os.environ["DRR_ROOT"] = bones
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "drr"))
    from drr import meshes, models, render, scene

    def refuse(path):
        raise RuntimeError(f"an opensim mesh would be read: {path}")

    meshes.read_vtp = refuse
    # Prepared surfaces of our own: the renderer's cache has opensim hip bones under the same names.
    scene.CACHE = os.path.join(models.ROOT, "cache-apache")

    class ApacheWorld(scene.World):
        def __init__(self):
            self.leg = models.Model("body/myobody.xml")
            self.arm = models.Model("arm/myoarm.xml")
            self.raw, self.mem = {}, {}
            for model, prefix in ((self.leg, "leg"), (self.arm, "arm")):
                for _, name, vertices, faces in model.geoms:
                    self.raw[f"{prefix}_{name}"] = (vertices, faces, "myo")
            for key, file in (("ribs", "thorax"), ("spine", "ground_spine")):
                mesh = models.trimesh.load(f"{models.ROOT}/myo_sim/meshes/{file}.stl")
                self.raw[f"gr_{key}"] = (mesh.vertices, mesh.faces, "myo")

    render.project.__defaults__ = (PIXELS,)
    return ApacheWorld(), render


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    bones, out = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    os.makedirs(out, exist_ok=True)
    world, render = load(bones)
    import cv2

    cv2.setNumThreads(1)
    with open(os.path.join(out, "sources.tsv"), "a") as sources:
        for job in sys.argv[3:]:
            region, span = job.split(":")
            first, _, last = span.partition("-")
            for index in range(int(first), int(last or first) + 1):
                seed = (zlib.crc32(region.encode()) ^ (index * 2654435761)) & 0x7FFFFFFF
                image, description = render.make(world, region, seed)
                scale = PIXELS / max(image.shape)
                if scale < 1:
                    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                keys = sorted({bone[0] for bone in description["bones"]})
                assert all(world.raw[key][2] == "myo" for key in keys)
                cv2.imwrite(os.path.join(out, f"{region}_{index:05d}.png"), image)
                sources.write(f"{region}\t{index}\t{seed}\t{description['view']}\t{','.join(keys)}\n")
                sources.flush()


if __name__ == "__main__":
    main()
