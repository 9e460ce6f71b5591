"""Images the model was unsure of, kept for the next campaign: without identity, and where their sender consents."""

import hashlib
import io
import logging

import numpy as np

from hilum.adapters.nifti_patches import nifti_bytes
from hilum.core.sources import ReadImage
from hilum.loop.answering.answer import Answer
from hilum.store.layout import Store, filesystem
from hilum.store.manifest import write_bytes

CONSENT = "hilum-consent"
GIVEN = "given"
MOST_KEPT = 10_000
_log = logging.getLogger("hilum.services")


class Keeping:
    """Keeps what its sender consents to and the model was unsure of, or did not know: in unsure/ of the store.

    ``from_uncertainty``: from which uncertainty on, 0 to 1; None keeps nothing. An image is kept once, and no more than
    ten thousand are.
    """

    def __init__(self, store: Store, from_uncertainty: float | None) -> None:
        self._store, self._from = store, from_uncertainty

    def wants(self, answer: Answer, consent: str | None) -> bool:
        if self._from is None or consent != GIVEN:
            return False
        return bool(answer.uncertainty >= self._from or answer.is_unlike)

    def keep(self, image: ReadImage) -> None:
        """Write voxels and grid, and nothing else that the file said, as a file that `hilum ingest` reads."""
        content, ending = _as_file(image)
        folder = self._store.path("unsure")
        fs, path = filesystem(folder)
        if fs.exists(path) and len(fs.ls(path, detail=False)) >= MOST_KEPT:
            _log.warning("%d images are kept in %s; ingest them and empty it.", MOST_KEPT, "unsure/")
            return
        name = hashlib.sha256(content).hexdigest()[:32]
        write_bytes(f"{folder}/{name}{ending}", content, only_if_absent=True)


def _as_file(image: ReadImage) -> tuple[bytes, str]:
    """NIfTI for scans, an .npz for what has no place in space: it keeps grey levels and colours as they are."""
    if image.measured_grid and image.image_czyx.shape[0] == 1:
        return nifti_bytes(image.image_czyx, image.grid), ".nii.gz"
    channels_last = np.moveaxis(image.image_czyx, 0, -1)
    depth = image.item_shape_zyx[0]
    items = channels_last.reshape(-1, depth, *channels_last.shape[1:])
    stream = io.BytesIO()
    np.savez_compressed(stream, images=items if items.shape[-1] > 1 else items[..., 0])
    return stream.getvalue(), ".npz"
