"""Models Genesis' deformations as they were published: loops in Python, one window, one voxel at a time.

Written from the paper (https://arxiv.org/abs/1908.06912) for `bench_genesis.py` alone, to have what ours is measured
against. Axes are theirs, (C, X, Y, Z); flips are ours, over all three axes of space, so that both do the same work.
"""

import random
from itertools import product

import numpy as np

NUM_WINDOWS, NUM_NODES = 10_000, 100_000


def flipped(crop_CXYZ, wanted_CXYZ):
    left = 3
    while random.random() < 0.4 and left > 0:
        axis = random.choice([1, 2, 3])
        crop_CXYZ, wanted_CXYZ = np.flip(crop_CXYZ, axis), np.flip(wanted_CXYZ, axis)
        left -= 1
    return crop_CXYZ, wanted_CXYZ


def shuffled(crop_CXYZ):
    before, after = np.array(crop_CXYZ), np.array(crop_CXYZ)
    sizes = before.shape[1:]
    for _ in range(NUM_WINDOWS):
        spans = [random.randint(1, size // 10) for size in sizes]
        x, y, z = (random.randint(0, size - span) for size, span in zip(sizes, spans, strict=True))
        dx, dy, dz = spans
        window = before[0, x : x + dx, y : y + dy, z : z + dz].flatten()
        np.random.shuffle(window)
        after[0, x : x + dx, y : y + dy, z : z + dz] = window.reshape(dx, dy, dz)
    return after


def bent(crop_CXYZ):
    points = [(0, 0), (random.random(), random.random()), (random.random(), random.random()), (1, 1)]
    t = np.linspace(0.0, 1.0, NUM_NODES)
    weights = np.array([t**3, 3 * t**2 * (1 - t), 3 * t * (1 - t) ** 2, (1 - t) ** 3])
    xs, ys = (np.dot(np.array([point[axis] for point in points]), weights) for axis in (0, 1))
    xs = np.sort(xs)
    # With t running from 1 to 0 along these weights, unsorted heights fall.
    ys = ys if random.random() < 0.5 else np.sort(ys)
    return np.interp(crop_CXYZ, xs, ys)


def in_painted(crop_CXYZ):
    sizes, left = crop_CXYZ.shape[1:], 5
    while left > 0 and random.random() < 0.95:
        spans = [random.randint(size // 6, size // 3) for size in sizes]
        x, y, z = (random.randint(3, size - span - 3) for size, span in zip(sizes, spans, strict=True))
        dx, dy, dz = spans
        crop_CXYZ[:, x : x + dx, y : y + dy, z : z + dz] = np.random.rand(dx, dy, dz)
        left -= 1
    return crop_CXYZ


def out_painted(crop_CXYZ):
    sizes, before, left = crop_CXYZ.shape[1:], np.array(crop_CXYZ), 5
    after = np.random.rand(*crop_CXYZ.shape)
    while left == 5 or (left > 0 and random.random() < 0.95):
        spans = [size - random.randint(3 * size // 7, 4 * size // 7) for size in sizes]
        x, y, z = (random.randint(3, size - span - 3) for size, span in zip(sizes, spans, strict=True))
        window = (slice(None), slice(x, x + spans[0]), slice(y, y + spans[1]), slice(z, z + spans[2]))
        after[window] = before[window]
        left -= 1
    return after


def deformed(crop_CXYZ):
    """What is shown and what is wanted."""
    shown, wanted = flipped(crop_CXYZ.copy(), crop_CXYZ.copy())
    shown = shuffled(shown) if random.random() < 0.5 else shown
    shown = bent(shown) if random.random() < 0.9 else shown
    if random.random() < 0.9:
        shown = in_painted(np.array(shown)) if random.random() < 0.2 else out_painted(shown)
    return shown, wanted


def solid_share(window_XYZ, num_slices, solid_from):
    """The air test, four loops deep."""
    num_x, num_y, _ = window_XYZ.shape
    weights = np.zeros((num_x, num_y, num_slices))
    for x, y, z in product(range(num_x), range(num_y), range(num_slices)):
        found = 2
        for k in range(3):
            if window_XYZ[x, y, z + k] >= solid_from:
                found = k
                break
        weights[x, y, z] = 1 - found / 2
    return weights.sum() / weights.size
