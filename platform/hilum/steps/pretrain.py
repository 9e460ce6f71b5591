"""pretrain: from scans that nobody labelled to a checkpoint that others start from.

inputs: ``ingest``. files: ``history.json``, the loss curve; ``pictures/step-*.png``, what the network makes of
crops of patients it does not learn from. The checkpoint has the run's id. results: the loss, and of a pretext
that restores, the error of its restorations beside that of copying what it was shown; how many scans were learnt
from, and how many left out because no crop has room in them. A recipe with a ``discovery`` has the step `discover`
done first.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from hilum.core.imaging import Side
from hilum.core.ports import Counts, Executor, TrainContext
from hilum.core.recipes import Choice, PretrainRecipe
from hilum.core.registry import pretexts
from hilum.core.resources import Resources
from hilum.nn.first_weights import draw_first_weights
from hilum.nn.heads import num_parameters, resolved
from hilum.nn.pretext.pretext import Floats
from hilum.nn.pretext.teaching import PuzzleTeacher, held_out_errors
from hilum.nn.readers import Readers
from hilum.nn.train_loop import reproducible, train
from hilum.steps import discover
from hilum.steps.album import Album
from hilum.steps.crops import check_scans, crops_of, num_channels_of, scans_of, volumes_among
from hilum.steps.pretraining_card import QUESTION, pretext_of_card, pretraining_card
from hilum.steps.progress_file import told_in
from hilum.steps.scan_voxels import ScanVoxels
from hilum.steps.scans import DiscoveredCrops, discovered_patches
from hilum.steps.training_run import RunFolder, counts_of, publish_training
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run
from hilum.store.volumes import volumes_of

__all__ = ["QUESTION", "STEP_VERSION", "card_of", "pretext_of_card", "run", "train_worker"]

STEP_VERSION = 2
_SIDES_LOOKED_AT: tuple[Side, Side] = ("pool", "validation")


def run(
    recipe: PretrainRecipe, inputs: Mapping[str, str], *, store: Store, executor: Executor, resources: Resources
) -> Manifest:
    """Pretrain on every scan of the pool's patients; the checkpoint appears when training has ended."""
    this = Run(store, "pretrain", STEP_VERSION, recipe, inputs)
    before = this.finished()
    if before is not None:
        return before
    found = None
    if recipe.discovery is not None:
        found = discover.run(recipe.discover, inputs, store=store, executor=executor, resources=resources)
    card = card_of(recipe, inputs, store, discovery=found)
    results: dict[str, Any] = {}
    if found is not None:
        results = {"discovery": found.run_id, "num_classes": found.results["num_classes"]}
    work = partial(
        train_worker, store=store, run_url=this.url, recipe=recipe, card=card, num_readers=resources.num_readers
    )
    num_scans, num_left_out = check_scans(volumes_of(store, inputs["ingest"]), recipe)
    results |= {"num_scans": num_scans, "num_scans_left_out": num_left_out}
    return publish_training(
        this, work, recipe, card, store=store, executor=executor, resources=resources, results=results
    )


def train_worker(
    context: TrainContext,
    *,
    store: Store,
    run_url: str,
    recipe: PretrainRecipe,
    card: Mapping[str, Any],
    num_readers: int = 0,
    stop_at: int | None = None,
) -> Counts:
    """One worker of the pretraining. Only ids, the recipe and the card came here; scans are read from the store."""
    volumes = volumes_of(store, card["inputs"]["ingest"])
    voxels = ScanVoxels(store, volumes_among(*(scans_of(volumes, recipe, side)[0] for side in _SIDES_LOOKED_AT)))
    crops, held_out = (crops_of(store, volumes, recipe, side, voxels=voxels) for side in _SIDES_LOOKED_AT)
    assert crops is not None, "`card_of` has looked"
    pretext, network = pretext_of_card(card, seed=recipe.seed)
    draw_first_weights(network, recipe.first_weights, seed=recipe.seed)
    numbered = _numbered(card, store, recipe)
    teacher = PuzzleTeacher(recipe, pretext, crops, held_out=held_out, numbered=numbered)
    if context.rank == 0:
        teacher.look_on = Album(run_url, pretext, teacher, every=recipe.pictures_every, last=recipe.num_steps).look
    readers, memory = Readers(num_readers), RunFolder(run_url)
    with told_in(run_url, context, num_steps=recipe.num_steps) as told:
        history = train(recipe, network, teacher, context=told, memory=memory, readers=readers, stop_at=stop_at)
    network.eval()
    with reproducible():
        errors = held_out_errors(pretext, network, teacher.all_held_out())
    return counts_of(
        recipe, history, context, readers, stop_at=stop_at, num_parameters=num_parameters(network), **errors
    )


def card_of(
    recipe: PretrainRecipe, inputs: Mapping[str, str], store: Store, *, discovery: Manifest | None = None
) -> dict[str, Any]:
    """Everything needed to build the network again, checked before any worker starts."""
    volumes = volumes_of(store, inputs["ingest"])
    check_scans(volumes, recipe)
    pretext, inputs = recipe.pretext, dict(inputs)
    if discovery is not None:
        found = {name: discovery.results[name] for name in ("num_classes", "num_crops")}
        pretext, inputs["discovery"] = Choice(kind=pretext.kind, **pretext.params | found), discovery.run_id
    card = pretraining_card(recipe, inputs, pretext=pretext, in_channels=num_channels_of(volumes))
    posing, _ = pretext_of_card(card)
    # A crop that is too small for its pretext is told of here, not by a reader's thread.
    posing.pose(np.zeros((card["in_channels"], *recipe.patch_shape_zyx), np.float32), np.random.default_rng(0))
    return card


def check_recipe(recipe: PretrainRecipe) -> None:
    """RecipeError when the pretext or the architecture cannot be meant."""
    pretexts.bind(recipe.pretext)
    resolved(recipe.architecture)


def _numbered(card: Mapping[str, Any], store: Store, recipe: PretrainRecipe) -> Callable[[int], Floats] | None:
    """The crops of the discovery, where there was one."""
    if "discovery" not in card["inputs"]:
        return None
    url = f"{store.run('discover', card['inputs']['discovery'])}/{discover.TABLE}"
    volumes = volumes_of(store, card["inputs"]["ingest"])
    return DiscoveredCrops(store, volumes, discovered_patches(url), recipe.patch_shape_zyx).crop
