"""Whole volumes by windows beside MONAI's inferer and beside the bare network: ``make bench THEME=sliding``.

All answer the same 128³ volume with windows of 64³ that overlap by half, on all cores, in turn. The bare network is
given the same windows in the same batches and what it says is thrown away: what is above its time is reading,
weighing and blending. MONAI's default is one window a call, on tensors as torch makes them; ours lie channels last, as
the service has them. The rest is equal: weights, float32, Gaussian blending.
"""

import statistics
import time

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from rows import row, write

from hilum.core.geometry import Patch
from hilum.nn.engine import Engine
from hilum.nn.infer import Blend, sliding_window
from hilum.nn.passes import Pass, Way
from hilum.nn.predictor import Predictor, network_of_card

SIZE, WINDOW, OVERLAP, TURNS = (128, 128, 128), (64, 64, 64), 0.5, 5
CARD = {
    "question": "segment",
    "architecture": {"kind": "unet", "depth": 3, "features": [8, 16, 32, 32]},
    "spatial_dims": 3,
    "in_channels": 1,
    "num_classes": 3,
}


def main() -> None:
    predictor = Predictor(network_of_card(CARD, seed=0), CARD, lies_last=True)  # as the service has it
    plain = network_of_card(CARD, seed=0).eval()
    image_CZYX = np.random.default_rng(0).random((1, *SIZE), np.float32)
    with Engine() as engine:
        ways = {
            "ours": lambda: _ours(predictor, image_CZYX, engine),
            "ours, one window a call": lambda: _by_batch(predictor, image_CZYX, 1),
            "bare network, the same batches": lambda: _bare(predictor, image_CZYX),
            "MONAI, its default of one window a call": lambda: _monai(plain, image_CZYX, 1),
            "MONAI, our batch": lambda: _monai(plain, image_CZYX, _TOGETHER),
            "MONAI, our batch and layout": lambda: _monai(predictor.network, image_CZYX, _TOGETHER),
        }
        answers = {name: run() for name, run in ways.items()}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(TURNS):
            for name, run in ways.items():
                began = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - began)
    ours = 1 / statistics.median(seconds["ours"])
    what = "128³ by windows of 64³"
    rows = [
        row(what, name, ours, 1 / statistics.median(seconds[name]), unit="volumes/s", threads=torch.get_num_threads())
        for name in ways
        if name != "ours"
    ]
    for one in rows:
        print(f"{one['what']:30}{one['peer']:45}{ours:8.3f}{ours / one['ratio']:8.3f}{one['ratio']:8.3f}")
    apart = {
        name: float(np.abs(answers["ours"] - answers[name]).max())
        for name in ("MONAI, our batch", "MONAI, our batch and layout")
    }
    print("largest difference:", {name: f"{value:.2g}" for name, value in apart.items()})
    assert max(apart.values()) <= 1e-5
    write("sliding", [{**one, "largest_difference": apart.get(one["peer"])} for one in rows])


_TOGETHER = 3
"""As many windows as the engine puts into one call of a million voxels."""


def _ours(predictor: Predictor, image_CZYX: np.ndarray, engine: Engine) -> np.ndarray:
    return engine.submit(Pass(image_CZYX, Way(predictor, WINDOW, OVERLAP))).done.result().probs


def _by_batch(predictor: Predictor, image_CZYX: np.ndarray, batch_size: int) -> np.ndarray:
    return sliding_window(
        Patch("v", (0, 0, 0), SIZE),
        WINDOW,
        read=lambda patch: image_CZYX[(slice(None), *patch.slices)],
        predict=lambda images: predictor.predict(images)[0],
        overlap=OVERLAP,
        batch_size=batch_size,
    )


def _bare(predictor: Predictor, image_CZYX: np.ndarray) -> None:
    starts = Blend(SIZE, WINDOW, OVERLAP).starts
    windows = [image_CZYX[:, z : z + 64, y : y + 64, x : x + 64] for z, y, x in starts]
    for at in range(0, len(windows), _TOGETHER):
        predictor.predict(np.stack(windows[at : at + _TOGETHER]))


def _monai(network: torch.nn.Module, image_CZYX: np.ndarray, batch_size: int) -> np.ndarray:
    blending = {"overlap": OVERLAP, "mode": "gaussian", "sigma_scale": 0.125}
    inferer = SlidingWindowInferer(WINDOW, sw_batch_size=batch_size, **blending)
    with torch.inference_mode():
        probs = inferer(
            torch.from_numpy(image_CZYX[None]), lambda x: torch.softmax(network(_as_it_lies(network, x)), 1)
        )
    return probs[0].numpy()


def _as_it_lies(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    first = next(network.parameters())
    lies_last = first.is_contiguous(memory_format=torch.channels_last_3d) and not first.is_contiguous()
    return images.contiguous(memory_format=torch.channels_last_3d) if lies_last else images


if __name__ == "__main__":
    main()
