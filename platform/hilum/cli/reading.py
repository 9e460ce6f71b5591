"""Files into a store: which layout, which run, and the run itself."""

from hilum.cli.composition import Engine
from hilum.core.errors import RecipeError
from hilum.core.geometry import Zyx
from hilum.core.recipes import CampaignRecipe, IngestRecipe, PoolRecipe
from hilum.core.sources import Source
from hilum.store.layout import Store
from hilum.store.manifest import Manifest

LEAST_GIB, MOST_GIB = 0.001, 4096


def ingest_recipe(recipe_name: str | None, *, max_gib: float | None = None) -> IngestRecipe:
    """What a campaign recipe says of ingest; where it does not say so, chunks are laid out for the pool's patches."""
    from hilum.loop import recipe_files

    recipe = IngestRecipe() if recipe_name is None else ingest_recipe_of(recipe_files.campaign_recipe(recipe_name))
    if max_gib is None:
        return recipe
    if not LEAST_GIB <= max_gib <= MOST_GIB:
        raise RecipeError(f"A file may hold {LEAST_GIB} to {MOST_GIB:,} GiB; --max-gib {max_gib:g} is given.")
    return recipe.model_copy(update={"max_bytes": int(max_gib * (1 << 30))})


def ingest_recipe_of(campaign: CampaignRecipe) -> IngestRecipe:
    """What a campaign says of ingest, chunks laid out for its pool's patches where it does not say how."""
    if campaign.ingest.patch_shape_zyx != IngestRecipe().patch_shape_zyx:
        return campaign.ingest
    return campaign.ingest.model_copy(update={"patch_shape_zyx": _read_shape_zyx(campaign.pool)})


def _read_shape_zyx(pool: PoolRecipe) -> Zyx:
    """What will be read at once."""
    if pool.slices is not None and pool.slices.plane != "axial":
        # Whole slices across those that were acquired: cubes serve every direction alike.
        return (32, 32, 32)
    return pool.patch_shape_zyx or IngestRecipe().patch_shape_zyx


def finished_ingest(store: Store, recipe: IngestRecipe, source: Source) -> Manifest | None:
    """What these files became, if they were ingested before and all of it is still there."""
    from hilum.steps import ingest

    return ingest.finished(ingest.planned(recipe, source, store), store)


def run_ingest(store: Store, recipe: IngestRecipe, source: Source, engine: Engine) -> Manifest:
    """Ingest with every reader that hilum has."""
    from hilum.adapters.reading import read_item
    from hilum.steps import ingest

    return ingest.run(recipe, source, store=store, executor=engine.executor, resources=engine.resources, read=read_item)
