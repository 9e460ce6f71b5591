"""The Python API: what `import hilum` offers, each the same as the command of its name."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hilum.core.recipes import CampaignRecipe, SimulateRecipe
from hilum.store.layout import Store

if TYPE_CHECKING:
    from hilum.cli.measuring import Measurements
    from hilum.core.resources import Resources
    from hilum.loop.campaign import Campaign as LoopCampaign
    from hilum.loop.events import Event
    from hilum.loop.simulate import Simulation
    from hilum.loop.stages import Stage
    from hilum.loop.status import CampaignStatus
    from hilum.store.manifest import Manifest


def init(url: str | Path) -> Store:
    """Make a store in a folder or at a URL, or find the one that is there."""
    from hilum.store.opening import create_store

    return create_store(str(url))[0]


def open(url: str | Path = ".") -> Store:  # noqa: A001 (hilum.open, as one opens a file)
    """The store in a folder or at a URL such as s3://bucket/prefix; NotFoundError if nobody made one."""
    from hilum.store.opening import open_store

    return open_store(str(url))


def ingest(
    store: Store,
    files: str | Path,
    *,
    recipe: str | None = None,
    max_gib: float | None = None,
    on: str = "local",
    address: str | None = None,
) -> "Manifest":
    """Take images in: a folder, a file, a pattern, a URL or a PACS.

    ``recipe`` says how scans are prepared (``ingest.prepare``), and voxels are laid out for its
    patches. Files that hold more than ``max_gib`` (8 if not given) are set aside before they
    get memory.
    """
    from hilum.adapters.folders import find_source
    from hilum.cli.composition import engine
    from hilum.cli.pacs import files_at
    from hilum.cli.reading import finished_ingest, ingest_recipe, run_ingest

    wanted = ingest_recipe(recipe, max_gib=max_gib)
    with files_at(str(files)) as place:
        source = find_source(place)
        before = finished_ingest(store, wanted, source)
        return before or run_ingest(store, wanted, source, engine(on=on, address=address))


def measure(mask: str | Path, *, image: str | Path | None = None, store: Store | None = None) -> "Measurements":
    """Biomarkers of a mask, label by label: a file with its ``image`` if given, or a volume of a ``store`` by id."""
    from hilum.cli.measuring import measured_file, measured_volume

    if store is None:
        return measured_file(str(mask), None if image is None else str(image))
    return measured_volume(store, str(mask))


def recipe(name_or_path: str | Path) -> CampaignRecipe:
    """A campaign recipe from a YAML file, or a shipped one by name."""
    from hilum.loop import recipe_files

    return recipe_files.campaign_recipe(str(name_or_path))


class Campaign:
    """A campaign: a budget of answers, spent round by round. Make one with `create`, find one with `open`."""

    def __init__(self, campaign: "LoopCampaign") -> None:
        self._campaign = campaign

    @classmethod
    def create(
        cls, store: Store, name: str, recipe: str | Path | CampaignRecipe, *, ingest: str | None = None
    ) -> "Campaign":
        """Begin a campaign, or find the one that was begun with the same recipe and images."""
        from hilum.cli.composition import ledger_of
        from hilum.loop.campaign import Campaign as LoopCampaign
        from hilum.loop.choices import check_choices

        loaded = recipe if isinstance(recipe, CampaignRecipe) else _campaign_recipe(recipe)
        check_choices(loaded)
        return cls(LoopCampaign.create(store, name, loaded, ingest_id=ingest, ledger=ledger_of(store)))

    @classmethod
    def open(cls, store: Store, name: str) -> "Campaign":
        """The campaign of that name; NotFoundError, with a guess, if there is none."""
        from hilum.cli.composition import ledger_of
        from hilum.loop.campaign import Campaign as LoopCampaign

        return cls(LoopCampaign.open(store, name, ledger=ledger_of(store)))

    @property
    def name(self) -> str:
        return self._campaign.name

    @property
    def finished(self) -> bool:
        """True when the budget is spent, nobody is left to ask, or the stop rule says enough."""
        return self._campaign.finished

    @property
    def stage(self) -> "Stage":
        return self._campaign.stage

    @property
    def round_number(self) -> int:
        return self._campaign.round_number

    @property
    def status(self) -> "CampaignStatus":
        """Where it stands, round by round, with its learning curve."""
        return self._campaign.status()

    def advance(self, *, on: "str | Resources" = "local", address: str | None = None) -> "Event | None":
        """Do the next stage; None when finished. Raises WaitingForPeople when answers are missing."""
        return self._campaign.advance(**self._hands(on, address))

    def run(self, *, on: "str | Resources" = "local", address: str | None = None) -> "CampaignStatus":
        """Advance until the campaign is finished. Raises WaitingForPeople when answers are missing."""
        return self._campaign.run(**self._hands(on, address))

    def _hands(self, on: "str | Resources", address: str | None) -> dict[str, Any]:
        from hilum.cli.composition import annotator_of, engine

        own = self._campaign
        ready = engine(on=on, address=address, store=own.store)
        annotator = annotator_of(own.store, own.ingest_id, own.recipe.annotator)
        return {"executor": ready.executor, "annotator": annotator, "resources": ready.resources}


def simulate(
    store: Store,
    recipe: str | Path | SimulateRecipe,
    *,
    name: str = "simulation",
    ingest: str | None = None,
    on: "str | Resources" = "local",
    address: str | None = None,
) -> "Simulation":
    """Strategies × seeds beside random, answered by an oracle. ``.comparison`` says who won."""
    from hilum.cli.simulating import run_simulation
    from hilum.loop import recipe_files
    from hilum.loop.simulate import simulation_of

    loaded = recipe if isinstance(recipe, SimulateRecipe) else recipe_files.simulate_recipe(str(recipe))
    manifest, _ = run_simulation(store, name, loaded, ingest_id=ingest, on=on, address=address)
    return simulation_of(manifest)


def _campaign_recipe(name_or_path: str | Path) -> CampaignRecipe:
    from hilum.loop import recipe_files

    return recipe_files.campaign_recipe(str(name_or_path))
