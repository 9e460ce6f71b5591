"""Whole volumes by windows beside MONAI's inferer and beside the bare network: ``make bench THEME=sliding``.

All answer the same 128³ volume with windows of 64³ that overlap by half, on all cores, in turn, each in a process of
its own. The bare network is given the same windows in the same batches and what it says is thrown away: what is above
its time is reading, weighing and blending. MONAI's default is one window a call, on tensors as torch makes them, in a
process as Python starts it; ours lie channels last and keep the memory that they free, as the service has it. The rest
is equal: weights, float32, Gaussian blending.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from rows import row, write

from hilum.nn.engine import Engine
from hilum.nn.infer import Blend
from hilum.nn.kept_memory import keep_freed_memory
from hilum.nn.passes import Pass, Way
from hilum.nn.predictor import Predictor, network_of_card

SIZE, WINDOW, OVERLAP, TURNS = (128, 128, 128), (64, 64, 64), 0.5, 5
TOGETHER = 2
"""As many windows as the engine puts into one call."""
CARD = {
    "question": "segment",
    "architecture": {"kind": "unet", "depth": 3, "features": [8, 16, 32, 32]},
    "spatial_dims": 3,
    "in_channels": 1,
    "num_classes": 3,
}
Answer = Callable[[np.ndarray], np.ndarray | None]


def ours() -> Answer:
    engine, predictor = Engine.alone(), _predictor()
    return lambda image_CZYX: engine.submit(Pass(image_CZYX, Way(predictor, WINDOW, OVERLAP))).done.result().probs


def bare() -> Answer:
    predictor = _predictor()

    def run(image_CZYX: np.ndarray) -> None:
        starts = Blend(SIZE, WINDOW, OVERLAP).starts
        windows = [image_CZYX[:, z : z + 64, y : y + 64, x : x + 64] for z, y, x in starts]
        for at in range(0, len(windows), TOGETHER):
            predictor.predict(np.stack(windows[at : at + TOGETHER]))

    return run


def monai() -> Answer:
    return _monai(network_of_card(CARD, seed=0).eval(), 1)


def monai_batched() -> Answer:
    return _monai(network_of_card(CARD, seed=0).eval(), TOGETHER)


def monai_our_way() -> Answer:
    return _monai(_predictor().network, TOGETHER)


WAYS = {
    "ours": ours,
    "bare network, the same batches": bare,
    "MONAI, its default of one window a call": monai,
    "MONAI, our batch": monai_batched,
    "MONAI, our batch, layout and memory": monai_our_way,
}


def main() -> None:
    spawn = multiprocessing.get_context("spawn")
    places = {name: ProcessPoolExecutor(1, spawn, begun, (name,)) for name in WAYS}
    answers = {name: place.submit(answered, name).result()[1] for name, place in places.items()}
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(TURNS):
        for name, place in places.items():
            seconds[name].append(place.submit(answered, name).result()[0])
    rate = {name: 1 / statistics.median(times) for name, times in seconds.items()}
    apart = {name: float(np.abs(answers["ours"] - said).max()) for name, said in answers.items() if said is not None}
    assert max(apart.values()) <= 1e-5, apart
    rows = []
    for name in list(WAYS)[1:]:
        told = row(
            "128³ by windows of 64³", name, rate["ours"], rate[name], unit="volumes/s", threads=torch.get_num_threads()
        )
        print(f"{told['what']:30}{name:45}{rate['ours']:8.3f}{rate[name]:8.3f}{told['ratio']:8.3f}")
        rows.append({**told, "largest_difference": apart.get(name)})
    print("largest difference:", {name: f"{value:.2g}" for name, value in apart.items()})
    write("sliding", rows)


def begun(name: str) -> None:
    """As `hilum` begins its processes, and Python the others."""
    if not name.startswith("MONAI, its default") and name != "MONAI, our batch":
        keep_freed_memory()


def answered(name: str) -> tuple[float, np.ndarray | None]:
    """Seconds of one answer in this process, and what it was."""
    way, image_CZYX = _way(name), np.random.default_rng(0).random((1, *SIZE), np.float32)
    began = time.perf_counter()
    said = way(image_CZYX)
    return time.perf_counter() - began, said


@cache
def _way(name: str) -> Answer:
    return WAYS[name]()


def _predictor() -> Predictor:
    return Predictor(network_of_card(CARD, seed=0), CARD, lies_last=True)


def _monai(network: torch.nn.Module, batch_size: int) -> Answer:
    blending = {"overlap": OVERLAP, "mode": "gaussian", "sigma_scale": 0.125}
    inferer = SlidingWindowInferer(WINDOW, sw_batch_size=batch_size, **blending)

    def run(image_CZYX: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            probs = inferer(
                torch.from_numpy(image_CZYX[None]), lambda x: torch.softmax(network(_as_it_lies(network, x)), 1)
            )
        return probs[0].numpy()

    return run


def _as_it_lies(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    first = next(network.parameters())
    lies_last = first.is_contiguous(memory_format=torch.channels_last_3d) and not first.is_contiguous()
    return images.contiguous(memory_format=torch.channels_last_3d) if lies_last else images


if __name__ == "__main__":
    main()
