"""promote: the better checkpoint answers, and nobody moves the alias behind another's back."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.errors import ConflictError, RecipeError
from hilum.core.recipes import EvaluateRecipe, PromoteRecipe
from hilum.steps import promote
from hilum.store.layout import Store
from hilum.store.ledger import SqlLedger, open_ledger
from hilum.store.manifest import Manifest, Run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


@pytest.fixture
def ledger(store: Store) -> SqlLedger:
    return open_ledger(store)


def evaluated(store: Store, checkpoint: str, **validation: Any) -> str:
    """An evaluate run that found these metrics on the validation side."""
    run = Run(store, "evaluate", 1, EvaluateRecipe(), {"checkpoint": checkpoint})
    return run.commit(validation=validation, test={"dice_mean": 0.0}).run_id


def decide(store: Store, ledger: SqlLedger, champion: str, challenger: str, **recipe: Any) -> Manifest:
    inputs = {"champion": champion, "challenger": challenger}
    return promote.run(PromoteRecipe(**recipe), inputs, store=store, ledger=ledger, model="liver")


def test_the_first_checkpoint_is_promoted(store: Store, ledger: SqlLedger) -> None:
    first = evaluated(store, "c1", dice_mean=0.0)
    manifest = decide(store, ledger, "none", first)
    assert manifest.results == {"metric": "dice_mean", "challenger": 0.0, "champion": None, "promoted": True}
    assert ledger.alias("liver", "champion") == "c1"


@pytest.mark.parametrize(("value", "promoted"), [(0.81, True), (0.8, True), (0.7985, True), (0.79, False)])
def test_a_checkpoint_not_worse_beyond_tolerance_is_promoted(
    store: Store, ledger: SqlLedger, value: float, *, promoted: bool
) -> None:
    old, new = evaluated(store, "c1", dice_mean=0.8), evaluated(store, "c2", dice_mean=value)
    decide(store, ledger, "none", old)
    assert decide(store, ledger, old, new).results["promoted"] is promoted
    assert ledger.alias("liver", "champion") == ("c2" if promoted else "c1")


def test_deciding_twice_moves_the_alias_once(store: Store, ledger: SqlLedger) -> None:
    old, new = evaluated(store, "c1", dice_mean=0.1), evaluated(store, "c2", dice_mean=0.2)
    decide(store, ledger, "none", old)
    assert decide(store, ledger, old, new) == decide(store, ledger, old, new)
    assert ledger.alias("liver", "champion") == "c2"


def test_an_alias_that_somebody_moved_is_left_to_them(store: Store, ledger: SqlLedger) -> None:
    old, new = evaluated(store, "c1", dice_mean=0.1), evaluated(store, "c2", dice_mean=0.2)
    decide(store, ledger, "none", old)
    ledger.point("liver", "champion", "c9", expected="c1")
    with pytest.raises(ConflictError, match="points at c9"):
        decide(store, ledger, old, new)
    assert ledger.alias("liver", "champion") == "c9"


def test_a_crash_between_deciding_and_pointing_is_made_good(store: Store, ledger: SqlLedger) -> None:
    old, new = evaluated(store, "c1", dice_mean=0.1), evaluated(store, "c2", dice_mean=0.2)
    decide(store, ledger, "none", old)
    decide(store, open_ledger(Store(f"{store.url}/elsewhere")), "none", old)
    inputs = {"champion": old, "challenger": new}
    Run(store, "promote", promote.STEP_VERSION, PromoteRecipe(), inputs).commit(promoted=True)
    decide(store, ledger, old, new)
    assert ledger.alias("liver", "champion") == "c2"


def test_the_metric_can_be_named_and_is_guessed_at(store: Store, ledger: SqlLedger) -> None:
    only = evaluated(store, "c1", dice_mean=0.5, iou_mean=0.3)
    assert decide(store, ledger, "none", only, metric="iou_mean").results["challenger"] == 0.3
    with pytest.raises(RecipeError, match="Did you mean 'iou_mean'"):
        decide(store, ledger, "none", only, metric="iou_meen")


def test_classify_goes_by_balanced_accuracy(store: Store, ledger: SqlLedger) -> None:
    only = evaluated(store, "c1", accuracy=0.9, balanced_accuracy=0.4)
    assert decide(store, ledger, "none", only).results["metric"] == "balanced_accuracy"


def test_a_metric_that_is_no_number_is_beaten_by_one_that_is(store: Store, ledger: SqlLedger) -> None:
    blind, seeing = evaluated(store, "c1", dice_mean=math.nan), evaluated(store, "c2", dice_mean=0.0)
    decide(store, ledger, "none", blind)
    assert decide(store, ledger, blind, seeing).results["promoted"]
    assert not decide(store, ledger, seeing, blind).results["promoted"]


values = st.none() | st.floats(0, 1)


@given(values, values, st.floats(0, 0.1))
def test_a_checkpoint_never_loses_to_itself_and_never_wins_without_a_number(
    one: float | None, other: float | None, tolerance: float
) -> None:
    assert promote.is_promoted(one, None, tolerance)
    if one is not None:
        assert promote.is_promoted(one, one, tolerance)
    if other is not None:
        assert not promote.is_promoted(None, other, tolerance)
    if one is not None and other is not None and one >= other:
        assert promote.is_promoted(one, other, tolerance)


@pytest.mark.parametrize("metric", ["hd95_mm_mean", "volume_error_mean", "false_positives_per_scan_mean"])
def test_a_metric_of_which_more_is_not_better_chooses_no_champion(store: Store, ledger: SqlLedger, metric: str) -> None:
    first = evaluated(store, "c1", **{metric: 4.0})
    with pytest.raises(RecipeError, match="more is not better"):
        decide(store, ledger, "none", first, metric=metric)
    assert ledger.alias("liver", "champion") is None
