"""Trials on Ray Tune, with ASHA deciding which go on (https://arxiv.org/abs/1810.05934).

A trial is a plain function in one process that trains and scores by itself; the store, not
Tune, remembers what was done. So there is no Train below Tune (whose placement groups leak
without a dashboard), nothing of Tune's storage is kept, and a driver that was killed is simply
started again: trials tell their old rungs at once and train only what is missing.
"""

import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import ray
import ray.tune
from ray.tune import Callback, FailureConfig, RunConfig, TuneConfig, Tuner
from ray.tune.schedulers import AsyncHyperBandScheduler

from hilum.adapters.ray_data import connect
from hilum.core.errors import HilumError
from hilum.core.ports import Counts
from hilum.core.resources import Resources

Report = Callable[[Counts], None]
_WORST = float("-inf")
_QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # nobody reads Tune's own files
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the command, as everywhere
    "RAY_AIR_NEW_OUTPUT": "0",
}


def run_trials(
    work: Callable[[int, Report], None],
    numbers: Sequence[int],
    *,
    rungs: Sequence[int],
    reduction_factor: int,
    resources: Resources,
    on_rung: Callable[[int, Counts], None],
    on_end: Callable[[int], None],
) -> None:
    """Call ``work(number, report)`` for every trial, ``resources.num_parallel_branches`` at a time.

    A trial may be ended inside ``report``, when others were better after as many steps.
    ``on_rung`` and ``on_end`` are called here, as it happens.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    connect()
    each = {"CPU": resources.cpus_per_worker, "GPU": resources.gpus_per_worker}
    heard = _Told(on_rung, on_end)
    with tempfile.TemporaryDirectory(prefix="hilum-tune-") as storage:
        tuner = Tuner(
            ray.tune.with_resources(ray.tune.with_parameters(_trial, work=work), each),
            param_space={"number": ray.tune.grid_search(list(numbers))},
            tune_config=TuneConfig(
                scheduler=_asha(rungs, reduction_factor), max_concurrent_trials=resources.num_parallel_branches
            ),
            run_config=RunConfig(
                storage_path=storage,
                verbose=0,
                callbacks=[heard],
                failure_config=FailureConfig(max_failures=resources.max_failures),
            ),
        )
        # Tune misses the files of its own loggers, which nobody asked for.
        logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
        with _ctrl_c_told_to(heard):
            results = tuner.fit()
    if heard.errors:
        raise heard.errors[min(heard.errors)]
    if results.errors:
        raise HilumError(f"A trial failed on Ray Tune: {str(results.errors[0]).strip().splitlines()[-1]}")


def _asha(rungs: Sequence[int], reduction_factor: int) -> Any:
    """Rungs as ASHA counts them: from the first, each the factor times the one before, up to the last."""
    if len(rungs) == 1:
        return None  # nothing to cut short
    return AsyncHyperBandScheduler(
        time_attr="step",
        metric="rank",
        mode="max",
        max_t=rungs[-1],
        grace_period=rungs[0],
        reduction_factor=reduction_factor,
    )


def _trial(config: dict[str, Any], work: Callable[[int, Report], None]) -> None:
    """One trial in its own process. A user's mistake is told and not tried again."""

    def report(rung: Counts) -> None:
        ray.tune.report({**rung, "rank": _WORST if rung["score"] is None else rung["score"]})

    try:
        work(config["number"], report)
    except HilumError as error:
        ray.tune.report({"error": error, "step": 0, "rank": _WORST})


class _Told(Callback):  # type: ignore[misc]
    """Passes on what Tune hears."""

    def __init__(self, on_rung: Callable[[int, Counts], None], on_end: Callable[[int], None]) -> None:
        self._on_rung, self._on_end = on_rung, on_end
        self.errors: dict[int, HilumError] = {}
        self.interrupted = False

    def on_step_begin(self, iteration: int, trials: Any, **_: Any) -> None:  # noqa: ARG002
        if self.interrupted:
            raise KeyboardInterrupt

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **_: Any) -> None:  # noqa: ARG002
        if "score" in result:
            self._on_rung(trial.config["number"], result)
        elif "error" in result:
            self.errors[trial.config["number"]] = result["error"]

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:  # noqa: ARG002
        if trial.config["number"] not in self.errors:
            self._on_end(trial.config["number"])


@contextmanager
def _ctrl_c_told_to(heard: _Told) -> Iterator[None]:
    """Ctrl-C that is raised inside a finaliser is lost, and Tune would go on: it is raised again at the next step."""

    def interrupt(*_: Any) -> NoReturn:
        heard.interrupted = True
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if heard.interrupted:
        raise KeyboardInterrupt
