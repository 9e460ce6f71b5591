"""Real brains to be asked about: the packaged set, whole axial slices of it, and the voxels straight from its files."""

from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt

from hilum.adapters import packaged
from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.reading import read_item
from hilum.core.recipes import CampaignRecipe, IngestRecipe
from hilum.core.resources import Resources
from hilum.steps import ingest
from hilum.store.layout import Store
from hilum.store.opening import create_store

CLASSES = ("background", *packaged.DEEP)
ASKED_ABOUT = "mni152.nii"


def taken_in(folder: Path) -> tuple[Store, str]:
    """The three brains in a store, and their ingest."""
    files = folder / "brains"
    files.mkdir(parents=True)
    packaged.write_segment(files)
    store, _ = create_store(str(folder / "store"))
    manifest = ingest.run(
        IngestRecipe(class_names=CLASSES),
        find_source(str(files)),
        store=store,
        executor=InlineExecutor(),
        resources=Resources(),
        read=read_item,
    )
    return store, manifest.run_id


def recipe(*, num: int) -> CampaignRecipe:
    """One round over axial slices, and a training of a second or two."""
    return CampaignRecipe.model_validate(
        {
            "question": "segment",
            "pool": {"slices": {"plane": "axial", "every": 2}, "min_occupancy": 0.4},
            "score": {"scorers": [{"kind": "entropy"}]},
            "select": {"arms": [{"share": 1.0, "sampler": {"kind": "top_k", "score": "entropy"}}]},
            "annotator": {"kind": "label_studio"},
            "finetune": {
                "architecture": {"kind": "unet", "depth": 1, "features": [4, 8]},
                "num_steps": 2,
                "batch_size": 2,
            },
            "campaign": {"num_per_round": num, "num_in_total": num},
        }
    )


def as_radiologists_see(folder: Path, kind: str, slice_z: int) -> npt.NDArray[np.uint8]:
    """An axial slice of what people are asked about, from its NIfTI file: (rows from the front, columns from the
    patient's right)."""
    volume = nib.load(folder / "brains" / kind / ASKED_ABOUT)
    assert nib.aff2axcodes(volume.affine) == ("R", "A", "S")
    return np.asarray(volume.dataobj)[::-1, ::-1, slice_z].T
