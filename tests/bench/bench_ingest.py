"""Ingest beside the readers it stands on, and two workers beside one.

Run with ``make bench THEME=ingest``. Of the same files, each reader makes voxels in memory and
does nothing else; hilum reads them to the last checksum, removes who it is, looks for writing and
faces, hashes, and writes sharded, compressed, checksummed Zarr through to the disk. They take
turns in one process; the figure is the median over turns, in megabytes of decoded voxels a second
of CPU, child processes included (`PERFORMANCE.md`, Method). Voxels are compared with the reader's.
"""

import contextlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import ingest_material as material
import nibabel as nib
import numpy as np
import psutil
import pydicom
import ray
import SimpleITK
from PIL import Image
from pydicom.pixels import apply_rescale
from rows import missing_row, row, write

from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.ray_data import RayExecutor, connect
from hilum.adapters.reading import read_item
from hilum.core.geometry import Patch
from hilum.core.ports import Executor
from hilum.core.recipes import IngestRecipe
from hilum.core.resources import Resources
from hilum.steps import ingest
from hilum.store.layout import Store
from hilum.store.manifest import Manifest
from hilum.store.volumes import open_volume, volumes_of

TURNS = 5
NUM_FILES, RAY_TURNS = 400, 3
"""Fifty shards: enough that the last ones, when a worker waits for the other, are few."""
Volumes = Iterator[np.ndarray]
Read = Callable[[Sequence[Path]], Volumes]


def by_nibabel(files: Sequence[Path]) -> Volumes:
    for file in files:
        # Without a map: what is only mapped has not been read.
        yield np.asarray(nib.load(file, mmap=False).dataobj)


def by_pydicom(files: Sequence[Path]) -> Volumes:
    """As pydicom's guide says: the slices by position, rescaled by pydicom's own function."""
    slices = sorted((pydicom.dcmread(file) for file in files), key=lambda s: s.ImagePositionPatient[2])
    yield np.stack([apply_rescale(s.pixel_array, s) for s in slices])


def by_pydicom_in_whole_numbers(files: Sequence[Path]) -> Volumes:
    """As who knows that these are whole numbers of 16 bits would write it."""
    slices = sorted((pydicom.dcmread(file) for file in files), key=lambda s: s.ImagePositionPatient[2])
    volume = np.empty((len(slices), *slices[0].pixel_array.shape), np.int16)
    for z, s in enumerate(slices):
        np.add(s.pixel_array.view(np.int16), np.int16(s.RescaleIntercept), out=volume[z])
    yield volume


def pictures_by_pydicom(files: Sequence[Path]) -> Volumes:
    for file in files:
        picture = pydicom.dcmread(file)
        pixels = apply_rescale(picture.pixel_array, picture)
        # White and black change places where the lowest value is white, of 15 bits or of 10.
        turned = picture.PhotometricInterpretation == "MONOCHROME1"
        yield 2**picture.BitsStored - 1 - pixels if turned else pixels


def by_pillow(files: Sequence[Path]) -> Volumes:
    for file in files:
        with Image.open(file) as image:
            yield np.asarray(image)


def by_simpleitk(files: Sequence[Path]) -> Volumes:
    for file in files:
        yield SimpleITK.GetArrayViewFromImage(SimpleITK.ReadImage(str(file)))


def series_by_simpleitk(files: Sequence[Path]) -> Volumes:
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(files[0].parent)))
    yield SimpleITK.GetArrayViewFromImage(reader.Execute())


SERIES: dict[str, Read] = {
    "pydicom": by_pydicom,
    "pydicom, rescaled in int16": by_pydicom_in_whole_numbers,
    "SimpleITK series reader": series_by_simpleitk,
}
NIFTI: dict[str, Read] = {"nibabel": by_nibabel, "SimpleITK": by_simpleitk}
PICTURES: dict[str, Read] = {"pydicom": pictures_by_pydicom, "SimpleITK": by_simpleitk}
PNG: dict[str, Read] = {"Pillow": by_pillow, "SimpleITK": by_simpleitk}
KINDS: dict[str, tuple[Callable[[Path], None], dict[str, Read]]] = {
    "NIfTI .nii.gz": (partial(material.nifti, packed=True), NIFTI),
    "NIfTI .nii": (partial(material.nifti, packed=False), NIFTI),
    "CT series, uncompressed": (partial(material.series, num_slices=material.SLICES, pack=material.plain), SERIES),
    **{
        f"CT series, {name}": (partial(material.series, num_slices=material.PACKED_SLICES, pack=pack), SERIES)
        for name, pack in (
            ("JPEG 2000", material.jpeg2000),
            ("JPEG-LS", material.jpeg_ls),
            ("RLE", material.rle),
            ("JPEG lossless", material.jpeg_lossless),
        )
    },
    "radiographs and slices, uncompressed": (partial(material.radiographs, packing="UNCR"), PICTURES),
    "radiographs and slices, JPEG 2000": (partial(material.radiographs, packing="J2KR"), PICTURES),
    "radiographs, grey PNG": (material.grey_pictures, PNG),
    "radiographs, coloured PNG": (material.coloured_pictures, PNG),
}


def by_hilum(folder: Path, store: Store, executor: Executor, num_workers: int = 1) -> Manifest:
    """The whole of `hilum ingest`, from finding the files to the manifest."""
    return ingest.run(
        IngestRecipe(),
        find_source(str(folder)),
        store=store,
        executor=executor,
        resources=Resources(num_ingest_workers=num_workers),
        read=read_item,
    )


def measure(folder: Path, peers: dict[str, Read]) -> dict[str, float]:
    """Megabytes of decoded voxels a second of CPU, by reader; hilum's under 'hilum'."""
    files = sorted(folder.iterdir())
    seconds: dict[str, list[float]] = {name: [] for name in ("hilum", *peers)}
    num_bytes = _check_same_voxels(folder, next(iter(peers.values()))(files))
    for _ in range(TURNS):
        with tempfile.TemporaryDirectory() as place:
            store = Store(f"{place}/store")
            seconds["hilum"].append(_cpu_seconds(partial(by_hilum, folder, store, InlineExecutor())))
        for name, read in peers.items():
            seconds[name].append(_cpu_seconds(partial(_read_all, read, files)))
    return {name: num_bytes / 1e6 / statistics.median(found) for name, found in seconds.items()}


def what_is_missing(read: Read, files: Sequence[Path]) -> str:
    """Why this reader cannot read these files here, or nothing."""
    try:
        next(iter(read(files)))
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return ""


def _read_all(read: Read, files: Sequence[Path]) -> None:
    for _ in read(files):
        pass


def _check_same_voxels(folder: Path, theirs: Volumes) -> int:
    """The bytes of all volumes, once everything that the reader finds is among what was ingested."""
    with tempfile.TemporaryDirectory() as place:
        store = Store(f"{place}/store")
        manifest = by_hilum(folder, store, InlineExecutor())
        assert manifest.results["num_quarantined"] == 0, folder
        ours = []
        for volume in volumes_of(store, manifest.run_id).values():
            whole = Patch(volume.volume_id, (0, 0, 0), volume.grid.shape_zyx)
            ours.append(open_volume(store, volume).read_CZYX(whole))
    for voxels in theirs:
        # A store has no 64 bits: fractions are the reader's, rounded to 32.
        assert any(np.array_equal(way, voxels.astype(way.dtype)) for mine in ours for way in _axes(mine)), folder
    return sum(voxels.nbytes for voxels in ours)


def _axes(image_CZYX: np.ndarray) -> list[np.ndarray]:
    """The same voxels as readers order them: slices, NIfTI's (i, j, k), a picture's rows of colours."""
    picture = image_CZYX[:, 0]
    return [image_CZYX[0], image_CZYX[0].T, picture[0], picture.transpose(1, 2, 0)]


def measure_workers() -> dict[int, tuple[float, float]]:
    """Files a second, by the clock and by CPU time, of one and of two warm workers of one Ray."""
    found: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "files")
        folder.mkdir()
        material.brains(folder, NUM_FILES)
        connect("local")
        by_hilum(folder, Store(f"{place}/warm"), RayExecutor(), 2)
        for turn in range(RAY_TURNS):
            for num_workers, turns in found.items():
                store = Store(f"{place}/{num_workers}-{turn}")
                begin, cpu = time.perf_counter(), _cpu_so_far()
                by_hilum(folder, store, RayExecutor(), num_workers)
                wall, cpu = time.perf_counter() - begin, _cpu_so_far() - cpu
                turns.append((NUM_FILES / wall, NUM_FILES / cpu))
                shutil.rmtree(store.url)
        ray.shutdown()
    return {
        n: (statistics.median(w for w, _ in turns), statistics.median(c for _, c in turns))
        for n, turns in found.items()
    }


def _cpu_seconds(work: Callable[[], object]) -> float:
    """Of this process and every one below it."""
    begin = _cpu_so_far()
    work()
    return _cpu_so_far() - begin


def _cpu_so_far() -> float:
    """Living children are asked one by one; those that ended are in what the system adds up."""
    me = psutil.Process()
    mine = me.cpu_times()
    total = mine.user + mine.system + mine.children_user + mine.children_system
    for child in me.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            total += times.user + times.system
    return total


def main() -> None:
    rows = []
    for kind, (make, peers) in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder))
            files = sorted(Path(folder).iterdir())
            missing = {peer: reason for peer, read in peers.items() if (reason := what_is_missing(read, files))}
            rates = measure(Path(folder), {peer: read for peer, read in peers.items() if peer not in missing})
        print(f"\n{kind}, MB of voxels/s of CPU\n  {'hilum, into the store':32} {rates['hilum']:8.0f}")
        unit = "MB of voxels/s of CPU"
        for peer in peers:
            if peer in missing:
                print(f"  {peer:32} not here: {missing[peer]}")
                rows.append(missing_row(f"ingest, {kind}", peer, rates["hilum"], unit=unit, reason=missing[peer]))
                continue
            print(f"  {peer:32} {rates[peer]:8.0f}   hilum / this: {rates['hilum'] / rates[peer]:6.2f}")
            rows.append(row(f"ingest, {kind}", peer, rates["hilum"], rates[peer], unit=unit))
    (one, one_cpu), (two, two_cpu) = (workers := measure_workers())[1], workers[2]
    print(f"\n{NUM_FILES} .nii.gz on Ray, files/s")
    for what, peer, ours, theirs in (
        ("by the clock", "one worker by the clock", two, one),
        ("by the clock", "one core: one worker by CPU time", two, one_cpu),
        ("by CPU time", "one worker by CPU time", two_cpu, one_cpu),
    ):
        print(f"  two workers {what} {ours:6.2f}   {peer} {theirs:6.2f}   ratio {ours / theirs:5.2f}")
        rows.append(row(f"ingest on two warm Ray workers, {what}", peer, ours, theirs, unit="files/s", threads=2))
    write("ingest", rows)


if __name__ == "__main__":
    main()
