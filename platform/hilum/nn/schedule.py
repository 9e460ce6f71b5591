"""How fast weights move at each step, and which chunks of a batch are whose."""

import math

from hilum.core.recipes import TrainingRecipe

_POLY_POWER = 0.9


def learning_rate(recipe: TrainingRecipe, step: int) -> float:
    """Linear warm-up; then half a cosine or a power of what is left (nnU-Net's 0.9), both down to nothing, or flat."""
    warm_up = round(recipe.warm_up * recipe.num_steps)
    if step < warm_up:
        return recipe.learning_rate * (step + 1) / warm_up
    done = (step - warm_up) / max(1, recipe.num_steps - warm_up)
    match recipe.schedule:
        case "cosine":
            return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
        case "poly":
            return recipe.learning_rate * math.pow(1 - done, _POLY_POWER)
        case "constant":
            return recipe.learning_rate


def chunks_of(num_chunks: int, *, rank: int, num_workers: int) -> range:
    """Consecutive chunks of one worker; shares differ by one chunk at most."""
    return range(rank * num_chunks // num_workers, (rank + 1) * num_chunks // num_workers)
