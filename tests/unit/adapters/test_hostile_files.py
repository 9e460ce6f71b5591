"""Every kind of bad file is refused by one class of error, early and in one sentence, and hides no good one.

Rows D1 to D9 and D11 of what the project promises about broken and hostile input. Files are
read in a process of its own whose memory is limited, as one that holds a hospital's data would be.
"""

import gzip
import io
import multiprocessing
import re
import resource
import shutil
import signal
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom.data
import pytest
import SimpleITK as sitk  # noqa: N813 (what everybody calls it)
import tifffile
from tests.unit.adapters.hostile_corpus import GOOD, nifti, png, scan_XYZ, write_corpus

from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.reading import read_item
from hilum.core.errors import DataError
from hilum.core.recipes import IngestRecipe
from hilum.core.resources import Resources
from hilum.core.sources import SourceItem
from hilum.steps import ingest
from hilum.store.opening import create_store

MEMORY_BYTES = 1 << 30
LONGEST_SECONDS = 5
MUTATIONS = 2_000
MAX_BYTES = 64 << 20


def peak_bytes():
    """This process's own peak: ru_maxrss would remember the size of the process that started it, too."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) << 10


def limit_memory():
    """From here on the process may ask for a gibibyte more than it has; beyond that it gets MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


@pytest.fixture(scope="module")
def apart():
    """A process of its own: a crash or a hang in it fails the test that caused it, and no other."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=limit_memory) as pool:
        yield lambda work, *arguments: pool.submit(work, *arguments).result()


def take_in(folder, store):
    """What an ingest of the folder keeps and what it sets aside, and the most memory that it had."""
    made, _ = create_store(store)
    source = find_source(folder)
    here = {"store": made, "executor": InlineExecutor(), "resources": Resources(), "read": read_item}
    manifest = ingest.run(IngestRecipe(), source, **here)
    peak = peak_bytes()
    return manifest.results, ingest.quarantined_files(made, manifest, source), peak


@pytest.fixture(scope="module")
def taken_in(tmp_path_factory, apart):
    folder = tmp_path_factory.mktemp("hostile")
    reasons = write_corpus(folder)
    before = {path for path in Path("/tmp").iterdir() if "outside" in path.name}
    answer = apart(take_in, str(folder / "in"), str(folder / "store"))
    yield reasons, *answer, folder
    assert {path for path in Path("/tmp").iterdir() if "outside" in path.name} == before
    shutil.rmtree(folder)


def test_exactly_the_bad_files_are_set_aside(taken_in):
    reasons, results, refused, _, _ = taken_in
    assert sorted(name for name, _ in refused) == sorted(reasons)
    assert results["num_volumes"] == 3
    assert results["num_quarantined"] == len(reasons)


def test_each_is_told_why_in_a_sentence_without_its_name(taken_in):
    reasons, _, refused, _, folder = taken_in
    for name, reason in refused:
        assert reasons[name] in reason, name
        assert reason.endswith("."), name
        assert "\n" not in reason
        assert Path(name).name not in reason
        assert str(folder) not in reason
        assert "Traceback" not in reason


def test_a_bomb_of_three_gibibytes_is_taken_in_less_than_one(taken_in):
    assert taken_in[3] < MEMORY_BYTES


def test_nothing_is_written_outside_of_the_store(taken_in):
    folder = taken_in[-1]
    assert sorted(path.name for path in folder.iterdir()) == ["in", "outside", "store"]
    assert [path.name for path in (folder / "outside").iterdir()] == ["secret.nii"]


def test_what_a_link_points_to_is_in_no_byte_of_the_store(tmp_path):
    secret = scan_XYZ(77)
    (tmp_path / "secret.nii").write_bytes(nifti(secret))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "good.nii").write_bytes(GOOD)
    (tmp_path / "in" / "link.nii").symlink_to(tmp_path / "secret.nii")
    results, refused, _ = take_in(str(tmp_path / "in"), str(tmp_path / "store"))
    assert (results["num_volumes"], [name for name, _ in refused]) == (1, ["link.nii"])


def test_a_limit_that_the_user_sets_holds_before_a_voxel_gets_memory(apart, tmp_path):
    (tmp_path / "big.nii.gz").write_bytes(gzip.compress(nifti(np.zeros((300, 300, 300), np.int16)), 1))
    assert (
        apart(refusal, str(tmp_path), "big.nii.gz", 50 << 20)
        == "The file says it holds 0.0503 GiB; at most 0.0488 GiB are read."
    )
    assert apart(refusal, str(tmp_path), "big.nii.gz", 60 << 20) is None


def refusal(folder, name, max_bytes):
    try:
        list(read_item(folder, SourceItem(name), max_bytes=max_bytes))
    except DataError as error:
        return str(error)
    return None


def originals():
    """One sound file of each kind, and whether a checksum covers every byte that matters."""
    stack = io.BytesIO()
    rng = np.random.default_rng(3)
    np.savez_compressed(stack, images=rng.integers(0, 255, (6, 8, 9)).astype(np.uint8), labels=np.arange(6))
    dicom = pydicom.data.get_testdata_file("CT_small.dcm", download=False)
    return {
        "original.nii": (nib.Nifti1Image(scan_XYZ(), np.eye(4)).to_bytes(), False),
        "original.nii.gz": (gzip.compress(GOOD, mtime=0), True),
        "original.dcm": (Path(dicom).read_bytes(), False),
        "original.png": (png(rng.integers(0, 255, (20, 30)).astype(np.uint8)), True),
        "original.npz": (stack.getvalue(), True),
        "original.tif": (tiff(scan_XYZ()), False),
        "original.mha": (itk("mha"), True),
        "original.nrrd": (itk("nrrd"), True),
    }


def tiff(voxels):
    sink = io.BytesIO()
    tifffile.imwrite(sink, voxels, compression="zlib", photometric="minisblack")
    return sink.getvalue()


def itk(ending):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"image.{ending}")
        sitk.WriteImage(sitk.GetImageFromArray(scan_XYZ()), str(path), True)
        return path.read_bytes()


def mutated(payload, rng):
    """The file with some bytes changed, cut, doubled or put elsewhere; headers are hit as often as voxels."""
    changed = bytearray(payload)
    for _ in range(int(rng.integers(1, 6))):
        reach = len(changed) if rng.random() < 0.5 else min(len(changed), 512)
        place = int(rng.integers(0, reach)) if reach else 0
        length = int(rng.integers(1, 9))
        match int(rng.integers(0, 8)):
            case 0:
                del changed[place:]
            case 1:
                del changed[place : place + length]
            case 2:
                changed[place:place] = changed[place : place + 16 * length]
            case 3:
                changed[place : place + length] = rng.choice([b"\0", b"\xff", b"\x7f"]) * length
            case _:
                changed[place : place + length] = rng.bytes(length)
    return bytes(changed)


def content(images):
    """What was read, in a form that can be compared."""
    return [
        (i.image_digest(), i.label_digest(), i.grid, i.classes, i.class_names, i.patient, i.side, i.item_shape_zyx)
        for i in images
    ]


def fuzz(folder, name, payload):
    """How many mutations were refused, read as the original, and read as something else."""
    item, file = SourceItem(name), Path(folder, name)
    file.write_bytes(payload)
    original = content(read_item(folder, item, max_bytes=MAX_BYTES))
    rng = np.random.default_rng([2026, *name.encode()])
    tally = Counter()
    for _ in range(MUTATIONS):
        file.write_bytes(mutated(payload, rng))
        # Without a handler of Python's this ends the process even in the middle of a C function.
        signal.alarm(LONGEST_SECONDS)
        try:
            found = content(read_item(folder, item, max_bytes=MAX_BYTES))
            tally["same" if found == original else "other"] += 1
        except DataError as error:
            tally["refused" if str(error).endswith(".") else "no sentence"] += 1
        finally:
            signal.alarm(0)
    return dict(tally), peak_bytes()


@pytest.mark.parametrize("name", sorted(originals()))
def test_two_thousand_mutations_are_refused_or_read_and_never_silently_other(apart, tmp_path, name):
    payload, has_checksum = originals()[name]
    tally, peak = apart(fuzz, str(tmp_path), name, payload)
    assert sum(tally.values()) == MUTATIONS
    assert "no sentence" not in tally
    assert tally["refused"] > MUTATIONS // 10
    assert peak < MEMORY_BYTES
    if has_checksum:
        assert tally.get("other", 0) == 0
