"""A campaign at a glance: told by its events, right at every moment."""

from typing import Any

from hilum.core.recipes import BudgetRecipe
from hilum.loop.events import Event
from hilum.loop.stages import Stage
from hilum.loop.status import summarise
from hilum.testing.campaigns import tiny_recipe

RECIPE = tiny_recipe("classify").model_copy(update={"campaign": BudgetRecipe(num_per_round=5, num_in_total=20)})


def metrics(value: float) -> dict[str, Any]:
    return {"validation": {"balanced_accuracy": value}, "test": {"balanced_accuracy": value - 0.1}}


def a_round(number: int, champion: str, value: float, *, promoted: bool) -> dict[Stage, Event]:
    """One whole round's events."""
    end = Stage.PROMOTED if promoted else Stage.REJECTED
    told: dict[Stage, tuple[dict[str, str], dict[str, Any]]] = {
        Stage.OPENED: ({"champion": champion, "labels": "none", "ingest": "i"}, {}),
        Stage.SCORED: ({"pool": "p", "score": f"s{number}"}, {}),
        Stage.SELECTED: ({"select": f"q{number}"}, {"num_selected": 5, "num_wanted": 5}),
        Stage.PUBLISHED: ({"publish": f"u{number}"}, {"num_tasks": 5}),
        Stage.COLLECTED: ({"collect": f"l{number}"}, {"num_answers": 5}),
        Stage.TRAINED: ({"finetune": f"c{number}"}, {}),
        Stage.EVALUATED: ({"evaluate": f"e{number}"}, {"metrics": metrics(value)}),
        end: ({"promote": f"m{number}"}, {"metric": "balanced_accuracy", "challenger": value, "promoted": promoted}),
    }
    return {
        stage: Event(
            campaign="liver", round_number=number, stage=stage, runs=runs, counts=counts, seconds={stage.value: 1.5}
        )
        for stage, (runs, counts) in told.items()
    }


ROUNDS = [
    a_round(0, "none", 0.6, promoted=True),
    a_round(1, "c0", 0.5, promoted=False),
    a_round(2, "c0", 0.7, promoted=True),
]


def test_every_trained_round_is_a_point_with_its_own_checkpoint_and_the_champion() -> None:
    curve = summarise("liver", RECIPE, ROUNDS).curve
    assert [point.num_labels for point in curve] == [5, 10, 15]
    assert [point.checkpoint_id for point in curve] == ["c0", "c1", "c2"]
    assert [point.champion_id for point in curve] == ["c0", "c0", "c2"]
    assert [point.metrics["validation"]["balanced_accuracy"] for point in curve] == [0.6, 0.5, 0.7]
    assert [point.champion_metrics["validation"]["balanced_accuracy"] for point in curve] == [0.6, 0.6, 0.7]
    assert [point.promoted for point in curve] == [True, False, True]


def test_the_champion_is_the_last_one_promoted() -> None:
    after_two = summarise("liver", RECIPE, ROUNDS[:2])
    assert (after_two.champion_id, after_two.champion_metric) == ("c0", 0.6)
    after_three = summarise("liver", RECIPE, ROUNDS)
    assert (after_three.champion_id, after_three.champion_metric, after_three.metric) == (
        "c2",
        0.7,
        "balanced_accuracy",
    )


def test_a_new_campaign_has_no_champion_and_no_curve() -> None:
    opened = {Stage.OPENED: ROUNDS[0][Stage.OPENED]}
    status = summarise("liver", RECIPE, [opened])
    assert (status.champion_id, status.champion_metric, status.metric, status.curve) == (None, None, None, ())
    assert (status.stage, status.num_asked, status.num_answered, status.finished) == (Stage.OPENED, 0, 0, False)


def test_what_was_asked_but_not_answered_shows() -> None:
    half = {stage: event for stage, event in ROUNDS[1].items() if stage.number <= Stage.PUBLISHED.number}
    status = summarise("liver", RECIPE, [ROUNDS[0], half])
    assert (status.num_asked, status.num_answered) == (10, 5)
    assert (status.round_number, status.stage) == (1, Stage.PUBLISHED)
    assert status.history[1].promoted is None
    assert len(status.curve) == 1


def test_seconds_and_runs_are_kept_by_round() -> None:
    second = summarise("liver", RECIPE, ROUNDS).history[1]
    assert second.runs["score"] == "s1"
    assert second.seconds["scored"] == 1.5
    assert second.promoted is False
