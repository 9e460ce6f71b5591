"""Loss curves and pictures of a training as it runs, in TensorBoard or MLflow: ``tensorboard:FOLDER``, ``mlflow:URI``.

Both are the user's own to install; neither is imported unless it is asked for.
"""

import importlib
import io
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from PIL import Image

from hilum.core.errors import RequestError, unknown_name

_EXPERIMENT = "hilum"


class Tracker(Protocol):
    """Somebody who looks on while one training runs."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...

    def picture(self, step: int, png: bytes) -> None: ...

    def close(self) -> None: ...


class TensorBoardTracker:
    """One folder of events for each training."""

    def __init__(self, module: Any, folder: str, name: str) -> None:
        self._writer = module.SummaryWriter(log_dir=f"{folder.rstrip('/')}/{name}")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A point on each curve."""
        for label, value in values.items():
            self._writer.add_scalar(label, value, step)

    def picture(self, step: int, png: bytes) -> None:
        """A grey picture."""
        self._writer.add_image("pictures", np.asarray(_grey(png)), step, dataformats="HW")

    def close(self) -> None:
        self._writer.close()


class MlflowTracker:
    """One run for each training, in the experiment 'hilum'."""

    def __init__(self, module: Any, uri: str, name: str) -> None:
        self._client = module.MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(_EXPERIMENT)
        experiment_id = self._client.create_experiment(_EXPERIMENT) if found is None else found.experiment_id
        self._run_id = self._client.create_run(experiment_id, run_name=name).info.run_id

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A point on each curve."""
        for label, value in values.items():
            self._client.log_metric(self._run_id, label, value, step=step)

    def picture(self, step: int, png: bytes) -> None:
        """A file among the run's artifacts."""
        self._client.log_image(self._run_id, _grey(png), artifact_file=f"pictures/step-{step:08d}.png")

    def close(self) -> None:
        self._client.set_terminated(self._run_id)


_KINDS: dict[str, tuple[str, str, Callable[[Any, str, str], Tracker]]] = {
    "tensorboard": ("tensorboard", "torch.utils.tensorboard", TensorBoardTracker),
    "mlflow": ("mlflow", "mlflow", MlflowTracker),
}
"""For each word: what to install, what to import, and who then looks on."""


def tracker_maker(address: str) -> Callable[[str], Tracker]:
    """Makes a tracker for a training of a given name. RequestError if there is no such thing or it is not installed."""
    kind, separator, place = address.partition(":")
    if not separator or not place:
        raise RequestError(f"HILUM_TRACK must be tensorboard:FOLDER or mlflow:URI; given '{address}'.")
    if kind not in _KINDS:
        raise RequestError("HILUM_TRACK: " + unknown_name("tracker", kind, _KINDS))
    package, module_name, tracker = _KINDS[kind]
    try:
        module = importlib.import_module(module_name)
    except ImportError:
        raise RequestError(
            f"HILUM_TRACK asks for {kind}, which is not installed here. Install it (pip install {package}), or unset "
            "HILUM_TRACK to train without it."
        ) from None
    return lambda name: tracker(module, place, name)


def _grey(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("L")
