"""Every name in a recipe, checked before the first byte is written: scorers, samplers, networks, annotators."""

from collections.abc import Iterator

from hilum.core.errors import RecipeError, unknown_name
from hilum.core.recipes import CampaignRecipe, Choice, SelectRecipe
from hilum.core.registry import MemberParams, Registry, ViewParams, annotators, architectures, samplers, scorers
from hilum.select.costs import PER_SECOND
from hilum.steps.consensus import multiannotator
from hilum.steps.score import check_keeps_members, reading_losses

_AT_RANDOM = ("random", "foreground_random")
NOTHING_AT_RANDOM = (
    "No arm of select.arms draws at random, so this campaign cannot tell whether asking cleverly pays. "
    "Give a tenth to {kind: random}."
)


def check_choices(recipe: CampaignRecipe) -> None:
    """RecipeError, with the likely meaning, if a name is unknown or a parameter does not fit its function."""
    for registry, choice in _choices(recipe):
        registry.bind(choice)
    computed = [scorer.kind for scorer in recipe.score.scorers]
    readable = computed if recipe.select.cost is None else [*computed, *(f"{name}{PER_SECOND}" for name in computed)]
    for arm in recipe.select.of_round(0).arms:
        _check_score_is_computed(arm.sampler, readable)
        _check_members_are_kept(arm.sampler, recipe)
        _check_contrasts_before_a_model(arm.sampler)
    _check_views_are_kept(recipe)
    if recipe.select.cold_start.kind == "foreground_random" and recipe.score.foreground is None:
        raise RecipeError(
            "select.cold_start 'foreground_random' asks before there is a model that sees foreground. Say what knows "
            "it: score.foreground, such as {checkpoint: ID} or {atlas: ID}; or start with {kind: random}."
        )
    check_keeps_members(recipe.score, recipe.question)
    _check_losses_are_learnt(recipe)
    _check_somebody_else_can_answer(recipe)
    stop = recipe.campaign.stop
    if stop is not None and stop.max_uncertainty is not None and stop.uncertainty not in computed:
        raise RecipeError(
            "campaign.stop.uncertainty is a score that is not computed. "
            + unknown_name("scorer in score.scorers", stop.uncertainty, computed)
        )


def _check_somebody_else_can_answer(recipe: CampaignRecipe) -> None:
    """RecipeError where the oracle has too few annotators, RequestError where cleanlab is wanted and not installed."""
    relabel = recipe.select.relabel
    if relabel is None:
        return
    if recipe.question == "classify":
        multiannotator()
    num = int(recipe.annotator.params.get("annotators", 1))
    if recipe.annotator.kind == "oracle" and num < relabel.max_annotators:
        raise RecipeError(
            f"select.relabel asks up to {relabel.max_annotators} people about one candidate, and the oracle is {num}: "
            f"give annotator {{kind: oracle, annotators: {relabel.max_annotators}}}, or a lower max_annotators."
        )


def random_share(recipe: SelectRecipe) -> float:
    """The share of a round's picks that are drawn at random, anywhere or where the model sees foreground."""
    return sum(arm.share for arm in recipe.arms if arm.sampler.kind in _AT_RANDOM)


def _choices(recipe: CampaignRecipe) -> Iterator[tuple[Registry, Choice]]:
    # Importing them is what registers ours; torch comes with nn, so not before it is needed.
    from hilum.adapters import directory, oracle  # noqa: F401
    from hilum.adapters.label_studio import annotator  # noqa: F401
    from hilum.nn import nested, pretrained  # noqa: F401
    from hilum.nn.augment import augmentations
    from hilum.nn.losses import losses
    from hilum.nn.members import members
    from hilum.select import builtin  # noqa: F401
    from hilum.select.reduce import reduction

    reduction(recipe.score.reduce)
    yield members, recipe.score.members
    yield members, recipe.evaluate.members
    if recipe.calibrate is not None:
        yield members, recipe.calibrate.members
    yield members, recipe.finetune.misclassified.members
    yield from ((scorers, choice) for choice in recipe.score.scorers)
    yield from ((samplers, arm.sampler) for arm in recipe.select.of_round(0).arms)
    yield samplers, recipe.select.cold_start
    yield annotators, recipe.annotator
    yield architectures, recipe.finetune.architecture
    yield from ((augmentations, choice) for choice in recipe.finetune.augment)
    if recipe.finetune.loss is not None:
        yield losses, recipe.finetune.loss


def _check_members_are_kept(sampler: Choice, recipe: CampaignRecipe) -> None:
    if not issubclass(samplers.params_of(sampler.kind), MemberParams):
        return
    if recipe.question == "segment":
        raise RecipeError(f"Sampler '{sampler.kind}' compares classes of whole candidates; this campaign outlines.")
    if not recipe.score.keep_members or recipe.score.members.kind == "single":
        raise RecipeError(
            f"Sampler '{sampler.kind}' reads every member's class probabilities: set score.keep_members: true and "
            "score.members to several, such as {kind: dropout, num_members: 8} or {kind: mirrors}."
        )


def _check_contrasts_before_a_model(sampler: Choice) -> None:
    if issubclass(samplers.params_of(sampler.kind), ViewParams):
        raise RecipeError(
            f"Sampler '{sampler.kind}' is for the first round, and select.arms ask once there is a model. "
            "Make it select.cold_start."
        )


def _check_views_are_kept(recipe: CampaignRecipe) -> None:
    kind = recipe.select.cold_start.kind
    if issubclass(samplers.params_of(kind), ViewParams) and not recipe.score.num_views:
        raise RecipeError(f"Sampler '{kind}' contrasts views of candidates: set score.num_views, such as 4.")


def _check_losses_are_learnt(recipe: CampaignRecipe) -> None:
    reading = reading_losses(recipe.score)
    if reading and recipe.finetune.learning_loss is None:
        raise RecipeError(
            f"Scorer '{reading[0]}' reads the loss that the round's model predicts: set finetune.learning_loss, such "
            "as {}, so that it learns to."
        )


def _check_score_is_computed(sampler: Choice, computed: list[str]) -> None:
    """A sampler can only read a score that the score step writes."""
    params = samplers.params_of(sampler.kind).model_validate(sampler.params)
    wanted = getattr(params, "score", None)
    reads_it = getattr(params, "shortlist", ...) is not None  # k_centre reads a score for its shortlist alone
    if wanted is not None and reads_it and wanted not in computed:
        if wanted.removesuffix(PER_SECOND) in computed:
            raise RecipeError(
                f"Sampler '{sampler.kind}' reads '{wanted}', a score for each predicted second. "
                "Say what a question costs: select.cost, such as {}."
            )
        raise RecipeError(
            f"Sampler '{sampler.kind}' reads a score that is not computed. "
            + unknown_name("scorer in score.scorers", wanted, computed)
        )
