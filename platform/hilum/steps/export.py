"""export: a checkpoint as one file that runs without hilum, checked against the network that it came from.

Nothing is written to the store. A file is written whole after it has answered as the network
does, or not at all. Evaluation patients of the test side are never looked at.

Shape letters: N = images, C = channels, S = space as the file takes it (Y, X or Z, Y, X).
"""

import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from hilum.core.errors import HilumError, RecipeError
from hilum.core.recipes import EvaluateRecipe, PoolRecipe
from hilum.nn.costs import round_robin
from hilum.nn.exact_norms import with_exact_norms
from hilum.nn.export import exported_program, onnx_bytes, torch_bytes
from hilum.nn.heads import Network
from hilum.nn.metrics import Measured
from hilum.nn.onnx_model import OnnxPredictor, quantised
from hilum.nn.predictor import load_weights, network_of_card
from hilum.nn.pruning import prune_network
from hilum.steps.evaluate import held_out, measure, rows_of_shard, shards_of
from hilum.steps.export_about import about
from hilum.steps.export_checks import check_batches, images_of, largest_difference, noise_patches
from hilum.steps.prune import SIDE, metric_of
from hilum.store import checkpoints
from hilum.store.layout import Store
from hilum.store.manifest import read_manifest, write_bytes

Floats = npt.NDArray[np.float32]
Format = Literal["onnx", "torch"]

TOLERANCE = 1e-4
NUM_CHECKED, NUM_CALIBRATION = 20, 32
_BATCH = 8


@dataclass(frozen=True)
class Export:
    """What was written: how far its answers were from the network's at most, on how many images."""

    file: str
    num_bytes: int
    num_real_images: int
    largest_difference: float


@dataclass(frozen=True)
class Precision:
    """One precision of an exported model, on validation patients and on one CPU thread."""

    precision: Literal["float32", "int8"]
    score: float
    low: float
    high: float
    num_bytes: int
    latency_ms: float


def export(
    store: Store, checkpoint_id: str, *, to: Format, file: str, depth: int | None = None, pool_id: str | None = None
) -> Export:
    """Write the checkpoint (pruned to ``depth`` if given) to ``file``; refused unless its answers are the network's."""
    network, card = _network_at(store, checkpoint_id, depth)
    payload, answer = _made(network, card, to, about(store, checkpoint_id, card, precision="float32"))
    real = [] if pool_id is None else images_of(store, card, pool_id, side="validation", num=NUM_CHECKED)
    difference = largest_difference(network, answer, check_batches(card, real))
    if not difference <= TOLERANCE:
        raise HilumError(
            f"The exported model's probabilities differ by up to {difference:.2g} from the checkpoint's, more than "
            f"{TOLERANCE:g}: nothing was written. This is a fault of the exporter or of hilum; please report it."
        )
    write_bytes(file, payload)
    return Export(file, len(payload), len(real), difference)


def export_int8(
    store: Store, checkpoint_id: str, *, file: str, pool_id: str, depth: int | None = None
) -> tuple[Export, list[Precision], str]:
    """Write the 8-bit model; returns also what both precisions score and cost, and by which metric.

    Ranges are taken from pool patients, the loss of score from validation patients.
    """
    network, card = _network_at(store, checkpoint_id, depth)
    plain, answer = _made(network, card, "onnx", about(store, checkpoint_id, card, precision="float32"))
    largest = largest_difference(network, answer, check_batches(card, []))
    if not largest <= TOLERANCE:
        raise HilumError(
            f"The model to be made smaller differs by {largest:.2g} from the checkpoint; nothing was written."
        )
    calibration = images_of(store, card, pool_id, side="pool", num=NUM_CALIBRATION)
    if not calibration:
        raise RecipeError(
            f"Pool {pool_id} holds no image to take the ranges of int8 from. Name another with --pool ID."
        )
    small = quantised(plain, about(store, checkpoint_id, card, precision="int8"), calibration)
    models = {"float32": OnnxPredictor(plain, card), "int8": OnnxPredictor(small, card)}
    real = images_of(store, card, pool_id, side="validation", num=NUM_CHECKED)
    difference = largest_difference(network, models["int8"].run, real)
    rows, metric = compared(store, card, pool_id, models, {"float32": len(plain), "int8": len(small)})
    write_bytes(file, small)
    return Export(file, len(small), len(real), difference), rows, metric


def compared(
    store: Store, card: Mapping[str, Any], pool_id: str, models: Mapping[str, OnnxPredictor], sizes: Mapping[str, int]
) -> tuple[list[Precision], str]:
    """Score and latency of every model, by the metric that promotes."""
    patch = noise_patches(card, 1)
    calls: list[Callable[[], object]] = [lambda model=model: model.run(patch) for model in models.values()]  # type: ignore[misc]
    latencies = round_robin(calls, clock=time.perf_counter)
    rows, metric = [], ""
    for (precision, model), latency in zip(models.items(), latencies, strict=True):
        scored = _score(store, card, pool_id, model)
        metric = scored.metric
        rows.append(Precision(precision, scored.value, scored.low, scored.high, sizes[precision], 1e3 * latency))  # type: ignore[arg-type]
    return rows, metric


def _network_at(store: Store, checkpoint_id: str, depth: int | None) -> tuple[Network, dict[str, Any]]:
    tensors, card = checkpoints.load(store, checkpoint_id)
    network = network_of_card(card)
    load_weights(network, tensors)
    network.loss_predictor = None  # a file answers and asks nobody
    return (network.eval(), card) if depth is None else prune_network(network.eval(), card, depth)


def _made(
    network: Network, card: Mapping[str, Any], to: Format, said: Mapping[str, str]
) -> tuple[bytes, Callable[[Floats], Floats]]:
    """The file's bytes, and a function that answers from those very bytes."""
    if to == "onnx":
        payload = onnx_bytes(exported_program(with_exact_norms(network), card), said)
        return payload, OnnxPredictor(payload, card).run
    payload = torch_bytes(exported_program(network, card), said)
    module = torch.export.load(io.BytesIO(payload)).module()

    def answer(images_NCS: Floats) -> Floats:
        with torch.inference_mode():
            probs: Floats = module(torch.from_numpy(images_NCS)).numpy()
        return probs

    return payload, answer


def _score(store: Store, card: Mapping[str, Any], pool_id: str, model: OnnxPredictor) -> Measured:
    """The metric that promotes, of one model on the validation side."""
    pool = PoolRecipe.model_validate(read_manifest(store.run("pool", pool_id)).recipe)
    recipe, ingest_id = EvaluateRecipe(), card["inputs"]["ingest"]
    volumes = [(volume, side) for volume, side in held_out(store, ingest_id, pool) if side == SIDE]
    rows: list[dict[str, Any]] = []
    for shard in shards_of(volumes, question=card["question"]):
        rows += rows_of_shard(model, shard, store=store, pool=pool, batch_size=_BATCH, recipe=recipe)
    rows.sort(key=lambda row: row["item"])
    return metric_of(measure(rows, card, recipe), "auto", ingest_id=ingest_id)
