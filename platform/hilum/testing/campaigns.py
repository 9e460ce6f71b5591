"""Tiny campaigns for tests, what they leave behind, and what must always be true of it."""

import hashlib
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
from hilum.store.layout import Store
from hilum.testing.invariants import EACH, Left

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
    """AssertionError where one of the `invariants` that a campaign is judged by alone does not hold."""
    left = Left(store, name, recipe)
    for holds in EACH:
        holds(left)
