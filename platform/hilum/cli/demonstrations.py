"""What `hilum demo` can show, and one demonstration from its images to its comparison."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hilum.adapters import catalogue
from hilum.adapters.folders import find_source
from hilum.cli.composition import engine
from hilum.cli.reading import finished_ingest, ingest_recipe, run_ingest
from hilum.cli.simulating import run_simulation
from hilum.core.recipes import BudgetRecipe, SimulateRecipe
from hilum.loop import recipe_files
from hilum.loop.report import Section
from hilum.loop.report.gather import section_of
from hilum.store.layout import Store, filesystem
from hilum.store.manifest import Manifest

QUICK_ROUNDS = 2


@dataclass(frozen=True)
class Demonstration:
    """One campaign on one public set: how it is prepared, by which recipe, and what to be careful about."""

    name: str
    set_name: str
    preparation: str
    recipe: str
    caveats: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    num_full_data_seeds: int = 3


_AVERAGES = (
    "The three brains are population averages in one standard space, not patients: the pool is one of them and the "
    "test another. This shows how a campaign goes; it is no evidence for a clinic."
)
_FRESH_SEEDS = (15, 16, 17, 18, 19)
"""As many as ten minutes on two processors allow. The recipes were chosen on seeds 0 to 14."""
DEMONSTRATIONS: dict[str, tuple[Demonstration, ...]] = {
    "packaged": (
        Demonstration("demo-classify", "packaged", "classify", "demo-classify", (_AVERAGES,), _FRESH_SEEDS, 2),
        Demonstration("demo-segment", "packaged", "segment", "demo-segment", (_AVERAGES,), _FRESH_SEEDS, 1),
    ),
    "mednist": (Demonstration("mednist", "mednist", "rare", "mednist"),),
    "msd_hippocampus": (Demonstration("msd-hippocampus", "msd_hippocampus", "segment", "msd-hippocampus"),),
    "adrenalmnist3d": (Demonstration("adrenal", "adrenalmnist3d", "half", "adrenal"),),
}


def simulation_recipe(demonstration: Demonstration, *, quick: bool) -> SimulateRecipe:
    """The demonstration's recipe beside random; ``quick`` is two rounds of one seed, to see that it turns."""
    wanted = recipe_files.simulate_recipe(demonstration.recipe).model_copy(
        update={"seeds": demonstration.seeds, "num_full_data_seeds": demonstration.num_full_data_seeds}
    )
    if not quick:
        return wanted
    budget = wanted.campaign.campaign
    first = budget.num_first_round or budget.num_per_round
    short = BudgetRecipe(
        num_first_round=first,
        num_per_round=budget.num_per_round,
        num_in_total=first + (QUICK_ROUNDS - 1) * budget.num_per_round,
    )
    campaign = wanted.campaign.model_copy(update={"campaign": short})
    return wanted.model_copy(update={"campaign": campaign, "seeds": wanted.seeds[:1], "full_data": False})


def demonstrate(
    store: Store,
    demonstration: Demonstration,
    *,
    quick: bool,
    on: str,
    address: str | None,
    say: Callable[[str], None],
) -> tuple[Manifest, bool]:
    """Get the images, take them in and run the simulation. Whatever is done already is left alone."""
    folder = Path(filesystem(store.path("data", f"{demonstration.set_name}-{demonstration.preparation}"))[1])
    if not folder.exists():
        known = catalogue.entry(demonstration.set_name)
        say(f"preparing {known.name}: {known.preparations[demonstration.preparation].about}")
    catalogue.fetch(demonstration.set_name, folder, preparation=demonstration.preparation)
    source = find_source(str(folder))
    layout = ingest_recipe(demonstration.recipe)
    manifest = finished_ingest(store, layout, source)
    if manifest is None:
        say("taking the images in")
        manifest = run_ingest(store, layout, source, engine(on=on, address=address))
    name = f"{demonstration.name}-quick" if quick else demonstration.name
    recipe = simulation_recipe(demonstration, quick=quick)
    say(f"campaign {name}: {', '.join(['random', *recipe.strategies])}, seeds {', '.join(map(str, recipe.seeds))}")
    return run_simulation(store, name, recipe, ingest_id=manifest.run_id, on=on, address=address)


def report_section(store: Store, demonstration: Demonstration, manifest: Manifest) -> Section:
    """The demonstration's part of the report, with its source, licence and cautions."""
    known = catalogue.entry(demonstration.set_name)
    return section_of(
        store,
        manifest,
        title=known.preparations[demonstration.preparation].about.capitalize(),
        data={"Images": known.about, "Licence": known.licence},
        attribution=known.citation,
        caveats=demonstration.caveats,
    )
