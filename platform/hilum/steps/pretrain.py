"""pretrain: from scans that nobody labelled to a checkpoint that others start from.

inputs: ``ingest``. files: ``history.json``, the loss curve; ``pictures/step-*.png``, what the network makes of
crops of patients it does not learn from. The checkpoint has the run's id. results: the loss, and of a pretext
that restores, the error of its restorations beside that of copying what it was shown; how many scans were learnt
from, and how many left out because no crop has room in them.
"""

from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from typing import Any

from hilum.core.imaging import Side
from hilum.core.ports import Counts, Executor, TrainContext
from hilum.core.recipes import Choice, PretrainRecipe
from hilum.core.registry import pretexts
from hilum.core.resources import Resources
from hilum.nn import pretext as _registered  # noqa: F401 (its import registers them)
from hilum.nn.heads import Network, num_parameters, resolved
from hilum.nn.pretext.pretext import Pretext
from hilum.nn.pretext.teaching import PuzzleTeacher, held_out_errors
from hilum.nn.readers import Readers
from hilum.nn.train_loop import train
from hilum.steps.album import Album
from hilum.steps.crops import check_scans, crops_of, num_channels_of, scans_of, spatial_dims_of, volumes_among
from hilum.steps.progress_file import told_in
from hilum.steps.scan_voxels import ScanVoxels
from hilum.steps.training_run import RunFolder, counts_of, publish_training
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run
from hilum.store.volumes import volumes_of

STEP_VERSION = 2
QUESTION = "pretext"
_SIDES_LOOKED_AT: tuple[Side, Side] = ("pool", "validation")


def run(
    recipe: PretrainRecipe, inputs: Mapping[str, str], *, store: Store, executor: Executor, resources: Resources
) -> Manifest:
    """Pretrain on every scan of the pool's patients; the checkpoint appears when training has ended."""
    this = Run(store, "pretrain", STEP_VERSION, recipe, inputs)
    before = this.finished()
    if before is not None:
        return before
    card = card_of(recipe, inputs, store)
    work = partial(
        train_worker, store=store, run_url=this.url, recipe=recipe, card=card, num_readers=resources.num_readers
    )
    num_scans, num_left_out = check_scans(volumes_of(store, inputs["ingest"]), recipe)
    results = {"num_scans": num_scans, "num_scans_left_out": num_left_out}
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
    teacher = PuzzleTeacher(recipe, pretext, crops, held_out=held_out)
    if context.rank == 0:
        teacher.look_on = Album(run_url, pretext, teacher, every=recipe.pictures_every, last=recipe.num_steps).look
    readers, memory = Readers(num_readers), RunFolder(run_url)
    with told_in(run_url, context, num_steps=recipe.num_steps) as told:
        history = train(recipe, network, teacher, context=told, memory=memory, readers=readers, stop_at=stop_at)
    network.eval()
    errors = held_out_errors(pretext, network, teacher.all_held_out())
    return counts_of(
        recipe, history, context, readers, stop_at=stop_at, num_parameters=num_parameters(network), **errors
    )


def card_of(recipe: PretrainRecipe, inputs: Mapping[str, str], store: Store) -> dict[str, Any]:
    """Everything needed to build the network again, checked before any worker starts."""
    volumes = volumes_of(store, inputs["ingest"])
    check_scans(volumes, recipe)
    card: dict[str, Any] = {
        "question": QUESTION,
        "pretext": recipe.pretext.model_dump(mode="json"),
        "architecture": resolved(recipe.architecture).model_dump(mode="json"),
        "in_channels": num_channels_of(volumes),
        "spatial_dims": spatial_dims_of(recipe.patch_shape_zyx),
        "patch_shape_zyx": list(recipe.patch_shape_zyx),
        "recipe": recipe.model_dump(mode="json", by_alias=True),
        "inputs": dict(inputs),
        "hilum_version": version("hilum"),
        "licence": "that of the images it was trained on",
    }
    pretext_of_card(card)
    return card


def pretext_of_card(card: Mapping[str, Any], *, seed: int = 0) -> tuple[Pretext, Network]:
    """The pretext and the network that a pretraining's card describes, with first weights from ``seed``."""
    pretext: Pretext = pretexts.bind(Choice.model_validate(card["pretext"]))()
    network = pretext.network(
        Choice.model_validate(card["architecture"]),
        spatial_dims=card["spatial_dims"],
        in_channels=card["in_channels"],
        seed=seed,
    )
    return pretext, network
