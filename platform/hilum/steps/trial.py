"""trial: one training of a sweep, scored at its rungs on the validation side.

inputs: ``labels``, ``ingest``, ``pool``. files: ``rung-<step>.json``, each written when it is
reached. A trial that a sweep cuts short has no manifest, but its rungs and its training's state
stay: whoever runs it again goes on from there. The last rung is an ordinary `finetune` run.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial

from hilum.core.errors import NotFoundError
from hilum.core.ids import content_id
from hilum.core.ports import Counts, Executor
from hilum.core.recipes import PromoteRecipe
from hilum.core.resources import Resources
from hilum.core.sweeps import TrialRecipe
from hilum.nn.train_loop import network_tensors
from hilum.steps import evaluate, finetune
from hilum.steps.promote import metric_name, value_of
from hilum.steps.training_run import workable
from hilum.store import checkpoints
from hilum.store.labels import NONE
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run, read_json, read_manifest, write_json

STEP = "trial"
STEP_VERSION = 1
Report = Callable[[Counts], None]


def run(
    recipe: TrialRecipe,
    inputs: Mapping[str, str],
    *,
    store: Store,
    executor: Executor,
    resources: Resources,
    report: Report,
) -> Manifest:
    """Climb the rungs, telling ``report`` of each; what was climbed before is told and not done again."""
    this = run_of(recipe, inputs, store)
    for step in recipe.rungs:
        rung = rung_at(this, step)
        if rung is None:
            checkpoint_id = _trained_to(step, this, recipe, inputs, store=store, executor=executor, resources=resources)
            rung = _scored(checkpoint_id, step, recipe, inputs, store=store, executor=executor, resources=resources)
            write_json(_url(this, step), rung)
        if step == recipe.rungs[-1]:
            # Before it is told: whoever hears of the last rung may end this process.
            this.commit(files=[f"rung-{climbed}.json" for climbed in recipe.rungs], **rung)
            checkpoints.remove_state(this.url)
        report(rung)
    return read_manifest(this.url)


def run_of(recipe: TrialRecipe, inputs: Mapping[str, str], store: Store) -> Run:
    """The run that this trial is, finished or not."""
    return Run(store, STEP, STEP_VERSION, recipe, inputs)


def rung_at(this: Run, step: int) -> Counts | None:
    """What was found after ``step`` steps, or None if nobody has come so far."""
    try:
        found: Counts = read_json(_url(this, step))
    except NotFoundError:
        return None
    return found


def _trained_to(
    step: int,
    this: Run,
    recipe: TrialRecipe,
    inputs: Mapping[str, str],
    *,
    store: Store,
    executor: Executor,
    resources: Resources,
) -> str:
    """The checkpoint after ``step`` steps; training goes on from the state of the rung before."""
    start = recipe.finetune.checkpoint or NONE
    learnt_from = {"labels": inputs["labels"], "start": start, "ingest": inputs["ingest"]}
    if step == recipe.rungs[-1]:
        _hand_over(this, recipe, learnt_from, store)
        return finetune.run(recipe.finetune, learnt_from, store=store, executor=executor, resources=resources).run_id
    card = finetune.card_of(recipe.finetune, learnt_from, store)
    work = partial(
        finetune.train_worker, store=store, run_url=this.url, recipe=recipe.finetune, card=card, stop_at=step
    )
    name = f"trial-{this.run_id}-{step}"
    executor.train(work, name=name, resources=workable(resources, recipe.finetune))
    state = checkpoints.load_state(this.url)
    assert state is not None, "a training that paused has saved its state"
    checkpoint_id = content_id([STEP, STEP_VERSION, this.run_id, step])
    checkpoints.save(store, checkpoint_id, network_tensors(state[0]), {**card, "paused_at_step": step})
    return checkpoint_id


def _hand_over(this: Run, recipe: TrialRecipe, learnt_from: Mapping[str, str], store: Store) -> None:
    """Let the finetune run of the same training go on from this trial's state, unless it is further itself."""
    whole = Run(store, "finetune", finetune.STEP_VERSION, recipe.finetune, learnt_from)
    ours, theirs = checkpoints.load_state(this.url), checkpoints.load_state(whole.url)
    if whole.finished() is None and ours is not None and (theirs is None or theirs[1] < ours[1]):
        checkpoints.save_state(whole.url, ours[0], step=ours[1], notes=ours[2])


def _scored(
    checkpoint_id: str,
    step: int,
    recipe: TrialRecipe,
    inputs: Mapping[str, str],
    *,
    store: Store,
    executor: Executor,
    resources: Resources,
) -> Counts:
    """Score, step and checkpoint. The metric is null where it has no value."""
    looked_at = {"checkpoint": checkpoint_id, "ingest": inputs["ingest"], "pool": inputs["pool"]}
    measured = evaluate.run(recipe.evaluate, looked_at, store=store, executor=executor, resources=resources)
    metric = metric_name(PromoteRecipe(metric=recipe.metric), measured)
    score = value_of(measured, metric)
    assert score is None or math.isfinite(score)
    return {
        "step": step,
        "metric": metric,
        "score": score,
        "checkpoint": checkpoint_id,
        "evaluate": measured.run_id,
    }


def _url(this: Run, step: int) -> str:
    return this.path(f"rung-{step}.json")
