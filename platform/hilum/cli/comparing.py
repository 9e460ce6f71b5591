"""Running a comparison of pretrainings: its folders ingested, its tables for a terminal."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from hilum.adapters.folders import find_source
from hilum.adapters.ray_data import RayExecutor
from hilum.cli.composition import Engine, annotator_of, engine
from hilum.cli.console import table
from hilum.cli.reading import finished_ingest, ingest_recipe_of, run_ingest
from hilum.core.errors import NotFoundError
from hilum.core.recipes import ComparePretrainingRecipe, IngestRecipe
from hilum.loop.choices import check_choices
from hilum.loop.compare_pretraining import (
    SCANS,
    STEP,
    STEP_VERSION,
    check_pretexts,
    compare_pretraining,
    input_of,
    tables_of,
)
from hilum.loop.findings import percent
from hilum.loop.pretrained_table import TargetTable
from hilum.loop.simulate import Workbench
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run


def run_comparison(
    store: Store, name: str, recipe: ComparePretrainingRecipe, *, data: Path, on: str, address: str | None
) -> tuple[Manifest, bool]:
    """The comparison's manifest, and whether it was there already."""
    check_pretexts(recipe)  # before anything is ingested
    for target in recipe.targets.values():
        check_choices(target.campaign)
    ready = engine(on=on, address=address)
    inputs = _ingested(store, recipe, data, ready)
    before = Run(store, STEP, STEP_VERSION, recipe, {**inputs, "name": name}).finished()
    if before is not None:
        return before, True
    manifest = compare_pretraining(
        store,
        name,
        recipe,
        inputs=inputs,
        executor=ready.executor,
        workbench=Workbench(make_executor=RayExecutor, make_annotator=annotator_of),
        resources=ready.resources,
    )
    return manifest, False


def target_tables(
    store: Store, recipe: ComparePretrainingRecipe, manifest: Manifest
) -> Iterator[tuple[Table, list[str]]]:
    """Every target as a table, with what it says."""
    for found in tables_of(store, recipe, manifest):
        yield _shown(found), manifest.results["verdicts"][found.target]


def _shown(found: TargetTable) -> Table:
    shares = [percent(num / found.num_labels[-1]) for num in found.num_labels]
    rows: list[list[Any]] = [
        [
            row.name,
            *(f"{point.mean:.3f}" for point in row.points),
            "more" if row.needed is None else percent(row.needed),
            "–" if row.p_value is None else f"{row.p_value:.3f}",
        ]
        for row in found.methods
    ]
    return table(f"{found.target}: {found.metric}", ["start", *shares, "labels needed", "p"], rows)


def _ingested(store: Store, recipe: ComparePretrainingRecipe, data: Path, ready: Engine) -> dict[str, str]:
    """The ingest of every target as its campaign says, and of the scans: a target's, where it is of that folder."""
    wanted = {name: (target.folder, ingest_recipe_of(target.campaign)) for name, target in recipe.targets.items()}
    as_target = [(folder, of) for folder, of in wanted.values() if folder == recipe.folder]
    of_its_own = (recipe.folder, IngestRecipe(patch_shape_zyx=recipe.pretrain.patch_shape_zyx))
    scans = as_target[0] if as_target else of_its_own
    return {
        SCANS: _ingest(store, data / scans[0], scans[1], ready),
        **{input_of(name): _ingest(store, data / folder, of, ready) for name, (folder, of) in wanted.items()},
    }


def _ingest(store: Store, folder: Path, recipe: IngestRecipe, ready: Engine) -> str:
    if not folder.exists():
        raise NotFoundError(f"There is no folder {folder}; --data says where the recipe's folders are.")
    source = find_source(str(folder))
    manifest = finished_ingest(store, recipe, source) or run_ingest(store, recipe, source, ready)
    return manifest.run_id
