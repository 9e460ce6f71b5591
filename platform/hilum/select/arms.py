"""A round's budget, split over arms: each arm's sampler picks from what the arms before it left."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hilum.core.errors import RecipeError
from hilum.core.recipes import ArmRecipe
from hilum.core.registry import samplers
from hilum.select.constraints import Caps
from hilum.select.overlap import Boxes
from hilum.select.reasons import reasons
from hilum.select.scored import Ints, ScoredPool

Sampler = Callable[..., Ints]


@dataclass(frozen=True)
class Pick:
    """One row of the pool, chosen: by which arm, with which score, and why."""

    row: int
    arm: str
    score: float
    reason: str


def split_by_share(num: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers that sum to ``num`` and are nearest to its shares (largest remainder, first among equals)."""
    exact = [num * share / sum(shares) for share in shares]
    # 0.1 + 0.2 is a little more than 0.3: a share that should be whole must not be floored below it.
    whole = [int(value + 1e-9) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: (-(exact[i] - whole[i]), i))
    for i in by_remainder[: num - sum(whole)]:
        whole[i] += 1
    return whole


def pick_by_arms(
    scored: ScoredPool,
    arms: Sequence[ArmRecipe],
    num: int,
    *,
    seed: int,
    boxes: Boxes | None = None,
    caps: Caps | None = None,
    class_names: Sequence[str] = (),
) -> list[Pick]:
    """``num`` picks in the order of the arms, no two of which overlap; all there are when the pool is smaller.

    ``caps`` count the picks of all arms; where they allow fewer, there are fewer.

    Every arm draws from (seed, labelled so far, its place): a new round draws anew, and the
    number of workers changes nothing.
    """
    bound = [samplers.bind(arm.sampler) for arm in arms]
    budgets = split_by_share(num, [arm.share for arm in arms])
    open_rows = np.arange(scored.num)
    apart = _Apart(boxes, caps or Caps(()), np.zeros(scored.num, bool))
    picks: list[Pick] = []
    for place, (arm, name) in enumerate(zip(arms, arm_names(arms), strict=True)):
        rng = np.random.default_rng([seed, len(scored.labelled_fractions), place])
        rows, left, left_rows = _pick_apart(
            bound[place], scored, open_rows, budgets[place], kind=arm.sampler.kind, rng=rng, apart=apart
        )
        local = np.searchsorted(open_rows, rows)
        values, why = reasons(arm.sampler, scored, local, class_names)
        picks += [Pick(int(r), name, v, w) for r, v, w in zip(rows, values, why, strict=True)]
        scored, open_rows = left, left_rows
    return picks


def arm_names(arms: Sequence[ArmRecipe]) -> list[str]:
    """Each arm by its sampler's name; a second arm of the same sampler is 'random-2'."""
    names: list[str] = []
    for place, arm in enumerate(arms):
        same = sum(before.sampler.kind == arm.sampler.kind for before in arms[:place])
        names.append(f"{arm.sampler.kind}-{same + 1}" if same else arm.sampler.kind)
    return names


def _pick_apart(
    sampler: Sampler,
    scored: ScoredPool,
    open_rows: Ints,
    num: int,
    *,
    kind: str,
    rng: np.random.Generator,
    apart: "_Apart",
) -> tuple[Ints, ScoredPool, Ints]:
    """Ask ``sampler`` until ``num`` picks are allowed or nobody is left; returns picks, the pool left and its rows."""
    picks: list[int] = []
    while len(picks) < num and scored.num:
        wanted = num - len(picks)
        local = _checked(sampler(scored, wanted, rng=rng), kind, min(wanted, scored.num), scored.num)
        kept = apart.kept(open_rows[local])
        picks += kept
        picked = np.searchsorted(open_rows, np.array(kept, np.int64))
        shut = apart.taken[open_rows] | apart.caps.closed(open_rows)
        scored = scored.after(picked, np.flatnonzero(shut))
        open_rows = open_rows[~shut]
    return np.array(picks, np.int64), scored, open_rows


@dataclass(frozen=True)
class _Apart:
    """What keeps a row from being picked beside those picked before it: its place, and full groups.

    ``taken``: every row that was picked or shares a voxel with one that was.
    """

    boxes: Boxes | None
    caps: Caps
    taken: npt.NDArray[np.bool_]

    def kept(self, rows: Ints) -> list[int]:
        """``rows`` in order without those that are kept away; the others are picked."""
        kept: list[int] = []
        for row in (int(r) for r in rows):
            if self.taken[row] or not self.caps.take(row):
                continue
            kept.append(row)
            self.taken[row if self.boxes is None else self.boxes.neighbours(row)] = True
        return kept


def _checked(rows: Ints, kind: str, wanted: int, num_open: int) -> Ints:
    rows = np.asarray(rows)
    whole = rows.ndim == 1 and np.issubdtype(rows.dtype, np.integer)
    if not whole or len(np.unique(rows)) != wanted or len(rows) != wanted or np.any((rows < 0) | (rows >= num_open)):
        raise RecipeError(
            f"Sampler '{kind}' must return {wanted} different rows of 0 to {num_open - 1}; "
            f"it returned {len(rows)}, {len(np.unique(rows))} of them different."
        )
    return rows
