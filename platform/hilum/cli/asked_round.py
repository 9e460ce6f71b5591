"""What people are asked now: in a campaign's last round, or by the steps of one recipe."""

from collections.abc import Mapping
from dataclasses import dataclass

from hilum.cli.chain import Chain
from hilum.cli.composition import store_at
from hilum.cli.round_steps import chain_for
from hilum.core.errors import NotFoundError
from hilum.core.recipes import CampaignRecipe
from hilum.loop.definition import known_campaigns, read_definition
from hilum.loop.events import history, runs_of
from hilum.store.labels import NONE
from hilum.store.layout import Store


@dataclass(frozen=True)
class CampaignRound:
    """A campaign's last round that asked people, as `Chain` is that of single steps. ``runs`` of it are by step."""

    store: Store
    recipe_name: str
    recipe: CampaignRecipe
    ingest_id: str
    runs: Mapping[str, str]
    options: str

    @property
    def checkpoint(self) -> str:
        """What drafted."""
        return self.runs.get("champion", NONE)

    def collect_inputs(self) -> dict[str, str]:
        """What collect works on; NotFoundError before anybody was asked."""
        if not self.runs:
            raise NotFoundError(f"Campaign '{self.recipe_name}' has asked nobody yet. First type: {self._run()}")
        return {name: self.runs[name] for name in ("select", "labels")}

    def command(self, verb: str) -> str:
        """What to type for ``verb``; what people answered is taken in by the campaign."""
        return self._run() if verb == "label collect" else f"hilum {verb} {self.recipe_name}{self.options}"

    def _run(self) -> str:
        return f"hilum campaign run {self.recipe_name}{self.options}"


def asked_round(
    name: str, store: str | None, ingest: str | None, checkpoint: str = NONE, labels: str = NONE
) -> Chain | CampaignRound:
    """The last round of the store's campaign of this name, or else the round of the recipe of this name."""
    opened = store_at(store)
    if name not in known_campaigns(opened):
        return chain_for(name, store, ingest, checkpoint, labels)
    definition = read_definition(opened, name)
    asked = [runs for events in history(opened, name) if "publish" in (runs := runs_of(events))]
    options = f" --store {store}" if store else ""
    return CampaignRound(opened, name, definition.recipe, definition.ingest_id, asked[-1] if asked else {}, options)
