"""tune: try settings of a training, end the poor ones early, and write out the recipe of the best.

inputs: ``ingest``, ``labels``, ``pool``. files: ``trials.parquet``, ``best.yaml``, ``trials.png``.
Every trial is a run of its own, found by its content, so a sweep that was killed goes on where it
was, and a longer one trains only what is new. The test side is not looked at.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from hilum.core.errors import DataError, RecipeError
from hilum.core.ports import Annotator, Counts, Executor
from hilum.core.recipes import CampaignRecipe, Choice, PoolRecipe, SelectRecipe
from hilum.core.resources import Resources
from hilum.core.sweeps import TuneRecipe, rungs_of
from hilum.loop.branches import random_recipe
from hilum.loop.recipe_files import as_yaml
from hilum.loop.trials import FAILED, STOPPED, Trial, TrialNews, best_of, news_of, row_of, told, trials_of, write_end
from hilum.loop.trials_plot import trials_png
from hilum.steps import collect, evaluate, pool, publish, score, select, trial
from hilum.store.labels import NONE
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run, write_bytes
from hilum.store.tables import TRIALS, write_rows

STEP = "tune"
STEP_VERSION = 1
TABLE, BEST, PLOT = "trials.parquet", "best.yaml", "trials.png"
Report = Callable[[Counts], None]
OnNews = Callable[[Sequence[TrialNews]], None]


class RunTrials(Protocol):
    """Who runs trials side by side and may end one inside ``report``; Ray Tune, or one after the other."""

    def __call__(
        self,
        work: Callable[[int, Report], None],
        numbers: Sequence[int],
        *,
        rungs: Sequence[int],
        reduction_factor: int,
        resources: Resources,
        on_rung: Callable[[int, Counts], None],
        on_end: Callable[[int], None],
    ) -> None: ...


@dataclass(frozen=True)
class TrialBench:
    """How a trial gets its hands: who runs them all, and what runs the steps of one in its own process."""

    run_trials: RunTrials
    make_executor: Callable[[], Executor]


def tune(
    store: Store,
    recipe: TuneRecipe,
    *,
    inputs: Mapping[str, str],
    bench: TrialBench,
    resources: Resources,
    on_news: OnNews | None = None,
) -> Manifest:
    """Run every trial that has not ended yet and return the sweep's manifest."""
    this = Run(store, STEP, STEP_VERSION, recipe, inputs)
    before = this.finished()
    if before is not None:
        return before
    trials = trials_of(recipe)
    _check_somebody_validates(store, recipe.campaign, inputs["ingest"])

    def now() -> list[TrialNews]:
        return [news_of(store, one, inputs, this.url) for one in trials]

    def heard(number: int, _: Counts | None = None, *, ended: bool = False) -> None:
        news = news_of(store, trials[number], inputs, this.url)
        if ended and not news.end and news.rungs:
            write_end(this.url, number, STOPPED, step=news.step)
        if on_news is not None:
            on_news(now())

    if not all(one.end for one in now()):
        # Those that ended go along: they only tell their rungs again, so that the others are compared with them.
        bench.run_trials(
            partial(
                climb,
                trials=trials,
                inputs=inputs,
                tune_url=this.url,
                store=store,
                make_executor=bench.make_executor,
                resources=resources,
            ),
            [one.trial.number for one in sorted(now(), key=lambda one: (not one.end, one.trial.number))],
            rungs=rungs_of(recipe),
            reduction_factor=recipe.reduction_factor,
            resources=resources,
            on_rung=heard,
            on_end=partial(heard, ended=True),
        )
    return _commit(this, now())


def climb(
    number: int,
    report: Report,
    *,
    trials: Sequence[Trial],
    inputs: Mapping[str, str],
    tune_url: str,
    store: Store,
    make_executor: Callable[[], Executor],
    resources: Resources,
) -> None:
    """One trial, in whatever process it was sent to. One that ended before only tells its rungs."""
    one = trials[number]
    before = news_of(store, one, inputs, tune_url)
    if before.end:
        for rung in before.rungs:
            report(rung)
        return
    try:
        trial.run(one.recipe, inputs, store=store, executor=make_executor(), resources=resources, report=report)
    except RecipeError as error:  # it diverged, or does not fit these images: that is what it has to say
        step = news_of(store, one, inputs, tune_url).step
        write_end(tune_url, number, FAILED, step=step, reason=str(error))


def one_after_the_other(
    work: Callable[[int, Report], None],
    numbers: Sequence[int],
    *,
    rungs: Sequence[int],  # noqa: ARG001
    reduction_factor: int,  # noqa: ARG001
    resources: Resources,  # noqa: ARG001
    on_rung: Callable[[int, Counts], None],
    on_end: Callable[[int], None],
) -> None:
    """Every trial to its end, in this process: nobody is compared with anybody."""
    for number in numbers:
        work(number, partial(on_rung, number))
        on_end(number)


def sweep_inputs(
    store: Store,
    recipe: TuneRecipe,
    *,
    ingest_id: str,
    labels: str,
    executor: Executor,
    make_annotator: Callable[[Store, str, Choice], Annotator],
    resources: Resources,
) -> dict[str, str]:
    """What the trials learn from: ``labels``, or for 'none' every answer that the pool's images came with."""
    hands: dict[str, Any] = {"store": store, "executor": executor, "resources": resources}
    pooled = pool.run(recipe.campaign.pool, {"ingest": ingest_id}, **hands)
    inputs = {"ingest": ingest_id, "pool": pooled.run_id, "labels": labels}
    if labels != NONE:
        return inputs
    plain = random_recipe(recipe.campaign)
    scored = score.run(plain.score, {"pool": pooled.run_id, "checkpoint": NONE}, **hands)
    everything = SelectRecipe(num=int(pooled.results["num_candidates"]), seed=recipe.seed)
    chosen = select.run(everything, {"score": scored.run_id, "pool": pooled.run_id, "labels": NONE}, **hands)
    oracle = Choice(kind="oracle")
    asked = publish.PublishRecipe(question=recipe.campaign.question, annotator=oracle)
    annotator = make_annotator(store, ingest_id, oracle)
    publish.run(
        asked, {"select": chosen.run_id, "checkpoint": NONE}, store=store, annotator=annotator, resources=resources
    )
    answered = collect.CollectRecipe(question=recipe.campaign.question)
    collected = collect.run(answered, {"select": chosen.run_id, "labels": NONE}, store=store, annotator=annotator)
    return {**inputs, "labels": collected.run_id}


def _check_somebody_validates(store: Store, campaign: CampaignRecipe, ingest_id: str) -> None:
    held_out = evaluate.held_out(store, ingest_id, PoolRecipe.model_validate(campaign.pool))
    validating = [one for one in held_out if one[1] == "validation"]
    if not evaluate.shards_of(validating, question=campaign.question):
        raise DataError(
            "No image of the validation side has an answer, so no trial can be scored. Give some patients that side "
            "(index.csv, column side), or a larger pool.split.validation."
        )


def _commit(this: Run, news: Sequence[TrialNews]) -> Manifest:
    best = best_of(news)
    assert best.score is not None
    metric = best.rungs[-1]["metric"]
    write_rows(this.path(TABLE), TRIALS, map(row_of, news))
    write_bytes(this.path(BEST), _best_yaml(best, len(news), metric).encode())
    write_bytes(this.path(PLOT), trials_png(news, best, metric))
    ends = [one.end for one in news]
    return this.commit(
        files=[TABLE, BEST, PLOT],
        metric=metric,
        best={**row_of(best), "settings": dict(best.trial.settings)},
        num_trials=len(news),
        **{f"num_{end}": ends.count(end) for end in ("finished", "stopped", "failed")},
        trials=[
            {**row_of(one), "settings": dict(one.trial.settings), "rungs": [[r["step"], r["score"]] for r in one.rungs]}
            for one in news
        ],
    )


def _best_yaml(best: TrialNews, num_trials: int, metric: str) -> str:
    head = (
        f"# Trial {best.trial.number} of {num_trials}: {told(best.trial.settings)}.\n"
        f"# {metric} {best.score:.4f} on the validation side after {best.step} steps; the test side was left alone.\n"
    )
    return head + as_yaml(best.trial.campaign)
