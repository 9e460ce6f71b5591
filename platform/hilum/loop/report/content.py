"""What a report shows, as plain values: nothing here knows a store, a figure or HTML.

Shape letters: Y, X = one slice's rows and columns; C = 1 (grey) or 3 (colour).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hilum.core.asking import LabelMap
from hilum.core.recipes import Question
from hilum.loop.comparison import Comparison
from hilum.loop.curves import Interval
from hilum.loop.findings import Findings, findings
from hilum.loop.people import Agreement, Person


@dataclass(frozen=True)
class ClassRow:
    """One class: how common it is, how often it was asked about, and how well it is known at the end.

    Shares are of candidates: those of the class (classify) or that show it (segment).
    ``final`` is the held-out metric of the class, by strategy; empty when the class was not measured.
    """

    name: str
    num_in_pool: int
    share_in_pool: float
    shares_asked: Mapping[str, Interval]
    final: Mapping[str, Interval]


@dataclass(frozen=True)
class Tile:
    """One candidate as it was asked: a slice shown as 0–255, what the model thought, what was true."""

    image_yxc: npt.NDArray[np.uint8]
    reason: str
    arm: str
    truth_class: int | None = None
    draft_class: int | None = None
    truth_yx: LabelMap | None = None
    draft_yx: LabelMap | None = None


@dataclass(frozen=True)
class AskedRound:
    """The first few candidates that one round of one campaign asked about, in rank order."""

    number: int
    num_labels_before: int
    num_asked: int
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class StageTime:
    """Seconds one campaign of a strategy spent in each stage, mean over seeds."""

    strategy: str
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class ReuseRow:
    """What one strategy's trainings, but for the first, used of the rounds before; means over seeds.

    ``num_taught`` and ``num_steps`` are of a whole campaign, the rest of a round. None where
    there was nothing to use again, or (``num_misclassified``) nobody looked.
    """

    strategy: str
    starts_from: str
    taught: str
    num_taught: float
    num_misclassified: float | None
    label_reuse: float | None
    data_reuse: float | None
    model_reuse: bool
    num_steps: float


@dataclass(frozen=True)
class Crowd:
    """The annotators of one strategy: each the mean over its seeds, and how far all of them agreed in each."""

    strategy: str
    people: tuple[Person, ...]
    agreements: tuple[Agreement, ...]


@dataclass(frozen=True)
class Section:
    """Everything one simulation has to show. ``facts`` are shown as given, label and value."""

    title: str
    question: Question
    class_names: tuple[str, ...]
    comparison: Comparison
    facts: tuple[tuple[str, str], ...] = ()
    attribution: str = ""
    class_metric: str = ""
    classes: tuple[ClassRow, ...] = ()
    gallery: Mapping[str, tuple[AskedRound, ...]] = field(default_factory=dict)
    times: tuple[StageTime, ...] = ()
    reuse: tuple[ReuseRow, ...] = ()
    people: tuple[Crowd, ...] = ()
    caveats: tuple[str, ...] = ()

    @property
    def findings(self) -> Findings:
        return findings(self.comparison)

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names in the order of colours: random last."""
        return tuple(result.name for result in self.comparison.strategies)
