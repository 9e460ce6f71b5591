"""What `architectures` measured as a page of Markdown: numbers in, sentences out, nothing known beforehand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hilum.loop.comparison import Difference, compare
from hilum.loop.curves import RANDOM, Curve, Interval, t_interval

UNET = "U-Net"
SUPERVISED = "UNet++, deep supervision"
LEAST_P = 0.05


@dataclass(frozen=True)
class Costs:
    """Of one patch on one CPU thread, as `hilum.nn.costs` measures them."""

    num_parameters: int
    gflop: float
    latency_ms: float
    patches_per_second: float
    peak_mib: float | None


@dataclass(frozen=True)
class Row:
    """A network, or one depth of it: its test Dice for every seed, in the order of the seeds, and its costs."""

    name: str
    dice: tuple[float, ...]
    costs: Costs


@dataclass(frozen=True)
class SetEvidence:
    """One data set: the networks (the U-Net among them) and the depths of the supervised UNet++, shallowest first."""

    title: str
    about: str
    arms: tuple[Row, ...]
    depths: tuple[Row, ...]


def page(sets: Sequence[SetEvidence], *, hardware: str, date: str, command: str) -> str:
    num_seeds = len(sets[0].arms[0].dice)
    names = list(dict.fromkeys(row.name for one in sets for row in one.arms))
    parts = [
        "# U-Net, wide U-Net and UNet++ on real images",
        f"{'; '.join(names)}: these are compared on {len(sets)} public sets of `hilum data`, with "
        f"{num_seeds} seeds each. The budget is equal: the same labels (the whole "
        "pool, in one round), number of steps, batch size, crops, learning rate, loss and augmentation; only "
        "`finetune.architecture` differs, so a step of a larger network takes more time (GFLOP). No network was tuned "
        "by itself, and trainings are short: longer ones may show something else. "
        "The wide U-Net has about the parameters of the UNet++, as in the paper "
        "(<https://arxiv.org/abs/1912.05074>).",
        "Dice is the mean over foreground classes, over all voxels of the test patients together. Intervals are 95 % t "
        "intervals over seeds: they tell how much a training's luck matters on these patients, and nothing about "
        "other patients. Differences are paired by seed; p is of a paired t test, corrected for the number of rows "
        f"(Holm), and below {LEAST_P:g} counts as told apart.",
        *[
            _section(one, missing=[name for name in names if name not in {row.name for row in one.arms}])
            for one in sets
        ],
        "## How it was made",
        f"```text\n{command}\n```",
        f"{hardware}, {date}. Costs are of one patch (the training's crop) on one CPU thread, medians over turns. ms "
        "is wall time, which other programs on the machine lengthen; patches/s, and the speed beside it, is by the CPU "
        "time of a batch. GFLOP counts a multiplication and an addition as two; peak MiB is what one patch adds to a "
        "process that holds the network. The depths are heads of one training: nothing was trained again.",
    ]
    return "\n\n".join(parts) + "\n"


def differences(rows: Sequence[Row], reference: str) -> dict[str, Difference]:
    """Every other row minus ``reference``, paired by seed, by the statistics of `hilum simulate`."""
    curves = [
        # There the reference is called random.
        Curve(RANDOM if row.name == reference else row.name, seed, (1,), (value,))
        for row in rows
        for seed, value in enumerate(row.dice)
    ]
    found = compare(curves, metric="dice_mean").strategies
    return {result.name: result.difference for result in found if result.difference is not None}


def _section(one: SetEvidence, *, missing: Sequence[str]) -> str:
    deepest = one.depths[-1].name
    against_unet, against_deepest = differences(one.arms, UNET), differences(one.depths, deepest)
    return "\n\n".join(
        [
            f"## {one.title}",
            " ".join([one.about, *(f"Not run on this set: {name}." for name in missing)]),
            _table(one.arms, against_unet, reference=UNET, heading="network"),
            " ".join(_verdict(row.name, UNET, against_unet[row.name], one) for row in one.arms if row.name != UNET),
            f"The same {SUPERVISED}, pruned:",
            _table(one.depths, against_deepest, reference=deepest, heading="depth"),
            " ".join(_depth_verdict(row, one, against_deepest) for row in one.depths[:-1]),
        ]
    )


def _table(rows: Sequence[Row], found: Mapping[str, Difference], *, reference: str, heading: str) -> str:
    base = next(row for row in rows if row.name == reference)
    head = (
        heading,
        *("test Dice", "95 %", f"minus {reference}", "95 %", "p"),
        *("parameters", "GFLOP", "ms", "patches/s", f"speed, {reference} = 1", "peak MiB"),
    )
    lines = [_line(head), _line(["---"] * len(head))]
    for row in rows:
        costs, score = row.costs, t_interval(row.dice)
        difference = found.get(row.name)
        apart = ["", "", ""] if difference is None else _told(difference)
        lines.append(
            _line(
                [
                    row.name,
                    f"{score.mean:.4f}",
                    _ends(score),
                    *apart,
                    f"{costs.num_parameters:,}",
                    f"{costs.gflop:.2f}",
                    f"{costs.latency_ms:.1f}",
                    f"{costs.patches_per_second:.1f}",
                    f"{costs.patches_per_second / base.costs.patches_per_second:.2f}",
                    "" if costs.peak_mib is None else f"{costs.peak_mib:.1f}",
                ]
            )
        )
    return "\n".join(lines)


def _verdict(name: str, reference: str, difference: Difference, one: SetEvidence) -> str:
    num, by = len(one.arms[0].dice), f"{difference.interval.mean:+.4f}, {_ends(difference.interval, sign=True)}"
    if difference.p_adjusted >= LEAST_P:
        return f"{num} seeds cannot tell {name} from {reference} ({by})."
    word = "better" if difference.interval.mean > 0 else "worse"
    seeds = difference.num_seeds_better if word == "better" else num - difference.num_seeds_better
    return f"{name} is {word} than {reference} ({by}; {seeds} of {num} seeds)."


def _depth_verdict(row: Row, one: SetEvidence, found: Mapping[str, Difference]) -> str:
    deepest = one.depths[-1]
    faster = row.costs.patches_per_second / deepest.costs.patches_per_second
    fewer = deepest.costs.num_parameters / row.costs.num_parameters
    return f"{row.name} is {faster:.2f} × as fast as {deepest.name} with {fewer:.1f} × fewer parameters. " + _verdict(
        row.name, deepest.name, found[row.name], one
    )


def _told(difference: Difference) -> list[str]:
    p = difference.p_adjusted
    return [
        f"{difference.interval.mean:+.4f}",
        _ends(difference.interval, sign=True),
        "< 0.001" if p < 0.001 else f"{p:.3f}",
    ]


def _ends(interval: Interval, *, sign: bool = False) -> str:
    if interval.low is None or interval.high is None:
        return "one seed has none"
    form = "+.4f" if sign else ".4f"
    return f"{interval.low:{form}} to {interval.high:{form}}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
