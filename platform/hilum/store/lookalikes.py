"""Images that show the same thing under two names: copies across patients, and leaks across the split.

A copy that was saved again, at another size, depth or brightness, has other bytes and the same
perceptual hash: the signs of the lowest frequencies of a small grey picture (64 bits, DCT; Zauner
2010, "Implementation and benchmarking of perceptual image hash functions"). Pairs whose hashes are near are
compared as pictures before they are named. Shape letters: C = channels, Z, Y, X = space.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from hilum.core.geometry import Patch
from hilum.core.imaging import Volume
from hilum.store.inspection import finished_runs
from hilum.store.layout import Store
from hilum.store.volumes import open_volume, volumes_of

PICTURE = 32
HASH_SIDE = 8
MAX_DISTANCE = 7
"""Of 64 bits. Two pictures of different things differ in about 32."""
MIN_CORRELATION = 0.98
SLAB = 3
"""How many planes in the middle of an item are averaged."""
AT_ONCE = 32

Picture = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Look:
    """How one item of a volume looks: its hash and its small grey picture, zero mean and unit length."""

    volume_id: str
    item: int
    patient_id: str
    side: str
    bits: int
    picture: Picture


@dataclass(frozen=True)
class Lookalikes:
    """Two items of different patients, or of different sides, that look the same."""

    one: Look
    other: Look
    correlation: float

    @property
    def crosses_sides(self) -> bool:
        return self.one.side != self.other.side


def looks(store: Store) -> Iterator[list[Look]]:
    """The looks of every volume in turn. Reads a few planes of each item."""
    for volume in every_volume(store):
        yield looks_of(store, volume)


def every_volume(store: Store) -> list[Volume]:
    """All volumes of all finished ingests, each once."""
    found: dict[str, Volume] = {}
    for ingest_id in sorted(finished_runs(store, "ingest")):
        found |= volumes_of(store, ingest_id)
    return [found[volume_id] for volume_id in sorted(found)]


def looks_of(store: Store, volume: Volume) -> list[Look]:
    """One look an item; an item without any contrast looks like nothing and has none."""
    depth, height, width = volume.item_shape_zyx
    slab = min(SLAB, depth)
    starts = [item * depth + (depth - slab) // 2 for item in range(volume.num_items)]
    patches = [Patch(volume.volume_id, (start, 0, 0), (slab, height, width)) for start in starts]
    reader = open_volume(store, volume)
    read = (
        image for at in range(0, len(patches), AT_ONCE) for image in reader.read_many_CZYX(patches[at : at + AT_ONCE])
    )
    found = []
    for item, image_CZYX in enumerate(read):
        picture = picture_of(image_CZYX.mean(axis=(0, 1), dtype=np.float32))
        if picture is not None:
            side = volume.side or "undeclared"
            found.append(Look(volume.volume_id, item, volume.study.patient_id, side, perceptual_hash(picture), picture))
    return found


def picture_of(plane_YX: Picture) -> Picture | None:
    """The plane as 32 × 32 means, zero mean and unit length; none when it is flat."""
    rows, columns = (_cells(size) for size in plane_YX.shape)
    small = rows @ plane_YX @ columns.T
    centred = small - small.mean()
    length = float(np.linalg.norm(centred))
    if length <= 1e-6 * max(1.0, float(np.abs(small).max())):
        return None
    return np.asarray(centred / length, np.float32)


def _cells(size: int) -> Picture:
    """How much of each of ``size`` pixels lies in each of 32 equal cells, as shares of the cell."""
    edges = np.linspace(0, size, PICTURE + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.asarray(overlap.clip(0) * PICTURE / size, np.float32)


def perceptual_hash(picture_YX: Picture) -> int:
    """Which of the 64 lowest frequencies are above their median, as one whole number."""
    low = fft.dctn(picture_YX, norm="ortho")[:HASH_SIDE, :HASH_SIDE].ravel()
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def lookalikes(found: Sequence[Look]) -> list[Lookalikes]:
    """Every pair of different patients or sides that looks the same, most alike first."""
    pairs = []
    for i, j in _near(np.array([look.bits for look in found], np.uint64)):
        one, other = found[i], found[j]
        if (one.patient_id, one.side) == (other.patient_id, other.side):
            continue
        correlation = float((one.picture * other.picture).sum())
        if correlation >= MIN_CORRELATION:
            pairs.append(Lookalikes(one, other, round(min(1.0, correlation), 4)))
    return sorted(pairs, key=lambda p: (-p.correlation, p.one.volume_id, p.one.item, p.other.volume_id, p.other.item))


def _near(hashes: npt.NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """Pairs of indices whose hashes differ in at most seven bits, each once.

    Seven wrong bits leave one of the eight bytes untouched: only hashes that share a byte are
    compared, which is three in a hundred pairs.
    """
    bytes_NB = hashes.astype(">u8").view(np.uint8).reshape(-1, 8)
    for band in range(8):
        order = np.argsort(bytes_NB[:, band], kind="stable")
        starts = np.flatnonzero(np.diff(bytes_NB[order, band])) + 1
        for members in np.split(order, starts):
            yield from _near_within(hashes, bytes_NB, members, band)


def _near_within(
    hashes: npt.NDArray[np.uint64], bytes_NB: npt.NDArray[np.uint8], members: npt.NDArray[np.intp], band: int
) -> Iterator[tuple[int, int]]:
    mine, bytes_MB = hashes[members], bytes_NB[members, :band]
    for at in range(len(members) - 1):
        near = at + 1 + np.flatnonzero(np.bitwise_count(mine[at + 1 :] ^ mine[at]) <= MAX_DISTANCE)
        # An earlier byte that agrees has told of this pair already.
        new = (bytes_MB[near] != bytes_MB[at]).all(axis=1)
        for j in members[near[new]]:
            yield int(members[at]), int(j)
