"""Files into a store: which layout, which run, and the run itself."""

from typing import Any

from hilum.cli.composition import Engine
from hilum.core.errors import RecipeError
from hilum.core.recipes import IngestRecipe
from hilum.core.sources import Source
from hilum.store.layout import Store
from hilum.store.manifest import Manifest

LEAST_GIB, MOST_GIB = 0.001, 4096


def ingest_recipe(recipe_name: str | None, *, max_gib: float | None = None) -> IngestRecipe:
    """Chunks laid out for a campaign recipe's patches; for whole images if the recipe cuts none."""
    from hilum.loop import recipe_files

    chosen: dict[str, Any] = {}
    if recipe_name is not None:
        patch_shape = recipe_files.campaign_recipe(recipe_name).pool.patch_shape_zyx
        chosen |= {} if patch_shape is None else {"patch_shape_zyx": patch_shape}
    if max_gib is not None:
        if not LEAST_GIB <= max_gib <= MOST_GIB:
            raise RecipeError(f"A file may hold {LEAST_GIB} to {MOST_GIB:,} GiB; --max-gib {max_gib:g} is given.")
        chosen["max_bytes"] = int(max_gib * (1 << 30))
    return IngestRecipe(**chosen)


def finished_ingest(store: Store, recipe: IngestRecipe, source: Source) -> Manifest | None:
    """What these files became, if they were ingested before and all of it is still there."""
    from hilum.steps import ingest

    return ingest.finished(ingest.planned(recipe, source, store), store)


def run_ingest(store: Store, recipe: IngestRecipe, source: Source, engine: Engine) -> Manifest:
    """Ingest with every reader that hilum has."""
    from hilum.adapters.reading import read_item
    from hilum.steps import ingest

    return ingest.run(recipe, source, store=store, executor=engine.executor, resources=engine.resources, read=read_item)
