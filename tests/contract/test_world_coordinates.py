"""A known voxel stays at its known place in the patient: through ingest, patch, prediction and export.

The judge is SimpleITK, which shares no code with hilum's own reading of NIfTI. Its world is
LPS, ours RAS: x and y change sign.
"""

import itertools
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (what everybody calls it)

from hilum.adapters.directory import Directory
from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.reading import read_item
from hilum.core.asking import Candidate, Chosen, Task
from hilum.core.geometry import Patch
from hilum.core.imaging import Volume
from hilum.core.recipes import IngestRecipe
from hilum.core.resources import Resources
from hilum.nn.infer import sliding_window
from hilum.steps import ingest
from hilum.store.layout import Store
from hilum.store.opening import create_store
from hilum.store.volumes import open_volume, volumes_of

SHAPE_IJK = (14, 11, 9)
KNOWN_IJK = (9, 4, 6)
KNOWN = 4000
PATCH = ((3, 2, 5), (5, 7, 8))
"""Start and shape (Z, Y, X) of a patch that holds the known voxel."""
TOLERANCE_MM = 1e-3


def rotation(*degrees):
    """A turn about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        a, b = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def affine(spacing_ijk, turned=(0, 0, 0), axes=(0, 1, 2), origin=(-31.5, 22.25, 103.0)):
    """From (i, j, k) to RAS millimetres: array axes in any order and direction, then turned."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(*turned) @ np.eye(3)[:, list(axes)] @ np.diag(spacing_ijk)
    matrix[:3, 3] = origin
    return matrix


GEOMETRIES = {
    "straight": affine((1, 1, 1)),
    "left-right flipped": affine((-1.5, 1.5, 3)),
    "all flipped": affine((-0.7, -0.8, -0.9)),
    "anisotropic": affine((0.4, 0.6, 5)),
    "sagittal": affine((3, 0.5, 0.5), axes=(1, 2, 0)),
    "coronal flipped": affine((-0.5, 2, 0.5), axes=(0, 2, 1)),
    "oblique": affine((0.9, 1.1, 2.5), (20, -35, 12)),
    "oblique flipped": affine((-0.9, 1.1, -2.5), (-5, 50, 100)),
}


def voxels_IJK():
    voxels = np.random.default_rng(8).integers(0, 1000, SHAPE_IJK).astype(np.int16)
    voxels[KNOWN_IJK] = KNOWN
    return voxels


def write_nifti(path, matrix, *, kind=nib.Nifti1Image, endianness="<", forms="both"):
    header = kind.header_class(endianness=endianness)
    header.set_data_dtype(np.int16)
    image = kind(voxels_IJK(), None, header)
    image.header.set_xyzt_units("mm")
    image.set_sform(matrix, 0 if forms == "qform" else 1)
    image.set_qform(matrix, 0 if forms == "sform" else 1)
    nib.save(image, path)


def write_itk(path, matrix, *, compressed=False):
    image = sitk.GetImageFromArray(voxels_IJK().transpose(2, 1, 0))
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((np.diag([-1, -1, 1]) @ matrix[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((matrix[:3, 3] * [-1, -1, 1]).tolist())
    sitk.WriteImage(image, str(path), compressed)


WRITERS = {
    "scan.nii": write_nifti,
    "packed.nii.gz": write_nifti,
    "qform.nii": lambda path, matrix: write_nifti(path, matrix, forms="qform"),
    "sform.nii": lambda path, matrix: write_nifti(path, matrix, forms="sform"),
    "big-endian.nii": lambda path, matrix: write_nifti(path, matrix, endianness=">"),
    "pair.hdr": lambda path, matrix: write_nifti(path, matrix, kind=nib.Nifti1Pair, endianness=">"),
    "scan.nrrd": lambda path, matrix: write_itk(path, matrix, compressed=True),
    "apart.nhdr": write_itk,
    "scan.mha": lambda path, matrix: write_itk(path, matrix, compressed=True),
    "apart.mhd": write_itk,
}


@dataclass
class Ingested:
    store: Store
    ingest_id: str
    volume: Volume
    judge: sitk.Image

    def world(self, index_ijk):
        """Where the judge says a voxel is, in RAS millimetres."""
        x, y, z = self.judge.TransformIndexToPhysicalPoint([int(n) for n in index_ijk])
        return np.array([-x, -y, z])


@pytest.fixture
def ingested(tmp_path, file, matrix):
    (tmp_path / "in").mkdir()
    WRITERS[file](tmp_path / "in" / file, matrix)
    store, _ = create_store(str(tmp_path / "store"))
    source = find_source(str(tmp_path / "in"))
    here = {"store": store, "executor": InlineExecutor(), "resources": Resources(), "read": read_item}
    manifest = ingest.run(IngestRecipe(patch_shape_zyx=(4, 4, 4)), source, **here)
    assert manifest.results["num_quarantined"] == 0
    (volume,) = volumes_of(store, manifest.run_id).values()
    judge = sitk.ReadImage(str(tmp_path / "in" / file))
    return Ingested(store, manifest.run_id, volume, judge)


def place_of_known(voxels_ZYX):
    return np.unravel_index(int(np.argmax(voxels_ZYX)), voxels_ZYX.shape)


def cases(*files):
    pairs = [pytest.param(f, m, id=f"{f} {name}") for f, (name, m) in itertools.product(files, GEOMETRIES.items())]
    return pytest.mark.parametrize(("file", "matrix"), pairs)


@cases(*WRITERS)
def test_every_voxel_is_where_the_judge_says_and_so_is_every_voxel_of_a_patch(ingested):
    volume, judge = ingested.volume, ingested.judge
    image = open_volume(ingested.store, volume).read_CZYX(Patch(volume.volume_id, (0, 0, 0), volume.grid.shape_zyx))
    assert volume.flags == ()
    assert np.array_equal(image[0], sitk.GetArrayViewFromImage(judge))
    for ijk in [KNOWN_IJK, *itertools.product(*[(0, n - 1) for n in SHAPE_IJK])]:
        assert np.allclose(volume.grid.index_to_world(ijk[::-1]), ingested.world(ijk), atol=TOLERANCE_MM)
    patch = Patch(volume.volume_id, *PATCH)
    seen = open_volume(ingested.store, volume).read_CZYX(patch)[0]
    found = place_of_known(seen)
    assert seen[found] == KNOWN
    grid = volume.grid.cropped(patch.start_zyx, patch.shape_zyx)
    assert np.allclose(grid.index_to_world(found), ingested.world(KNOWN_IJK), atol=TOLERANCE_MM)


@cases("scan.nii", "big-endian.nii", "apart.nhdr")
def test_what_is_predicted_and_exported_is_where_it_was_seen(ingested, tmp_path):
    volume, patch = ingested.volume, Patch(ingested.volume.volume_id, *PATCH)
    reader = open_volume(ingested.store, volume)
    probs = sliding_window(
        patch,
        (3, 4, 4),
        read=lambda part: (reader.read_CZYX(part) > KNOWN - 1).astype(np.float32),
        predict=lambda images: np.concatenate([1 - images, images], axis=1),
    )
    draft = probs.argmax(axis=0).astype(np.uint16)
    assert draft.sum() == 1
    chosen = Chosen(Candidate(patch, volume.study.patient_id), 0, "all", 0.0, "known")
    task = Task("selection", chosen, "segment", ("background", "known"), draft_label_map_zyx=draft)
    Directory(ingested.store, ingested.ingest_id, folder=str(tmp_path / "asked")).publish([task])
    for name in ("image.nii.gz", "draft.nii.gz"):
        (path,) = (tmp_path / "asked").rglob(name)
        exported = sitk.ReadImage(str(path))
        found = place_of_known(sitk.GetArrayViewFromImage(exported))
        x, y, z = exported.TransformIndexToPhysicalPoint([int(n) for n in found[::-1]])
        assert np.allclose((-x, -y, z), ingested.world(KNOWN_IJK), atol=TOLERANCE_MM)
