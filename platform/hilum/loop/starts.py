"""Whether the checkpoint that a recipe starts from is there and fits, asked before anybody is asked anything."""

from hilum.core.recipes import CampaignRecipe
from hilum.steps.starting import check_start
from hilum.store.layout import Store
from hilum.store.manifest import read_manifest
from hilum.store.volumes import volumes_of


def check_starts(store: Store, recipe: CampaignRecipe, ingest_id: str) -> None:
    """NotFoundError or RequestError when trainings could not start from ``finetune.from``."""
    if recipe.finetune.checkpoint is None:
        return
    volumes = volumes_of(store, ingest_id)
    shapes = {volume.item_shape_zyx for volume in volumes.values()}
    patch = recipe.finetune.patch_shape_zyx or recipe.pool.patch_shape_zyx
    is_flat = recipe.pool.slices is not None or (patch[0] == 1 if patch else all(shape[0] == 1 for shape in shapes))
    check_start(
        recipe.finetune,
        recipe.question,
        store,
        spatial_dims=2 if is_flat else 3,
        in_channels=min(volume.num_channels for volume in volumes.values()),
        num_classes=len(read_manifest(store.run("ingest", ingest_id)).results["class_names"]),
    )
