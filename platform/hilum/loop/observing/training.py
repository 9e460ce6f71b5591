"""The newest training of a campaign: how it went, or how it goes."""

import math
from dataclasses import dataclass

from hilum.core.errors import NotFoundError
from hilum.core.ports import Meter
from hilum.steps.progress_file import read_progress
from hilum.store.layout import Store
from hilum.store.manifest import read_json, read_manifest

TIMING = "timing.json"


@dataclass(frozen=True)
class Training:
    """``progress`` and ``wait_share`` are shares, ``loss`` is the last reported. None: not known."""

    progress: float
    loss: float | None = None
    wait_share: float | None = None
    step_seconds: float | None = None

    def tell(self, meter: Meter, campaign: str) -> None:
        """Whatever is known of it; a loss that is not a number is told as one."""
        meter.set("hilum_finetune_progress", self.progress, campaign=campaign)
        told = {
            "hilum_finetune_loss": self.loss,
            "hilum_finetune_wait_share": self.wait_share,
            "hilum_finetune_step_seconds": self.step_seconds,
        }
        for metric, value in told.items():
            if value is not None:
                meter.set(metric, value, campaign=campaign)


def finished_training(store: Store, run_id: str) -> Training:
    """A training that is over."""
    url = store.run("finetune", run_id)
    loss = read_manifest(url).results.get("loss")
    try:
        timing = read_json(f"{url}/{TIMING}")
    except NotFoundError:
        timing = {}  # it is no part of the result, and may be gone
    per_second = timing.get("steps_per_second")
    return Training(
        progress=1.0,
        loss=math.nan if loss is None else float(loss),
        wait_share=timing.get("wait_share"),
        step_seconds=1 / per_second if per_second else None,
    )


def running_training(store: Store, run_id: str) -> Training:
    """A training that is running: what it told last."""
    progress = read_progress(store.run("finetune", run_id))
    if progress is None or not progress.reports:
        return Training(progress=0.0)
    last = progress.reports[-1]
    return Training(last["step"] / progress.num_steps, loss=last["loss"], wait_share=last.get("wait_share"))
