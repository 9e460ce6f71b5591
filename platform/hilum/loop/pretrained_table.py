"""What a comparison of pretrainings found: means, intervals, labels needed, and whether the best is the best by luck.

Shape letters: S = seeds, P = shares of the labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from hilum.loop.curves import Curve, Floats, Interval, labels_to_reach, t_interval
from hilum.loop.findings import metric_title, percent, signed_interval

SIGNIFICANCE = 0.05
_NO_SPREAD = 1e-9


@dataclass(frozen=True)
class MethodRow:
    """One way to start a training. ``needed`` is the share of labels that equals scratch with all of them.

    ``against_scratch`` is the difference at every share, seed by seed; ``p_value`` the paired t test's with all labels.
    """

    name: str
    is_scratch: bool
    values_SP: Floats  # noqa: N815 (shape letters)
    points: tuple[Interval, ...]
    needed: float | None
    against_scratch: tuple[Interval, ...]
    p_value: float | None

    @property
    def with_all(self) -> Interval:
        return self.points[-1]


@dataclass(frozen=True)
class TargetTable:
    """One target: its metric, the shares of labels, every method (scratch first), and the best two's t test.

    ``best_p`` is that of an independent two-sample t test between the best two means with all labels, as
    https://doi.org/10.1016/j.media.2020.101840 prints it.
    """

    target: str
    metric: str
    num_labels: tuple[int, ...]
    methods: tuple[MethodRow, ...]
    best_two: tuple[str, str] | None
    best_p: float | None

    @property
    def reference(self) -> MethodRow:
        return self.methods[0]


def target_table(
    target: str, metric: str, curves: Sequence[Curve], *, titles: Mapping[str, str], scratch: Sequence[str]
) -> TargetTable:
    """Every method's curves as a table. ``titles`` are all methods in order; ``scratch`` those without pretext."""
    by_name = {name: sorted((c for c in curves if c.strategy == name), key=lambda c: c.seed) for name in titles}
    first = by_name[scratch[0]]
    num_labels = first[0].num_labels
    scratch_SP = _values(first)
    level = float(scratch_SP.mean(axis=0)[-1])
    rows = [
        _row(
            titles[name],
            _values(found),
            is_scratch=name in scratch,
            against_SP=None if name == scratch[0] else scratch_SP,
            num_labels=num_labels,
            level=level,
        )
        for name, found in by_name.items()
    ]
    best_two, best_p = _best_two(rows)
    return TargetTable(target, metric, num_labels, tuple(rows), best_two, best_p)


def verdict(table: TargetTable) -> list[str]:
    """What the table says, in sentences."""
    metric, reference = metric_title(table.metric), table.reference
    learnt = [row for row in table.methods if not row.is_scratch]
    best = max(learnt, key=lambda row: row.with_all.mean)
    few = max(learnt, key=lambda row: row.points[0].mean)
    sentences = [
        f"With all {table.num_labels[-1]:,} labels the best pretraining, {best.name}, reaches {best.with_all.mean:.3f} "
        f"{metric}, {reference.name} {reference.with_all.mean:.3f}: {_difference(best, -1)}{_told(best.p_value)}.",
        f"With {table.num_labels[0]:,} labels {few.name} reaches {few.points[0].mean:.3f}, "
        f"{reference.name} {reference.points[0].mean:.3f}: {_difference(few, 0)}.",
    ]
    fewest = min((row for row in learnt if row.needed is not None), key=lambda row: row.needed or 1, default=None)
    if fewest is None or fewest.needed is None:
        sentences.append(f"No pretraining is as good as {reference.name} with all labels.")
    else:
        sentences.append(
            f"{fewest.name} is as good as {reference.name} with all labels after {percent(fewest.needed)} of them."
        )
    if table.best_two is not None and table.best_p is not None:
        told = "differ" if table.best_p < SIGNIFICANCE else "cannot be told apart"
        sentences.append(f"The best two, {table.best_two[0]} and {table.best_two[1]}, {told} (p = {table.best_p:.3f}).")
    return sentences


def as_markdown(table: TargetTable, *, by_share: bool = True) -> str:
    """The table as a page's section; its columns by share of the labels, or by their number."""
    shares = [percent(num / table.num_labels[-1]) for num in table.num_labels]
    columns = (
        [f"{share} of labels" for share in shares] if by_share else [f"{num:,} labels" for num in table.num_labels]
    )
    first, last = (shares[0], "all") if by_share else (columns[0], columns[-1])
    lines = [
        f"| start | {' | '.join(columns)} | labels needed | minus scratch, {first} | minus scratch, {last} | p |",
        "|---" * (len(shares) + 5) + "|",
    ]
    for row in table.methods:
        cells = [
            f"{point.mean:.3f} ± {row.values_SP[:, at].std(ddof=1) if len(row.values_SP) > 1 else 0:.3f}"
            for at, point in enumerate(row.points)
        ]
        needed = "more" if row.needed is None else percent(row.needed)
        apart = [_interval(row.against_scratch[at]) if row.against_scratch else "–" for at in (0, -1)]
        lines.append(f"| {row.name} | {' | '.join([*cells, needed, *apart])} | {_p(row.p_value)} |")
    return "\n".join(lines) + "\n"


def _row(
    title: str,
    values_SP: Floats,
    *,
    is_scratch: bool,
    against_SP: Floats | None,
    num_labels: Sequence[int],
    level: float,
) -> MethodRow:
    points = tuple(t_interval(values_SP[:, at]) for at in range(len(num_labels)))
    reached = labels_to_reach(num_labels, [point.mean for point in points], level)
    needed = None if reached is None else reached / num_labels[-1]
    if against_SP is None:
        return MethodRow(title, is_scratch, values_SP, points, needed, (), None)
    apart_SP = values_SP - against_SP
    with_all_S = apart_SP[:, -1]
    varies = len(with_all_S) > 1 and with_all_S.std() > _NO_SPREAD
    p_value = float(stats.ttest_1samp(with_all_S, 0.0).pvalue) if varies else None
    against = tuple(t_interval(apart_S) for apart_S in apart_SP.T)
    return MethodRow(title, is_scratch, values_SP, points, needed, against, p_value)


def _best_two(rows: Sequence[MethodRow]) -> tuple[tuple[str, str] | None, float | None]:
    best = sorted(rows, key=lambda row: -row.with_all.mean)[:2]
    if len(best) < 2 or len(best[0].values_SP) < 2:
        return None, None
    samples = [row.values_SP[:, -1] for row in best]
    if max(np.ptp(sample) for sample in samples) <= _NO_SPREAD:
        return (best[0].name, best[1].name), None
    return (best[0].name, best[1].name), float(stats.ttest_ind(*samples).pvalue)


def _values(curves: Sequence[Curve]) -> Floats:
    return np.array([curve.values for curve in curves], dtype=float)


def _difference(row: MethodRow, at: int) -> str:
    return signed_interval(row.against_scratch[at]) if row.against_scratch else "no difference"


def _told(p_value: float | None) -> str:
    return "" if p_value is None else f", p = {p_value:.3f}"


def _interval(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return f"{interval.mean:+.3f}"
    return f"{interval.mean:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"


def _p(p_value: float | None) -> str:
    return "–" if p_value is None else f"{p_value:.3f}"
