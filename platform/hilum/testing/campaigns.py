"""Tiny campaigns for tests, what they leave behind, and what must always be true of it."""

import hashlib
from itertools import pairwise
from pathlib import Path

from hilum.core.recipes import (
    ArmRecipe,
    BudgetRecipe,
    CampaignRecipe,
    Choice,
    EvaluateRecipe,
    FinetuneRecipe,
    PoolRecipe,
    Question,
    ScoreRecipe,
    SelectRecipe,
)
from hilum.loop.budget import num_selected
from hilum.loop.events import history, runs_of
from hilum.loop.stages import Stage, may_move
from hilum.store.labels import read_answers
from hilum.store.layout import Store
from hilum.store.manifest import read_manifest, verify
from hilum.store.selections import read_selection
from hilum.store.volumes import volumes_of

DETERMINED = (
    "runs/select/*/selection.parquet",
    "runs/collect/*/annotations.parquet",
    "labels/*/manifest.json",
    "checkpoints/*/model.safetensors",
    "runs/*/*/manifest.json",
)
"""Files whose bytes the recipe and the answers determine, kills and resources whatever they were."""


def tiny_recipe(question: Question, *, num_rounds: int = 2, num_per_round: int = 5, seed: int = 0) -> CampaignRecipe:
    """A campaign that takes a second a round and still uses every step for real."""
    arms = (
        ArmRecipe(share=0.6, sampler=Choice(kind="top_k", score="entropy")),
        ArmRecipe(share=0.4, sampler=Choice(kind="random")),
    )
    return CampaignRecipe(
        question=question,
        pool=PoolRecipe(candidates_per_shard=12),
        score=ScoreRecipe(scorers=(Choice(kind="entropy"),), seed=seed),
        select=SelectRecipe(arms=arms, seed=seed),
        annotator=Choice(kind="oracle"),
        finetune=FinetuneRecipe(
            architecture=Choice(kind="unet", depth=1, features=[4, 8]),
            num_steps=2,
            batch_size=4,
            checkpoint_every=1,
            seed=seed,
        ),
        evaluate=EvaluateRecipe(num_resamples=10),
        campaign=BudgetRecipe(num_per_round=num_per_round, num_in_total=num_per_round * num_rounds),
    )


def determined_files(store: Store) -> dict[str, str]:
    """SHA-256 of every file that two campaigns of one recipe must agree on. For local stores."""
    root = Path(store.url)
    found = sorted(path for pattern in DETERMINED for path in root.glob(pattern))
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def check_invariants(store: Store, name: str, recipe: CampaignRecipe) -> None:
    """AssertionError if a campaign overspent, asked twice, lost an answer, or mixed the sides of the split."""
    rounds = history(store, name)
    selections = [read_selection(store, runs_of(events)["select"]) for events in rounds if Stage.SELECTED in events]
    patches = [chosen.candidate.patch for selection in selections for chosen in selection]
    budget = recipe.campaign
    assert len(patches) <= budget.num_in_total
    assert all(len(selection) <= (budget.num_first_round or budget.num_per_round) for selection in selections[:1])
    assert all(len(selection) <= budget.num_per_round for selection in selections[1:])
    assert len({patch.candidate_id for patch in patches}) == len(patches)
    assert not any(a.overlaps(b) for place, a in enumerate(patches) for b in patches[:place])
    _check_answers(store, name)
    _check_moves(store, name)
    _check_sides(store, name)


def _check_answers(store: Store, name: str) -> None:
    """Every answer is in the next training set exactly once, and nothing else is."""
    asked: set[str] = set()
    for events in history(store, name):
        runs = runs_of(events)
        if Stage.COLLECTED not in events:
            continue
        selection = read_selection(store, runs["select"])
        assert len(selection) == num_selected(events)
        asked |= {chosen.candidate.candidate_id for chosen in selection}
        answered = [answer.patch.candidate_id for answer in read_answers(store, runs["collect"])]
        assert sorted(answered) == sorted(asked)
        if Stage.TRAINED in events:
            assert read_manifest(store.run("finetune", runs["finetune"])).inputs["labels"] == runs["collect"]


def _check_moves(store: Store, name: str) -> None:
    """The events are one walk through legal moves, and every run they name is whole."""
    walked = [(number, stage) for number, events in enumerate(history(store, name)) for stage in events]
    assert walked[0] == (0, Stage.OPENED)
    assert all(may_move(before, after) for before, after in pairwise(walked))
    for events in history(store, name):
        for step, run_id in runs_of(events).items():
            if step not in ("champion", "labels") and run_id != "none":
                url = store.run(step, run_id)
                assert verify(url, read_manifest(url)) == []


def _check_sides(store: Store, name: str) -> None:
    """Nobody of the held-out sides was asked about."""
    for events in history(store, name):
        runs = runs_of(events)
        held_out = {v.study.patient_id for v in volumes_of(store, runs["ingest"]).values() if v.side != "pool"}
        if "select" in runs:
            asked = {chosen.candidate.patient_id for chosen in read_selection(store, runs["select"])}
            assert not asked & held_out
