"""discover: which places of unlabelled scans look alike across patients, and so are a class (Semantic Genesis).

inputs: ``ingest``. files: ``history.json``, the loss curve of the autoencoder; ``discovered.parquet``, one row for
every crop: its number, its class and where it lies. Crops of a class follow each other, and every class has as many.
The autoencoder is a checkpoint of the run's id.

Shape letters: N = scans, D = features.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hilum.core.errors import DataError
from hilum.core.geometry import Patch, Zyx
from hilum.core.imaging import Volume
from hilum.core.learning import sides
from hilum.core.ports import Counts, Executor, TrainContext
from hilum.core.recipes import DiscoverRecipe
from hilum.core.registry import pretexts
from hilum.core.resources import Resources
from hilum.nn import pretext as _registered  # noqa: F401 (its import registers them)
from hilum.nn.heads import Network
from hilum.nn.pretext.pretext import Pretext, as_batch
from hilum.nn.pretext.teaching import PuzzleTeacher
from hilum.nn.readers import Readers
from hilum.nn.teacher import device_at_hand
from hilum.nn.train_loop import train
from hilum.steps.crops import num_channels_of, spatial_dims_of
from hilum.steps.pretraining_card import pretraining_card
from hilum.steps.progress_file import told_in
from hilum.steps.scans import Scan, WholeScans, scans_of
from hilum.steps.training_run import RunFolder, counts_of, publish_training
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run
from hilum.store.tables import DISCOVERED, write_rows
from hilum.store.volumes import volumes_of

STEP_VERSION = 1
TABLE = "discovered.parquet"
_PLACES, _SIZES = 12, 13
_NUM_TRIALS = 200
_LEAST_APART = 5
_LEAST_SCALE, _MOST_SCALE = 50 / 64, 80 / 64
_JITTER = 10 / 64
"""Sides of 50 to 80 voxels where a patch has 64, moved by up to 10: the publication's numbers, as shares."""


def run(
    recipe: DiscoverRecipe, inputs: Mapping[str, str], *, store: Store, executor: Executor, resources: Resources
) -> Manifest:
    """Train the autoencoder, then say which crops are a class."""
    this = Run(store, "discover", STEP_VERSION, recipe, inputs)
    before = this.finished()
    if before is not None:
        return before
    volumes = volumes_of(store, inputs["ingest"])
    card = _card(recipe, inputs, volumes)
    work = partial(discover_worker, store=store, run_url=this.url, recipe=recipe, inputs=dict(inputs))
    work = partial(work, num_readers=resources.num_readers)
    return publish_training(
        this, work, recipe, card, store=store, executor=executor, resources=resources, files=[TABLE]
    )


def discover_worker(
    context: TrainContext,
    *,
    store: Store,
    run_url: str,
    recipe: DiscoverRecipe,
    inputs: Mapping[str, str],
    num_readers: int = 0,
    stop_at: int | None = None,
) -> Counts:
    """One worker of the autoencoder's training; the first writes the table when it has ended."""
    volumes = volumes_of(store, inputs["ingest"])
    scans = pool_scans(volumes, recipe)
    whole = WholeScans(store, scans, recipe.scan_shape_zyx)
    pretext, network = _autoencoder(recipe, num_channels_of(volumes))
    teacher = PuzzleTeacher(recipe.autoencoder, pretext, whole)
    readers, memory = Readers(num_readers), RunFolder(run_url)
    with told_in(run_url, context, num_steps=recipe.num_steps) as told:
        history = train(recipe, network, teacher, context=told, memory=memory, readers=readers, stop_at=stop_at)
    found: dict[str, Any] = {}
    if context.rank == 0 and (stop_at is None or stop_at >= recipe.num_steps):
        rows = discovered(scans, features_of(network.eval(), whole, recipe.scan_shape_zyx), recipe)
        write_rows(f"{run_url}/{TABLE}", DISCOVERED, rows)
        found = {"num_classes": rows[-1]["class_id"] + 1, "num_crops": len(rows), "num_scans": len(scans)}
    return counts_of(recipe, history, context, readers, stop_at=stop_at, **found)


def pool_scans(volumes: Mapping[str, Volume], recipe: DiscoverRecipe) -> list[Scan]:
    """Every scan of the patients that are learnt from, by volume id."""
    side_of = sides(volumes.values(), recipe.split)
    return scans_of([volumes[v] for v in sorted(volumes) if side_of[volumes[v].study.patient_id] == "pool"])


def features_of(network: Network, whole: WholeScans, scan_shape_zyx: Zyx) -> npt.NDArray[np.float32]:
    """(N, D): the means over space of every scan's deepest features."""
    found, device = [], device_at_hand()
    with torch.inference_mode():
        for number in range(len(whole)):
            (shown,) = as_batch([(whole.scan(number),)], spatial_dims=spatial_dims_of(scan_shape_zyx))
            found.append(network.embed(shown.to(device)).float().cpu().numpy())
    return np.concatenate(found)


def discovered(
    scans: Sequence[Scan], features_ND: npt.NDArray[np.float32], recipe: DiscoverRecipe
) -> list[dict[str, Any]]:
    """The rows of the table.

    Reference patients come in a drawn order, nobody twice before everybody was one. A place is a share of a scan's
    sides, so that it is the same one in scans of another size. DataError when scans have no room for two places.
    """
    rng = np.random.default_rng([_PLACES, recipe.seed])
    references = _references(scans, recipe.num_classes, rng)
    rows: list[dict[str, Any]] = []
    places: list[npt.NDArray[np.float64]] = []
    for reference in references:
        place = _new_place(scans[reference], places, recipe, rng)
        if place is None:
            break
        for scan in alike(features_ND, reference, recipe.num_neighbours):
            patches = _patches(scans[scan], place, recipe, np.random.default_rng([_SIZES, recipe.seed, len(rows)]))
            rows += [_row(len(rows) + more, len(places), patch) for more, patch in enumerate(patches)]
        places.append(place)
    if len(places) < 2:
        raise DataError(
            f"Scans of {list(scans[0].volume.item_shape_zyx)} voxels have no room for two places of "
            f"{list(recipe.patch_shape_zyx)} voxels that are {_LEAST_APART} voxels apart, so there are no classes to "
            "tell apart. Take a smaller patch_shape_zyx, or smaller sampling.borders_zyx."
        )
    return rows


def alike(features_ND: npt.NDArray[np.float32], reference: int, num: int) -> list[int]:
    """The scans whose features are nearest to those of ``reference``, itself first; the lower number among equals."""
    apart_N = ((features_ND.astype(np.float64) - features_ND[reference]) ** 2).sum(axis=1)
    apart_N[reference] = -1
    return [int(scan) for scan in np.argsort(apart_N, kind="stable")[:num]]


def _references(scans: Sequence[Scan], num: int, rng: np.random.Generator) -> list[int]:
    of_patient: dict[str, list[int]] = {}
    for number, scan in enumerate(scans):
        of_patient.setdefault(scan.volume.study.patient_id, []).append(number)
    patients = sorted(of_patient)
    rounds = [rng.permutation(len(patients)) for _ in range(-(-num // len(patients)))]
    chosen = [of_patient[patients[patient]] for patient in np.concatenate(rounds)[:num]]
    return [own[int(rng.integers(len(own)))] for own in chosen]


def _new_place(
    scan: Scan, before: Sequence[npt.NDArray[np.float64]], recipe: DiscoverRecipe, rng: np.random.Generator
) -> npt.NDArray[np.float64] | None:
    """The middle of a patch within the borders, as a share of the scan's sides; none after many that are not new."""
    shape = np.array(scan.volume.item_shape_zyx)
    half = np.minimum(np.array(recipe.patch_shape_zyx), shape) / 2
    borders = np.minimum(np.array(recipe.sampling.borders_zyx), shape / 2 - half)
    for _ in range(_NUM_TRIALS):
        middle = rng.uniform(borders + half, shape - borders - half)
        if all(np.abs(middle - place * shape).max() >= _LEAST_APART for place in before):
            place_zyx: npt.NDArray[np.float64] = middle / shape
            return place_zyx
    return None


def _patches(
    scan: Scan, place: npt.NDArray[np.float64], recipe: DiscoverRecipe, rng: np.random.Generator
) -> list[Patch]:
    """A patch about a place of a scan, and resized ones that lie a little beside it."""
    patches = [_patch(scan, place, np.array(recipe.patch_shape_zyx))]
    for _ in range(recipe.num_resized):
        scaled = np.array(recipe.patch_shape_zyx) * rng.uniform(_LEAST_SCALE, _MOST_SCALE)
        beside = rng.uniform(-_JITTER, _JITTER, 3) * recipe.patch_shape_zyx / np.array(scan.volume.item_shape_zyx)
        patches.append(_patch(scan, place + beside, scaled))
    return patches


def _patch(scan: Scan, place: npt.NDArray[np.float64], wanted_zyx: npt.NDArray[Any]) -> Patch:
    """As large as wanted where the scan is; moved inwards where it would reach out of the scan."""
    shape = np.array(scan.volume.item_shape_zyx)
    size = np.clip(np.rint(wanted_zyx), 1, shape).astype(int)
    start = np.clip(np.rint(place * shape - size / 2), 0, shape - size).astype(int)
    z, y, x = start.tolist()
    dz, dy, dx = size.tolist()
    return Patch(scan.volume.volume_id, (scan.item * int(shape[0]) + z, y, x), (dz, dy, dx))


def _row(number: int, class_id: int, patch: Patch) -> dict[str, Any]:
    return {
        "number": number,
        "class_id": class_id,
        "volume_id": patch.volume_id,
        "start_zyx": list(patch.start_zyx),
        "shape_zyx": list(patch.shape_zyx),
    }


def _card(recipe: DiscoverRecipe, inputs: Mapping[str, str], volumes: Mapping[str, Volume]) -> dict[str, Any]:
    """What the autoencoder's checkpoint says of itself, checked before any worker starts."""
    if not pool_scans(volumes, recipe):
        raise DataError("No patient is left to discover classes in: all are held out. Lower split's shares.")
    _autoencoder(recipe, num_channels_of(volumes))
    plain = recipe.autoencoder
    return pretraining_card(plain, inputs, pretext=plain.pretext, in_channels=num_channels_of(volumes))


def _autoencoder(recipe: DiscoverRecipe, num_channels: int) -> tuple[Pretext, Network]:
    plain = recipe.autoencoder
    pretext: Pretext = pretexts.bind(plain.pretext)()
    dims = spatial_dims_of(recipe.scan_shape_zyx)
    return pretext, pretext.network(plain.architecture, spatial_dims=dims, in_channels=num_channels, seed=plain.seed)
