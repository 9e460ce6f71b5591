"""Whether what a recipe names, checkpoints and an atlas, is there and fits; told before anybody is asked anything."""

from collections.abc import Collection

from hilum.core.candidates import patch_shape_in
from hilum.core.errors import RecipeError
from hilum.core.geometry import Zyx
from hilum.core.imaging import Volume
from hilum.core.recipes import CampaignRecipe, PoolRecipe
from hilum.steps.score_names import check_named
from hilum.steps.starting import check_start
from hilum.store.layout import Store
from hilum.store.manifest import read_manifest
from hilum.store.volumes import volumes_of


def check_starts(store: Store, recipe: CampaignRecipe, ingest_id: str) -> None:
    """NotFoundError, RequestError or DataError when rounds could not score or train with what the recipe names.

    That is ``score.encoder``, ``score.foreground`` and ``finetune.from``.
    """
    score = recipe.score
    if score.encoder is None and score.foreground is None and recipe.finetune.checkpoint is None:
        return
    volumes = list(volumes_of(store, ingest_id).values())
    asked = [volume for volume in volumes if volume.side in (None, "pool")]
    check_named(score, store, volumes=asked, shapes_zyx=_candidate_shapes(asked, recipe.pool))
    if recipe.finetune.checkpoint is None:
        return
    shapes = {volume.item_shape_zyx for volume in volumes}
    patch = recipe.finetune.patch_shape_zyx or recipe.pool.patch_shape_zyx
    is_flat = recipe.pool.slices is not None or (patch[0] == 1 if patch else all(shape[0] == 1 for shape in shapes))
    check_start(
        recipe.finetune,
        recipe.question,
        store,
        spatial_dims=2 if is_flat else 3,
        in_channels=min(volume.num_channels for volume in volumes),
        num_classes=len(read_manifest(store.run("ingest", ingest_id)).results["class_names"]),
    )


def _candidate_shapes(volumes: Collection[Volume], pool: PoolRecipe) -> set[Zyx]:
    """The shapes that candidates will have. What the pool cannot cut it will name itself, volume by volume."""
    shapes = set()
    for volume in volumes:
        try:
            shapes.add(patch_shape_in(volume, pool))
        except RecipeError:
            continue
    return shapes
