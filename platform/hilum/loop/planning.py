"""From a fingerprint to a campaign recipe, every choice with its reason. Pure: numbers in, decisions out.

The rules are nnU-Net's (https://doi.org/10.1038/s41592-020-01008-z) where a campaign allows
them. It differs in two things: a patch is a question to a person and must lie within every
image, and resampling is done once, at ingest.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hilum.core.errors import DataError, RecipeError
from hilum.core.fingerprint import Fingerprint
from hilum.core.geometry import Zyx
from hilum.core.recipes import CampaignRecipe, PrepareRecipe, Question
from hilum.loop.plan_images import planned_preparation
from hilum.loop.plan_patches import Fitted, fitted_patch, poolings_of
from hilum.loop.recipe_files import Content, checked

StepBytes = Callable[[Question, str, Zyx, int, int], int]
"""Bytes of a training step: question, architecture, patch (Z, Y, X), depth, items computed together."""

MIB, GIB = 1 << 20, 1 << 30
_NUM_CHUNKS = 2
_MOST_BATCH = 32
_MOST_SHARE = 0.05
_WORTH_IT = 0.8
_PASSES = 40
_FEW_SLICES, _THICK_SLICES = 8, 8.0
_POOL_SHARE = 0.65
_ORDER = tuple(CampaignRecipe.model_fields)


@dataclass(frozen=True)
class Memory:
    """How many bytes a training may use, and who said so."""

    num_bytes: int
    whose: str

    def __str__(self) -> str:
        return f"{_size(self.num_bytes)} ({self.whose})"


@dataclass
class Plan:
    """A recipe as it will be written: its content, and the reason of every choice by its dotted path."""

    content: Content = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    prepares_anew: bool = False

    def decide(self, path: str, value: Any, why: str = "") -> None:
        """Set ``path`` ('finetune.batch_size') and keep the reason."""
        *folders, last = path.split(".")
        inner = self.content
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[last] = value
        if why:
            self.reasons[path] = why

    @property
    def recipe(self) -> CampaignRecipe:
        return checked(CampaignRecipe, self.content, "the plan")


def planned(
    fingerprint: Fingerprint,
    *,
    memory: Memory,
    step_bytes: StepBytes,
    question: Question | None = None,
    ingested: PrepareRecipe | None = None,
    as_ingested: bool = False,
) -> Plan:
    """A campaign recipe for these images. ``ingested`` is how they were prepared; ``as_ingested`` leaves it so."""
    plan = Plan()
    asked = _question(plan, fingerprint, question)
    _check_channels(fingerprint)
    preparation = planned_preparation(fingerprint, ingested or PrepareRecipe(), as_ingested=as_ingested)
    plan.prepares_anew = preparation.is_new
    plan.notes += preparation.notes
    for key, value, why in preparation.decisions:
        plan.decide(f"ingest.prepare.{key}", value, why)
    median, least = preparation.median_shape_zyx, preparation.least_shape_zyx
    flat = _flat(fingerprint, asked, median)
    fitted, architecture = _network(
        plan,
        asked,
        _limit(median, least, flat=flat),
        spacing_mm_zyx=preparation.spacing_mm_zyx,
        memory=memory,
        step_bytes=step_bytes,
    )
    num_candidates = _pool(plan, fingerprint, asked, fitted, median, flat=flat)
    _asking(plan, asked)
    most = _most_in_a_batch(fingerprint, asked, fitted.patch_zyx, median)
    batch_size = _batch(plan, asked, architecture, fitted, most=most, memory=memory, step_bytes=step_bytes)
    _training(plan, fingerprint, asked, batch_size, num_candidates)
    plan.content = {name: plan.content[name] for name in _ORDER if name in plan.content}
    checked(CampaignRecipe, plan.content, "the plan")
    return plan


def _question(plan: Plan, fingerprint: Fingerprint, given: Question | None) -> Question:
    """What is asked: what the images' own answers are, unless somebody says it."""
    segments, classes = fingerprint.num_labelled, fingerprint.num_classified
    if given is None and not segments and not classes:
        raise DataError(
            "None of the images has a label map or a class, so they do not say what to plan for. "
            "Say it: --question classify (a class for each image) or --question segment (outlines)."
        )
    asked = given or ("segment" if segments else "classify")
    if given is not None:
        plan.decide("question", asked, "as --question said")
    elif segments:
        also = f", and {classes} classes, which are left aside (--question classify)" if classes else ""
        plan.decide("question", asked, f"{segments} of {fingerprint.num_volumes} volumes have a label map{also}")
    else:
        plan.decide(
            "question", asked, f"no volume has a label map; {classes} of {fingerprint.num_items} items have a class"
        )
    if len(fingerprint.class_names) < 2:
        raise DataError(
            f"The images name {len(fingerprint.class_names)} classes; a question needs two. "
            "Ingest them with their class names (ingest.class_names in a recipe, or labels.json)."
        )
    return asked


def _check_channels(fingerprint: Fingerprint) -> None:
    if len(fingerprint.num_channels) > 1:
        raise DataError(
            f"The volumes have {' and '.join(map(str, fingerprint.num_channels))} channels, and one network reads one "
            "number of them. Ingest each kind apart, and plan for one: --ingest ID."
        )


def _flat(fingerprint: Fingerprint, asked: Question, median: Zyx) -> str:
    """Why a 2D network is planned; empty where it is a 3D one."""
    spacing = fingerprint.spacing_mm_zyx.median
    if median[0] == 1:
        return "the images are flat (Z = 1)"
    if asked == "classify":
        return ""  # the class is that of the whole item
    if median[0] < _FEW_SLICES:
        return f"half of the scans have {median[0]} slices or fewer, too few for a 3D network"
    if spacing[0] >= _THICK_SLICES * max(spacing[1:]):
        return f"slices are {spacing[0]:.3g} mm apart and pixels {max(spacing[1:]):.3g} mm: too thick for a 3D network"
    return ""


def _limit(median: Zyx, least: Zyx, *, flat: str) -> Zyx:
    """No patch is larger than the median image, nor than the smallest: it would not lie in it."""
    z, y, x = (min(a, b) for a, b in zip(median, least, strict=True))
    return (1 if flat else z, y, x)


def _network(
    plan: Plan,
    asked: Question,
    limit: Zyx,
    *,
    spacing_mm_zyx: tuple[float, float, float],
    memory: Memory,
    step_bytes: StepBytes,
) -> tuple[Fitted, str]:
    """Patch, depth and architecture: the largest patch that one item of a batch may have."""

    def fit(architecture: str) -> Fitted:
        def needs(patch: Zyx, depth: int) -> int:
            return step_bytes(asked, architecture, patch, depth, 1)

        if asked == "classify":
            depth = poolings_of(limit)
            return Fitted(limit, depth, needs(limit, depth))
        return fitted_patch(limit, spacing_mm_zyx, memory.num_bytes, needs)

    unet = fit("unet")
    if asked == "classify":
        if unet.num_bytes > memory.num_bytes:
            plan.notes.append(
                f"one image needs {_size(unet.num_bytes)}, more than {memory}; make images smaller, or get more memory"
            )
        return _said(plan, unet, "unet", "a classifier is its encoder, the same for all")
    try:
        nested = fit("unetpp")
    except RecipeError:
        return _said(plan, unet, "unet", f"UNet++ does not fit {memory}")
    if math.prod(nested.patch_zyx) < _WORTH_IT * math.prod(unet.patch_zyx):
        why = f"in {memory} it sees {_shape(unet.patch_zyx)} voxels and UNet++ {_shape(nested.patch_zyx)}"
        return _said(plan, unet, "unet", why)
    return _said(plan, nested, "unetpp", f"its patch of {_shape(nested.patch_zyx)} fits, and it can be pruned later")


def _said(plan: Plan, fitted: Fitted, architecture: str, why: str) -> tuple[Fitted, str]:
    plan.decide("finetune.architecture.kind", architecture, why)
    smallest = min(size for size in fitted.patch_zyx if size > 1)
    plan.decide(
        "finetune.architecture.depth",
        fitted.depth,
        f"{fitted.depth} poolings leave {smallest // 2**fitted.depth} of the shortest axis' {smallest} voxels",
    )
    return fitted, architecture


def _pool(plan: Plan, fingerprint: Fingerprint, asked: Question, fitted: Fitted, median: Zyx, *, flat: str) -> int:
    """What may be asked about; returns about how many candidates there are."""
    shapes = fingerprint.item_shape_zyx
    pooled = max(1, math.floor(_POOL_SHARE * fingerprint.num_items))
    if asked == "classify":
        return pooled
    if shapes.least == shapes.most and fitted.patch_zyx == tuple(shapes.median):
        return pooled
    z, y, x = fitted.patch_zyx
    images = f"images have {_shape(shapes.median)} voxels at the median and {_shape(shapes.least)} at the least"
    why = f"{flat or '3D'}; {images}; a step with one such patch at a time needs {_size(fitted.num_bytes)}"
    plan.decide("pool.patch_shape_zyx", [z, y, x], why)
    stride = [max(1, size // 2) for size in (z, y, x)]
    plan.decide("pool.stride_zyx", stride, "half a patch, so that nothing lies only at an edge")
    if not fingerprint.has_stacks:
        plan.decide("pool.min_occupancy", 0.25, "nobody should be paid to look at air")
    smallest = [least for least, n in zip(shapes.least, shapes.median, strict=True) if least < n / 2]
    if smallest:
        plan.notes.append(
            f"a smallest image of {_shape(shapes.least)} voxels keeps patches small; leave it out if it can be"
        )
    per_item = math.prod(
        1 + math.ceil(max(0, size - patch) / step) for size, patch, step in zip(median, (z, y, x), stride, strict=True)
    )
    return pooled * per_item


def _asking(plan: Plan, asked: Question) -> None:
    by = {"by": "class_fractions", "skip_background": True} if asked == "segment" else {}
    sampler = {"kind": "class_stratified", "score": "entropy", "plain_share": 0.33, "balance_labelled": True, **by}
    arms = [{"share": 0.9, "sampler": sampler}, {"share": 0.1, "sampler": {"kind": "random"}}]
    plan.decide("score.members", {"kind": "single"})
    plan.decide("score.scorers", [{"kind": "entropy"}])
    plan.decide("select.cold_start", {"kind": "typiclust"}, "the first round has no model to ask")
    plan.decide("select.arms", arms, "the unsure ones of every class, and a tenth at random")
    plan.decide("annotator.kind", "directory", "people answer in a folder; 'oracle' where all answers are known")


def _batch(
    plan: Plan, asked: Question, architecture: str, fitted: Fitted, *, most: int, memory: Memory, step_bytes: StepBytes
) -> int:
    """Twice as many as fit together: a batch is computed in two chunks, one after the other."""

    def needs(together: int) -> int:
        return step_bytes(asked, architecture, fitted.patch_zyx, fitted.depth, together)

    together = 1
    while _NUM_CHUNKS * (together + 1) <= most and needs(together + 1) <= memory.num_bytes:
        together += 1
    size = _NUM_CHUNKS * together
    why = f"{_NUM_CHUNKS} chunks of {together}, one after the other, need {_size(needs(together))} of {memory}"
    capped = size + _NUM_CHUNKS > most
    more = f"; no more than {most}, of {_MOST_BATCH} and of 5 % of all voxels the smaller" if capped else ""
    plan.decide("finetune.batch_size", size, why + more)
    return size


def _most_in_a_batch(fingerprint: Fingerprint, asked: Question, patch_zyx: Zyx, median: Zyx) -> int:
    """Thirty-two, and of outlines no more than 5 % of all voxels (nnU-Net's rule), but at least one a chunk."""
    if asked == "classify":
        return _MOST_BATCH
    share = _MOST_SHARE * fingerprint.num_items * math.prod(median) / math.prod(patch_zyx)
    return max(_NUM_CHUNKS, min(_MOST_BATCH, int(share)))


def _training(plan: Plan, fingerprint: Fingerprint, asked: Question, batch_size: int, num_candidates: int) -> None:
    per_round = min(num_candidates, max(5, min(20, num_candidates // 20)))
    in_total = min(10 * per_round, num_candidates)
    num_steps = min(2000, max(100, 10 * round(_PASSES * in_total / batch_size / 10)))
    plan.decide("finetune.num_steps", num_steps, f"about {_PASSES} passes over {in_total} answers, 100 to 2,000")
    plan.decide("finetune.learning_rate", 0.002, "hilum's own; `hilum tune` looks for a better one")
    plan.decide("finetune.checkpoint_every", max(10, num_steps // 10))
    sided = [name for name in fingerprint.class_names if {"left", "right"} & {*name.lower().replace("_", " ").split()}]
    kinds = ["shift", "intensity"] if sided else ["flip", "shift", "intensity"]
    why = (
        f"no flip: mirrored, '{sided[0]}' would be the other side"
        if sided
        else "no class has a side, so all may be mirrored"
    )
    plan.decide("finetune.augment", [{"kind": kind} for kind in kinds], why)
    counts = fingerprint.class_voxels if asked == "segment" else fingerprint.class_items
    shares = _shares(dict(zip(fingerprint.class_names, counts, strict=True)))
    if shares:
        what = "voxels" if asked == "segment" else "images"
        plan.decide("finetune.balance_classes", True, f"classes have these shares of the {what}: {shares}")
    plan.decide("campaign.num_per_round", per_round, f"of about {num_candidates:,} candidates; yours to say")
    plan.decide("campaign.num_in_total", in_total, "what people have time for; yours to say")


def _shares(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    if not total:
        return ""
    listed = [f"{name} {100 * count / total:.2g} %" for name, count in counts.items()]
    return ", ".join(listed[:12]) + (f" and {len(listed) - 12} more" if len(listed) > 12 else "")


def _shape(sizes: tuple[float, ...]) -> str:
    return " × ".join(f"{size:.0f}" for size in sizes)


def _size(num_bytes: int) -> str:
    return f"{num_bytes / GIB:.2f} GiB" if num_bytes >= GIB // 10 else f"{max(1, num_bytes // MIB)} MiB"
