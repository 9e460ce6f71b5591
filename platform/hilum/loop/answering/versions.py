"""Which checkpoint answers for a model, and how it wants its images: as its campaign prepared and cut them.

A model is its campaign's name. ``liver`` is its champion, ``liver@canary`` whatever another alias points at, and
``liver:0a1b2c3d4e5f`` one of its checkpoints.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from hilum.core.errors import NotFoundError, RequestError
from hilum.core.ports import Ledger
from hilum.core.recipes import CampaignRecipe, Choice, PoolRecipe, PrepareRecipe
from hilum.loop.campaign import Campaign, campaigns
from hilum.loop.definition import read_definition
from hilum.nn.predictor import SINGLE
from hilum.steps.promote import CHAMPION
from hilum.store import checkpoints
from hilum.store.layout import Store, exists
from hilum.store.manifest import MANIFEST, read_manifest

_REFERENCE = re.compile(
    r"(?P<model>[A-Za-z0-9][A-Za-z0-9._-]{0,99})(?:@(?P<alias>[a-z][a-z0-9-]{0,39})|:(?P<id>[0-9a-f]{12}))?"
)
BESIDE_PATTERN = r"^(@[a-z][a-z0-9-]{0,39}|:[0-9a-f]{12})$"
"""A version named beside its model: by ``@alias`` or ``:checkpoint``."""
_NUM_KEPT = 64


@dataclass(frozen=True)
class Reference:
    """A model as a caller names it: by an alias, by a checkpoint, or by its name alone: then ``alias`` is None.

    Its name alone means the champion, or for a share of requests its canary.
    """

    model: str
    alias: str | None = None
    checkpoint_id: str | None = None


@dataclass(frozen=True)
class Version:
    """One checkpoint of a model, and how it reads images."""

    model: str
    checkpoint_id: str
    card: Mapping[str, Any] = field(hash=False, repr=False)
    prepare: PrepareRecipe
    pool: PoolRecipe
    overlap: float
    members: Choice

    @property
    def question(self) -> str:
        return str(self.card["question"])

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.card["class_names"])

    @property
    def licence(self) -> str:
        return str(self.card.get("licence", "unknown"))


def reference(text: str) -> Reference:
    """``name``, ``name@alias`` or ``name:checkpoint``; RequestError for anything else."""
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise RequestError("A model is named as name, name@alias or name:checkpoint, such as liver@champion.")
    return Reference(found["model"], found["alias"], found["id"])


def pinned(store: Store, ledger: Ledger, version: Version, marks: Sequence[str]) -> tuple[str, ...]:
    """Other versions of a model, each once, as ``:checkpoint``; RequestError or NotFoundError where one is none."""
    for mark in marks:
        if re.fullmatch(BESIDE_PATTERN, mark) is None:
            raise RequestError(f"Another version of {version.model} is @alias or :checkpoint; given {mark!r}.")
    meant = (checkpoint_of(store, ledger, reference(version.model + mark)) for mark in marks)
    return tuple(f":{one}" for one in dict.fromkeys(meant) if one != version.checkpoint_id)


def checkpoint_of(store: Store, ledger: Ledger, asked: Reference) -> str:
    """The checkpoint that is meant; NotFoundError when the model has no such alias or never had that checkpoint."""
    if asked.checkpoint_id is None:
        alias = asked.alias or CHAMPION
        found = ledger.alias(asked.model, alias)
        if found is None:
            raise NotFoundError(f"There is no model '{asked.model}' with a {alias}.")
        return found
    if asked.checkpoint_id not in checkpoints_of(store, ledger, asked.model):
        raise NotFoundError(f"Model '{asked.model}' has no checkpoint {asked.checkpoint_id}.")
    return asked.checkpoint_id


def models_of(ledger: Ledger) -> dict[str, str]:
    """Every model that has a champion, and which."""
    return {model: found for (model, alias), found in sorted(ledger.aliases().items()) if alias == CHAMPION}


def checkpoints_of(store: Store, ledger: Ledger, model: str) -> list[str]:
    """The checkpoints that a model's campaign trained, oldest first, and those that its aliases point at."""
    pointed = [found for (name, _), found in ledger.aliases().items() if name == model]
    trained: list[str] = []
    if model in campaigns(store):
        trained = [point.checkpoint_id for point in Campaign.open(store, model, ledger=ledger).status().curve]
    return list(dict.fromkeys([*trained, *pointed]))


@lru_cache(maxsize=_NUM_KEPT)
def version_of(store: Store, model: str, checkpoint_id: str) -> Version:
    """A checkpoint as a model's version. RequestError for one that answers no question."""
    card = checkpoints.read_card(store, checkpoint_id)
    if card["question"] not in ("segment", "classify"):
        raise RequestError(f"Checkpoint {checkpoint_id} answers no question about an image; train it first.")
    recipe = read_definition(store, model).recipe if model in campaigns(store) else None
    evaluate = recipe.evaluate if recipe else None
    return Version(
        model,
        checkpoint_id,
        card,
        prepare=_prepare(store, card, recipe),
        pool=recipe.pool if recipe else PoolRecipe(patch_shape_zyx=tuple(card["patch_shape_zyx"])),
        overlap=evaluate.overlap if evaluate else 0.5,
        members=evaluate.members if evaluate else SINGLE,
    )


def _prepare(store: Store, card: Mapping[str, Any], recipe: CampaignRecipe | None) -> PrepareRecipe:
    """How the images were prepared that the checkpoint was trained on; where they are gone, as its campaign says."""
    ingest_id = card.get("inputs", {}).get("ingest")
    if ingest_id is not None and exists(f"{store.run('ingest', ingest_id)}/{MANIFEST}"):
        return PrepareRecipe.model_validate(read_manifest(store.run("ingest", ingest_id)).recipe.get("prepare", {}))
    return recipe.ingest.prepare if recipe else PrepareRecipe()
