"""Augmentation beside MONAI's and nnU-Net's: the same work with the same parameters, on one thread.

Run with ``make bench THEME=augment``. Ours works on a whole batch at once, theirs item by item and
joined to a batch, as their training loops do. They take turns on the same batches; the figure is the
median over turns, in millions of voxels a second of CPU. Every item is changed, labels are moved along
where the image is. Interpolation is linear for images and by the nearest voxel for labels; only lost
resolution is a mean over thick voxels with us and the nearest voxel with them. batchgeneratorsv2 is in
the extra ``bench``; where it is not installed its rows are null.
"""

import importlib
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from monai.transforms import (
    Compose,
    Rand2DElasticd,
    Rand3DElasticd,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandRotate90d,
    RandScaleIntensityFixedMeand,
    RandShiftIntensityd,
    RandSimulateLowResolutiond,
)
from rows import missing_row, row, write

from hilum.core.recipes import Choice
from hilum.nn.augment import bind_augmentations

TURNS = 9
BATCHES = {"2D 128², batch 16": (16, (128, 128)), "3D 64³, batch 2": (2, (64, 64, 64))}
DEGREES, SCALE = 10.0, 0.1
BEND_VOXELS, KNOTS_VOXELS = 4.0, 16.0
BLUR_VOXELS, LEAST_SHARE = 1.0, 0.5
CONTRAST, BRIGHTNESS, GAMMA, NOISE = 0.2, 0.1, 0.2, 0.05
UNIT = "million voxels/s of CPU"
BOTH = ("image", "label")
Work = Callable[[torch.Tensor, torch.Tensor], object]


def batch(num: int, space: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth images of 0 to 1 with a label map of four classes."""
    rng = torch.Generator().manual_seed(7)
    mode = "bilinear" if len(space) == 2 else "trilinear"
    coarse = torch.rand((num, 1, *[max(2, size // 8) for size in space]), generator=rng)
    images = torch.nn.functional.interpolate(coarse, size=space, mode=mode)
    return images, (images[:, 0] * 4).long().clamp(0, 3)


def ours(space: tuple[int, ...]) -> dict[str, Work]:
    turns = ("x", "y", "z") if len(space) == 3 else ("z",)
    always = {"probability": 1.0}
    choices = {
        "flip": Choice(kind="flip", probability=0.5),
        "rot90": Choice(kind="rot90"),
        "affine": Choice(kind="affine", degrees=DEGREES, scale=SCALE, axes=turns),
        "elastic": Choice(kind="elastic", voxels=BEND_VOXELS, every=KNOTS_VOXELS, **always),
        "blur": Choice(kind="blur", std_voxels=BLUR_VOXELS, **always),
        "low_resolution": Choice(kind="low_resolution", least_share=LEAST_SHARE, **always),
        "intensity": Choice(kind="intensity", contrast=CONTRAST, brightness=BRIGHTNESS, gamma=GAMMA),
        "noise": Choice(kind="noise", std=NOISE),
    }

    def bound(choice: Choice) -> Work:
        augment, rng = bind_augmentations([choice]), torch.Generator().manual_seed(1)
        return lambda images, labels: augment(images, labels, rng)

    return {name: bound(choice) for name, choice in choices.items()}


def by_monai(space: tuple[int, ...]) -> dict[str, Work]:
    radians, flat = math.radians(DEGREES), len(space) == 2
    sampled: dict[str, Any] = {"mode": ("bilinear", "nearest"), "padding_mode": "border", "prob": 1.0}
    sigmas = {f"sigma_{axis}": (0.01, BLUR_VOXELS) for axis in "xyz"[: len(space)]}
    bend = (
        Rand2DElasticd(BOTH, spacing=(KNOTS_VOXELS,) * 2, magnitude_range=(0, BEND_VOXELS), **sampled)
        if flat
        # A Gaussian of about the width of our spline, over noise that is drawn for every voxel.
        else Rand3DElasticd(BOTH, sigma_range=(7, 9), magnitude_range=(0, 50 * BEND_VOXELS), **sampled)
    )
    transforms: dict[str, Any] = {
        "flip": Compose([RandFlipd(BOTH, prob=0.5, spatial_axis=axis) for axis in range(len(space))]),
        "rot90": RandRotate90d(BOTH, prob=0.75, spatial_axes=(-2, -1) if flat else (1, 2)),
        "affine": RandAffined(BOTH, rotate_range=radians if flat else (radians,) * 3, scale_range=SCALE, **sampled),
        "elastic": bend,
        "blur": RandGaussianSmoothd(("image",), prob=1.0, **sigmas),
        "low_resolution": RandSimulateLowResolutiond(
            ("image",), prob=1.0, zoom_range=(LEAST_SHARE, 1.0), upsample_mode="bilinear" if flat else "trilinear"
        ),
        "intensity": Compose(
            [
                RandAdjustContrastd(("image",), prob=1.0, gamma=(1 - GAMMA, 1 + GAMMA)),
                RandScaleIntensityFixedMeand(("image",), prob=1.0, factors=CONTRAST),
                RandShiftIntensityd(("image",), prob=1.0, offsets=BRIGHTNESS),
            ]
        ),
        "noise": RandGaussianNoised(("image",), prob=1.0, std=NOISE),
    }

    def item_by_item(transform: Any) -> Work:
        return lambda images, labels: joined(
            [transform({"image": image, "label": label[None]}) for image, label in zip(images, labels, strict=True)]
        )

    return {name: item_by_item(transform) for name, transform in transforms.items()}


def by_nnunet(space: tuple[int, ...]) -> dict[str, Work]:
    def of(module: str, name: str) -> Any:
        return getattr(importlib.import_module(f"batchgeneratorsv2.transforms.{module}"), name)

    moved = {"patch_size": space, "patch_center_dist_from_border": 0, "random_crop": False, "mode_seg": "nearest"}
    moved |= {"padding_mode_image": "border", "border_mode_seg": "border", "center_deformation": False}
    spatial, axes = of("spatial.spatial", "SpatialTransform"), tuple(range(len(space)))
    radians = math.radians(DEGREES)
    transforms: dict[str, list[Any]] = {
        "flip": [of("spatial.mirroring", "MirrorTransform")(allowed_axes=axes)],
        "rot90": [of("spatial.rot90", "Rot90Transform")(1, (0, 1, 2, 3), {len(space) - 2, len(space) - 1})],
        "affine": [
            spatial(
                p_rotation=1,
                rotation=(-radians, radians),
                p_scaling=1,
                scaling=(1 - SCALE, 1 + SCALE),
                p_synchronize_scaling_across_axes=1,
                **moved,
            )
        ],
        "elastic": [
            spatial(
                p_elastic_deform=1,
                elastic_deform_scale=KNOTS_VOXELS / space[0],
                elastic_deform_magnitude=(0, BEND_VOXELS / space[0]),
                **moved,
            )
        ],
        "blur": [of("noise.gaussian_blur", "GaussianBlurTransform")(blur_sigma=(0.01, BLUR_VOXELS))],
        "low_resolution": [
            of("spatial.low_resolution", "SimulateLowResolutionTransform")(
                scale=(LEAST_SHARE, 1), synchronize_channels=True, synchronize_axes=True, ignore_axes=()
            )
        ],
        "intensity": [
            of("intensity.gamma", "GammaTransform")((1 - GAMMA, 1 + GAMMA), 0.0, False, 1.0, 0.0),
            of("intensity.contrast", "ContrastTransform")((1 - CONTRAST, 1 + CONTRAST), False, False),
            of("intensity.brightness", "BrightnessAdditiveTransform")(0.0, BRIGHTNESS, False),
        ],
        "noise": [of("intensity.gaussian_noise", "GaussianNoiseTransform")((0, NOISE), 1.0, True)],
    }

    def item_by_item(several: list[Any]) -> Work:
        def work(images: torch.Tensor, labels: torch.Tensor) -> None:
            items = []
            for image, label in zip(images, labels, strict=True):
                item = {"image": image, "segmentation": label[None]}
                for transform in several:
                    item = transform(**item)
                items.append(item)
            joined(items)

        return work

    return {name: item_by_item(several) for name, several in transforms.items()}


def joined(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """One batch, as a loader makes of items; MONAI's tensors without what they carry along."""
    return {key: torch.stack([torch.Tensor.as_subclass(item[key], torch.Tensor) for item in items]) for key in items[0]}


PEERS = {"MONAI": by_monai, "batchgeneratorsv2": by_nnunet}


def measure(works: dict[str, Work], images: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Millions of voxels a second of CPU time, the median of turns that they take one after the other."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(TURNS + 1):
        for name, work in works.items():
            # The first turn warms up and is not counted. None may change what the next is given.
            given = images.clone(), labels.clone()
            begin = time.process_time()
            work(*given)
            if turn:
                seconds[name].append(time.process_time() - begin)
    return {name: images.numel() / 1e6 / statistics.median(found) for name, found in seconds.items()}


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    for size, (num, space) in BATCHES.items():
        images, labels = batch(num, space)
        theirs: dict[str, dict[str, Work]] = {}
        missing: dict[str, str] = {}
        for peer, make in PEERS.items():
            try:
                theirs[peer] = make(space)
            except ImportError as error:
                missing[peer] = f"not installed: {error.name}"
        for name, work in ours(space).items():
            there = {peer: works[name] for peer, works in theirs.items() if name in works}
            rates = measure({"hilum": work, **there}, images, labels)
            what = f"augment, {name}, {size}"
            print(f"\n{what}, {UNIT}\n  {'hilum':20} {rates['hilum']:8.1f}")
            for peer in PEERS:
                if peer in there:
                    ratio = rates["hilum"] / rates[peer]
                    print(f"  {peer:20} {rates[peer]:8.1f}   hilum / this: {ratio:6.2f}")
                    rows.append(row(what, peer, rates["hilum"], rates[peer], unit=UNIT))
                else:
                    reason = missing.get(peer, "not compared: it has no like of it")
                    rows.append(missing_row(what, peer, rates["hilum"], unit=UNIT, reason=reason))
    write("augment", rows)


if __name__ == "__main__":
    main()
