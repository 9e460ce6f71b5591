"""Models Genesis' deformations of 64 × 64 × 32 crops beside the published loops, MONAI and TorchIO, on one thread.

Run with ``make bench THEME=genesis``. They take turns on the same crops; the figure is the median over turns, in
crops a second of process CPU time. The published algorithm is `genesis_loops.py`, written for this from the paper.
Before anything is measured both mixes are checked to be alike: how many voxels change, the range, and that what is
wanted is a flip of the crop and nothing else. MONAI has no like of the painting; its mix is the other two, with
the same chances. A mix's figure is the sum of its parts by their chances: a few crops of so slow a loop are too few
to meet every part as often as it should be.
"""

import importlib
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import bench_reading as reading
import genesis_loops as loops
import numpy as np
import torch
from rows import missing_row, row, write
from scipy import stats

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.reading import read_item
from hilum.core.recipes import Choice, IngestRecipe, PretrainRecipe, SplitRecipe
from hilum.core.registry import pretexts
from hilum.core.resources import Resources
from hilum.core.sources import Source, SourceItem
from hilum.nn.pretext.air import weighted_solid_share
from hilum.nn.pretext.bezier import non_linear
from hilum.nn.pretext.cutouts import inner_cutout, outer_cutout
from hilum.nn.pretext.flips import random_flips
from hilum.nn.pretext.shuffling import local_pixel_shuffling
from hilum.steps import ingest
from hilum.steps.crops import StoredCrops, crops_of
from hilum.store.layout import Store
from hilum.store.volumes import volumes_of

CROP_CZYX = (1, 32, 64, 64)
CUBE = "64×64×32"
TURNS = 5
OURS, SLOW = 60, 2
NUM_CHECKED = 400
UNIT = "crops/s of CPU"
CHANCES = {"flip": 1.0, "shuffling": 0.5, "non-linear": 0.9, "in-painting": 0.18, "out-painting": 0.72}
Work = Callable[[], object]


def crops(num: int) -> list[np.ndarray]:
    """Smooth tissue with grain between 0 and 1; no two voxels quite alike."""
    voxels = reading.synthetic_ct((64, 128, 128)).astype(np.float32)
    rng = np.random.default_rng(3)
    found = []
    for _ in range(num):
        z, y, x = (
            int(rng.integers(0, have - want + 1)) for have, want in zip(voxels.shape, CROP_CZYX[1:], strict=True)
        )
        crop = voxels[z : z + 32, y : y + 64, x : x + 64] + rng.random(CROP_CZYX[1:], dtype=np.float32)
        found.append(((crop + 1001) / 2002).clip(0, 1)[None].astype(np.float32))
    return found


def theirs_of(crop_CZYX: np.ndarray) -> np.ndarray:
    """The axes and the type of the published code."""
    return np.ascontiguousarray(crop_CZYX.transpose(0, 3, 2, 1)).astype(np.float64)


def check_alike(genesis: object) -> dict[str, tuple[float, float]]:
    """The statistics of both mixes, ours first; fails where they cannot be of one distribution."""
    rng = np.random.default_rng(0)
    random.seed(0)
    np.random.seed(0)
    given = crops(8)
    pairs = {"ours": [], "loops": []}
    for number in range(NUM_CHECKED):
        crop = given[number % len(given)]
        pairs["ours"].append((crop, *genesis.pose(crop, rng)))
        shown, wanted = loops.deformed(theirs_of(crop))
        pairs["loops"].append((crop, shown.transpose(0, 3, 2, 1), wanted.transpose(0, 3, 2, 1)))
    changed = {who: [float((shown != wanted).mean()) for _, shown, wanted in found] for who, found in pairs.items()}
    for found in pairs.values():
        assert all(shown.min() >= 0 and shown.max() <= 1 for _, shown, _ in found)
        assert all(is_a_flip(wanted, crop) for crop, _, wanted in found)
    ranges = {who: [float(np.ptp(shown)) for _, shown, _ in found] for who, found in pairs.items()}
    found = {"share of voxels changed": changed, "range of what is shown": ranges}
    for name, values in found.items():
        # Kolmogorov and Smirnov: of one distribution, but for one seed in a thousand.
        assert stats.ks_2samp(values["ours"], values["loops"]).pvalue > 1e-3, name
    return {
        name: (statistics.fmean(values["ours"]), statistics.fmean(values["loops"])) for name, values in found.items()
    }


def is_a_flip(wanted: np.ndarray, crop: np.ndarray) -> bool:
    axes = [(), 1, 2, 3, (1, 2), (1, 3), (2, 3), (1, 2, 3)]
    return any(np.array_equal(wanted, np.flip(crop, axis)) for axis in axes)


def ours(crop: np.ndarray) -> dict[str, Work]:
    rng = np.random.default_rng(1)
    return {
        "flip": lambda: random_flips(crop, rng=rng),
        "shuffling": lambda: local_pixel_shuffling(crop, rng=rng),
        "non-linear": lambda: non_linear(crop, rng=rng),
        "in-painting": lambda: inner_cutout(crop, rng=rng),
        "out-painting": lambda: outer_cutout(crop, rng=rng),
    }


def published(crop: np.ndarray) -> dict[str, Work]:
    crop = theirs_of(crop)
    return {
        "flip": lambda: loops.flipped(crop.copy(), crop.copy()),
        "shuffling": lambda: loops.shuffled(crop),
        "non-linear": lambda: loops.bent(crop),
        "in-painting": lambda: loops.in_painted(crop.copy()),
        "out-painting": lambda: loops.out_painted(crop),
    }


def by_monai(crop: np.ndarray) -> dict[str, Work]:
    from monai.transforms import RandCoarseShuffle, RandHistogramShift

    tensor = torch.from_numpy(crop)
    shuffle = RandCoarseShuffle(holes=10_000, spatial_size=(1, 1, 1), max_spatial_size=(3, 6, 6), prob=1.0)
    shift = RandHistogramShift(num_control_points=4, prob=1.0)
    return {"shuffling": lambda: shuffle(tensor), "non-linear": lambda: shift(tensor)}


def by_torchio(crop: np.ndarray) -> dict[str, Work]:
    torchio = importlib.import_module("torchio")
    swap = torchio.RandomSwap(patch_size=(2, 3, 3), num_iterations=10_000)
    tensor = torch.from_numpy(crop)
    return {"shuffling": lambda: swap(tensor)}


PEERS: dict[str, Callable[[np.ndarray], dict[str, Work]]] = {
    "published loops": published,
    "MONAI": by_monai,
    "TorchIO": by_torchio,
}


def seconds_in_turn(works: dict[str, tuple[int, Work]]) -> dict[str, float]:
    """CPU seconds of one call, the median of turns; the first turn warms up and is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(TURNS + 1):
        for name, (num, work) in works.items():
            begin = time.process_time()
            for _ in range(num):
                work()
            if turn:
                seconds[name].append((time.process_time() - begin) / num)
    return {name: statistics.median(found) for name, found in seconds.items()}


def measure_deformations(rows: list[dict]) -> None:
    crop = crops(1)[0]
    there, missing = {"hilum": ours(crop)}, {}
    for peer, make in PEERS.items():
        try:
            there[peer] = make(crop)
        except ImportError as error:
            missing[peer] = f"not installed: {error.name}"
    seconds: dict[str, dict[str, float]] = {who: {} for who in there}
    for name in CHANCES:
        works = {who: (OURS if who == "hilum" else SLOW, parts[name]) for who, parts in there.items() if name in parts}
        for who, found in seconds_in_turn(works).items():
            seconds[who][name] = found
    for name in CHANCES:
        add(rows, f"{name}, {CUBE}", {who: found[name] for who, found in seconds.items() if name in found}, missing)
    whole = {who: mix_of(found, set(CHANCES)) for who, found in seconds.items() if set(found) == set(CHANCES)}
    add(rows, f"the whole mix, {CUBE}", whole, missing)
    pair = {"shuffling", "non-linear"}
    part = {who: mix_of(found, pair) for who, found in seconds.items() if set(found) >= pair}
    add(rows, f"shuffling and non-linear as in the mix, {CUBE}", part, missing)


def mix_of(seconds: dict[str, float], names: set[str]) -> float:
    return sum(CHANCES[name] * seconds[name] for name in names)


def measure_mix_itself(rows: list[dict], genesis: object) -> None:
    """The pretext as it is called, ours alone: what the sum above leaves out is in it."""
    rng, given = np.random.default_rng(2), crops(8)
    number = iter(range(10**9))
    works = {"hilum": (4 * OURS, lambda: genesis.pose(given[next(number) % len(given)], rng))}
    add(rows, f"the pretext itself, {CUBE}", seconds_in_turn(works), {})


def measure_air_test(rows: list[dict]) -> None:
    window = np.random.default_rng(0).integers(-1000, 400, (35, 64, 64)).astype(np.int16)
    unit = ((window.astype(np.float32) + 1000) / 2000).astype(np.float32)
    slow = np.ascontiguousarray(unit.transpose(2, 1, 0)).astype(np.float64)
    threshold = float(np.float32(0.425))
    shares = {
        weighted_solid_share(unit, num_slices=32, solid_from=threshold),
        weighted_solid_share(window, num_slices=32, solid_from=-150),
        loops.solid_share(slow, 32, threshold),
    }
    assert len({round(share, 12) for share in shares}) == 1, shares
    for kind, work in (
        ("float32", lambda: weighted_solid_share(unit, num_slices=32, solid_from=threshold)),
        ("int16", lambda: weighted_solid_share(window, num_slices=32, solid_from=-150)),
    ):
        works = {"hilum": (20 * OURS, work), "published loops": (1, lambda: loops.solid_share(slow, 32, threshold))}
        add(rows, f"air test, {kind}, {CUBE}", seconds_in_turn(works), {})


def measure_reading(rows: list[dict], genesis: object) -> None:
    """From the sharded store to a posed puzzle, as `hilum pretrain` does, and from .nii.gz to the published loops."""
    voxels = reading.synthetic_ct()
    with tempfile.TemporaryDirectory() as folder:
        crops, scan = stored(Path(folder), voxels), Path(folder, "scan.nii.gz")
        rng = np.random.default_rng(5)

        def read_and_deform() -> None:
            genesis.pose(crops.draw(rng), rng)

        def from_gzip() -> None:
            image = np.asarray(reading.nib.load(scan).dataobj)
            x, y, z = (int(rng.integers(0, n - p + 1)) for n, p in zip(image.shape, (64, 64, 32), strict=True))
            crop = (image[x : x + 64, y : y + 64, z : z + 32].clip(-1000, 1000) + 1000) / 2000
            loops.deformed(crop[None])

        works = {
            "hilum": (2 * OURS, read_and_deform),
            "nibabel .nii.gz and published loops": (1, from_gzip),
        }
        add(rows, f"read and deform, {CUBE} of 512×512×300 int16", seconds_in_turn(works), {})
        add(
            rows,
            f"read, {CUBE} of 512×512×300 int16",
            seconds_in_turn({"hilum": (OURS, lambda: crops.draw(rng))}),
            {},
        )


def stored(folder: Path, voxels: np.ndarray) -> StoredCrops:
    reading.nib.save(reading.nib.Nifti1Image(voxels.T, np.eye(4)), folder / "scan.nii.gz")
    store = Store(str(folder / "store"))
    source = Source(str(folder), (SourceItem("scan.nii.gz"),), digests=("bench",))
    means = {"store": store, "executor": InlineExecutor(), "resources": Resources(), "read": read_item}
    manifest = ingest.run(IngestRecipe(patch_shape_zyx=CROP_CZYX[1:]), source, **means)
    recipe = PretrainRecipe(patch_shape_zyx=CROP_CZYX[1:], split=SplitRecipe(validation=0, test=0))
    crops = crops_of(store, volumes_of(store, manifest.run_id), recipe, "pool")
    assert crops is not None, "a scan of 512 × 512 × 300 has room"
    return crops


def add(rows: list[dict], what: str, seconds: dict[str, float], missing: dict[str, str]) -> None:
    """Print and keep one line for each peer; ours alone where there is none."""
    own = 1 / seconds["hilum"]
    print(f"\n{what}, {UNIT}\n  {'hilum':36} {own:12,.1f}")
    if set(seconds) == {"hilum"}:
        rows.append(missing_row(what, "none", own, unit=UNIT, reason="ours alone: there is nothing to compare"))
        return
    for peer in [*PEERS, *(set(seconds) - set(PEERS) - {"hilum"})]:
        if peer in seconds:
            rate = 1 / seconds[peer]
            print(f"  {peer:36} {rate:12,.1f}   hilum / this: {own / rate:8.2f}")
            rows.append(row(what, peer, own, rate, unit=UNIT))
        elif peer in missing:
            rows.append(missing_row(what, peer, own, unit=UNIT, reason=missing[peer]))


def main() -> None:
    torch.set_num_threads(1)
    genesis = pretexts.bind(Choice(kind="genesis"))()
    for name, (own, others) in check_alike(genesis).items():
        print(f"{name}: {own:.3f} ours, {others:.3f} published loops")
    print("what is wanted is a flip of the crop, in both")
    rows: list[dict] = []
    measure_deformations(rows)
    measure_mix_itself(rows, genesis)
    measure_air_test(rows)
    measure_reading(rows, genesis)
    write("genesis", rows)


if __name__ == "__main__":
    main()
