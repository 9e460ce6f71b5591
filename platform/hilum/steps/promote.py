"""promote: let the new checkpoint answer from now on, if it is not worse than the one in force."""

import math
from collections.abc import Mapping

from hilum.core.errors import RecipeError, unknown_name
from hilum.core.ports import AliasLedger
from hilum.core.recipes import PromoteRecipe
from hilum.nn.metrics import LOWER_IS_BETTER
from hilum.store.labels import NONE
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run, read_manifest

STEP_VERSION = 1
CHAMPION = "champion"
AUTO_METRICS = ("balanced_accuracy", "dice_mean")


def run(recipe: PromoteRecipe, inputs: Mapping[str, str], *, store: Store, ledger: AliasLedger, model: str) -> Manifest:
    """Compare evaluate run ``inputs['challenger']`` with ``inputs['champion']`` and move ``model``'s alias.

    Running it again moves nothing; if somebody else moved the alias meanwhile, a ConflictError.
    """
    this = Run(store, "promote", STEP_VERSION, recipe, inputs)
    challenger = read_manifest(store.run("evaluate", inputs["challenger"]))
    champion = None if inputs["champion"] == NONE else read_manifest(store.run("evaluate", inputs["champion"]))
    manifest = this.finished()
    if manifest is None:
        metric = metric_name(recipe, challenger)
        ours = value_of(challenger, metric)
        theirs = None if champion is None else value_of(champion, metric)
        promoted = is_promoted(ours, theirs, recipe.tolerance)
        manifest = this.commit(metric=metric, challenger=ours, champion=theirs, promoted=promoted)
    if manifest.results["promoted"]:
        expected = None if champion is None else champion.inputs["checkpoint"]
        ledger.point(model, CHAMPION, challenger.inputs["checkpoint"], expected=expected)
    return manifest


def is_promoted(challenger: float | None, champion: float | None, tolerance: float) -> bool:
    """Anything beats nothing; a metric that could not be computed beats no number."""
    if champion is None:
        return True
    return challenger is not None and challenger >= champion - tolerance


def metric_name(recipe: PromoteRecipe, evaluated: Manifest) -> str:
    """The metric that decides, as the evaluate run calls it."""
    known = evaluated.results.get("validation", {})
    if recipe.metric != "auto":
        if recipe.metric not in known:
            raise RecipeError(unknown_name("metric on the validation side", recipe.metric, known))
        if recipe.metric.removesuffix("_mean") in LOWER_IS_BETTER:
            raise RecipeError(
                f"Of '{recipe.metric}' more is not better, and a champion is who has more. Promote by dice_mean, "
                "surface_dice_mean or lesion_sensitivity_mean."
            )
        return recipe.metric
    return next((name for name in AUTO_METRICS if name in known), AUTO_METRICS[0])


def value_of(evaluated: Manifest, metric: str) -> float | None:
    """The metric on the validation side; None when it is not a number or nobody is on that side."""
    value = evaluated.results.get("validation", {}).get(metric)
    return float(value) if value is not None and math.isfinite(value) else None
