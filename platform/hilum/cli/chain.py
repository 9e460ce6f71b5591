"""The runs of one round, each found by its content: a recipe and what is known name them all.

``hilum pool liver.yaml`` and then ``hilum score liver.yaml`` need no id to be copied, because
the pool that this recipe makes of these images has one name. What must be said is what is
already known: ``checkpoint`` and ``labels``, both 'none' in the first round.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from hilum.core.errors import NotFoundError, RequestError, unknown_name
from hilum.core.recipes import CampaignRecipe, Recipe
from hilum.store.labels import NONE
from hilum.store.layout import Store, exists, filesystem
from hilum.store.manifest import MANIFEST, Run

if TYPE_CHECKING:
    from hilum.steps.collect import CollectRecipe

LOOKS_AT: Mapping[str, tuple[str, ...]] = {
    "pool": (),
    "score": ("checkpoint",),
    "select": ("checkpoint", "labels"),
    "label publish": ("checkpoint", "labels"),
    "label collect": ("checkpoint", "labels"),
    "label status": ("checkpoint", "labels"),
    "label reconcile": ("checkpoint", "labels"),
    "finetune": ("checkpoint", "labels"),
    "evaluate": ("checkpoint",),
    "promote": ("checkpoint",),
}
"""Which of the things already known each command wants to be told."""


@dataclass(frozen=True)
class Planned:
    """A run that may or may not be there yet."""

    step: ModuleType
    recipe: Recipe
    inputs: Mapping[str, str]
    run: Run

    @property
    def verb(self) -> str:
        return self.step.__name__.rpartition(".")[2]


@dataclass(frozen=True)
class Chain:
    """A round's runs in order, from the images to the verdict. ``options`` were typed and are typed again."""

    store: Store
    recipe_name: str
    recipe: CampaignRecipe
    ingest_id: str
    checkpoint: str = NONE
    labels: str = NONE
    options: str = ""

    def pool(self) -> Planned:
        return self._planned("pool", self.recipe.pool, ingest=self.ingest_id)

    def score(self) -> Planned:
        from hilum.steps.score import inputs_of

        inputs = inputs_of(self.recipe.score, pool=self._done(self.pool()), checkpoint=self.checkpoint)
        return self._planned("score", self.recipe.score, **inputs)

    def select(self) -> Planned:
        pool_id, score_id = self._done(self.pool()), self._done(self.score())
        # One step alone knows of no rounds before it: a schedule is at its beginning.
        recipe = self.recipe.select.of_round(0)
        return self._planned("select", recipe, score=score_id, pool=pool_id, labels=self.labels)

    def publish(self) -> Planned:
        from hilum.steps.publish import PublishRecipe

        recipe = PublishRecipe(question=self.recipe.question, annotator=self.recipe.annotator)
        return self._planned("publish", recipe, select=self._done(self.select()), checkpoint=self.checkpoint)

    def collect_recipe(self) -> "CollectRecipe":
        from hilum.steps.collect import recipe_of

        return recipe_of(self.recipe)

    def collect_inputs(self) -> dict[str, str]:
        """What collect works on. Its run has no name before the answers are in."""
        self._done(self.publish())
        return {"select": self._done(self.select()), "labels": self.labels}

    def finetune(self) -> Planned:
        if self.labels == NONE:
            raise RequestError("Say what to learn from: --labels ID, as `hilum label collect` printed it.")
        from hilum.steps.teaching import inputs_of

        start = self.checkpoint if self.recipe.finetune.goes_on else self.recipe.finetune.checkpoint or NONE
        recipe = self.recipe.finetune.of_training(is_first=start == NONE)
        inputs = inputs_of(recipe, labels=self.labels, start=start, ingest=self.ingest_id, store=self.store)
        return self._planned("finetune", recipe, **inputs)

    def evaluate(self, checkpoint: str = "") -> Planned:
        checkpoint = checkpoint or self.checkpoint
        if checkpoint == NONE:
            raise RequestError("Say which model to evaluate: --checkpoint ID, as `hilum finetune` printed it.")
        pool_id = self._done(self.pool())
        return self._planned(
            "evaluate", self.recipe.evaluate, checkpoint=checkpoint, ingest=self.ingest_id, pool=pool_id
        )

    def promote(self, champion: str | None) -> Planned:
        challenger = self._done(self.evaluate())
        against = NONE if champion is None else self._done(self.evaluate(champion))
        return self._planned("promote", self.recipe.promote, challenger=challenger, champion=against)

    def command(self, verb: str, *, checkpoint: str = "", labels: str = "") -> str:
        """What to type for ``verb`` of this round, with the ids it wants to be told."""
        known = {"checkpoint": checkpoint or self.checkpoint, "labels": labels or self.labels}
        if verb == "finetune" and not self.recipe.finetune.goes_on:
            known["checkpoint"] = NONE
        told = "".join(f" --{noun} {known[noun]}" for noun in LOOKS_AT[verb] if known[noun] != NONE)
        return f"hilum {verb} {self.recipe_name}{told}{self.options}"

    def _planned(self, verb: str, recipe: Recipe, **inputs: str) -> Planned:
        # Only this one step's module: naming a pool must not load the network that finetune would.
        step = import_module(f"hilum.steps.{verb}")
        return Planned(step, recipe, inputs, Run(self.store, verb, step.STEP_VERSION, recipe, inputs))

    def _done(self, planned: Planned) -> str:
        """The id of a run that must be there already; else which command makes it."""
        if planned.run.finished() is None:
            verb = "label publish" if planned.verb == "publish" else planned.verb
            first = self.command(verb, checkpoint=planned.inputs.get("checkpoint", ""))
            raise NotFoundError(f"This recipe's {planned.verb} run is not there yet. First type: {first}")
        return planned.run.run_id


def checked_id(what: str, url: str) -> None:
    """NotFoundError, with what there is, unless a finished checkpoint or label set is at ``url``."""
    if exists(f"{url}/{MANIFEST}"):
        return
    folder, _, given = url.rpartition("/")
    fs, path = filesystem(folder)
    there = sorted(found.rsplit("/", 2)[-2] for found in fs.glob(f"{path}/*/{MANIFEST}"))
    raise NotFoundError(unknown_name(what, given, there))
