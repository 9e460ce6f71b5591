"""Made-up sections of the shape that real simulations have."""

import numpy as np
import pytest

from hilum.core.ids import content_id
from hilum.loop.comparison import compare
from hilum.loop.curves import Curve, t_interval
from hilum.loop.people import Agreement, Person
from hilum.loop.report.content import AskedRound, ClassRow, Crowd, ReuseRow, Section, StageTime, Tile

LABELS = (20, 40, 60, 80, 100)
CLASSES = ("background", "thalamus", "caudate")
STRATEGIES = ("margin", "entropy", "random")


def curve(strategy, seed, height, seconds=()):
    rng = np.random.default_rng([int(content_id(strategy), 16), seed])
    values = height * (1 - np.exp(-np.asarray(LABELS) / 40)) + rng.normal(0, 0.01, len(LABELS))
    return Curve(strategy, seed, LABELS, tuple(float(v) for v in values), seconds)


def spent(strategy, seed):
    """People's seconds: margin's questions are the long ones."""
    each = {"margin": 22, "entropy": 15, "random": 12}[strategy] + 0.5 * seed
    return tuple(each * num for num in LABELS)


def comparison(*, full=True, num_seeds=5, heights=(0.95, 0.8, 0.78), timed=False):
    curves = [
        curve(s, k, h, spent(s, k) if timed else ())
        for s, h in zip(STRATEGIES, heights, strict=True)
        for k in range(num_seeds)
    ]
    data = {"full_data": (0.93, 0.95), "num_full_labels": 2190} if full else {}
    return compare(curves, metric="balanced_accuracy", **data)


def tile(rng, question, *, size=24, text="margin 0.04", drafted=True):
    image = rng.integers(0, 256, (size, size, 1), dtype=np.uint8)
    if question == "classify":
        return Tile(image, text, "margin", truth_class=1, draft_class=int(rng.integers(3)) if drafted else None)
    truth = (rng.random((size, size)) < 0.2).astype(np.uint16)
    return Tile(image, text, "margin", truth_yx=truth, draft_yx=np.roll(truth, 1) if drafted else None)


def crowd(strategy, question, text):
    """Three annotators, one slow and careless, one who tells no time and answered alone."""
    people = (
        Person(f"oracle-1{text}", 412, 8.2, 3380.0, 96, 0.81, 0.62, 310, 0.88),
        Person("oracle-2", 398, 31.0, 12_300.0, 90, 0.55, 0.34, 301, 0.97),
        Person("oracle-3", 20, None, 0.0, 0, None, None, 0, None),
    )
    measure = "Fleiss' kappa" if question == "classify" else "mean Dice"
    shared = 0 if strategy == "random" else 96
    return Crowd(strategy, people, tuple(Agreement(measure, v, shared, 3) for v in (0.5, 0.6) if shared))


def section(question="classify", *, text="", num_rounds=4, num_tiles=3, size=24, timed=False):
    """A full section; ``text`` is put into everything that a user, a file or a plug-in may name."""
    rng = np.random.default_rng(0)
    names = tuple(f"{name}{text}" for name in CLASSES)
    rounds = tuple(
        AskedRound(
            number,
            20 * number,
            20,
            tuple(tile(rng, question, size=size, text=f"why{text}", drafted=number > 0) for _ in range(num_tiles)),
        )
        for number in range(num_rounds)
    )
    rows = tuple(
        ClassRow(
            name,
            10 * k + 1,
            0.05 + 0.3 * k,
            {s: t_interval(rng.uniform(0, 0.5, 5)) for s in STRATEGIES},
            {s: t_interval(rng.random(5)) for s in STRATEGIES},
        )
        for k, name in enumerate(names)
    )
    return Section(
        title=f"Title{text}",
        question=question,
        class_names=names,
        comparison=comparison(timed=timed),
        facts=((f"Data{text}", f"Templates{text}"),),
        attribution=f"By somebody{text}",
        class_metric=f"recall{text}",
        classes=rows,
        gallery=dict.fromkeys(STRATEGIES, rounds),
        times=tuple(StageTime(s, {"score": 3.0, "finetune": 100.0}) for s in STRATEGIES),
        reuse=tuple(ReuseRow(s, "first model", "all", 1200, None, 1.0, 0.7, False, 800) for s in STRATEGIES),
        people=tuple(crowd(s, question, text) for s in STRATEGIES if s != "entropy"),
        caveats=(f"Averages{text}",),
    )


@pytest.fixture
def make_section():
    return section


@pytest.fixture
def make_comparison():
    return comparison
