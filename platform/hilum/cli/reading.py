"""Files into a store: which layout, which run, and the run itself."""

from hilum.cli.composition import Engine
from hilum.core.recipes import IngestRecipe
from hilum.core.sources import Source
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run


def ingest_recipe(recipe_name: str | None) -> IngestRecipe:
    """Chunks laid out for a campaign recipe's patches; for whole images if the recipe cuts none."""
    from hilum.loop import recipe_files

    if recipe_name is None:
        return IngestRecipe()
    patch_shape = recipe_files.campaign_recipe(recipe_name).pool.patch_shape_zyx
    return IngestRecipe() if patch_shape is None else IngestRecipe(patch_shape_zyx=patch_shape)


def planned_ingest(store: Store, recipe: IngestRecipe, source: Source) -> Run:
    """The run that ingests these files, which may be there already."""
    from hilum.steps import ingest

    return Run(store, "ingest", ingest.STEP_VERSION, recipe, {"source": source.fingerprint})


def run_ingest(store: Store, recipe: IngestRecipe, source: Source, engine: Engine) -> Manifest:
    """Ingest with every reader that hilum has."""
    from hilum.adapters.reading import read_item
    from hilum.steps import ingest

    return ingest.run(recipe, source, store=store, executor=engine.executor, resources=engine.resources, read=read_item)
