"""Every pretext against scratch on real 3D sets: ``make evidence WHAT=pretraining``.

Fetches the sets (HILUM_DATA_MIRROR or the internet), runs the shipped comparisons with ``hilum
compare-pretraining`` in ``FOLDER`` and writes the page from what they found. What was stopped goes on, and
a second run only writes the page again. Two CPU cores take about two hours.
"""

import argparse
import datetime
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.evidence.commands import PAGES, ROOT, hardware, type_hilum

from hilum.core.recipes import ComparePretrainingRecipe
from hilum.loop import recipe_files
from hilum.loop.compare_pretraining import tables_of
from hilum.loop.pretrained_table import TargetTable, as_markdown, verdict
from hilum.store.layout import Store
from hilum.store.manifest import read_manifest
from hilum.store.opening import open_store

COMPARISONS = ("compare-hippocampus", "compare-adrenal")
COMMAND = "make evidence WHAT=pretraining"


@dataclass(frozen=True)
class Found:
    """One comparison: its recipe, its tables, its plot's file name and what every pretraining ended with."""

    name: str
    recipe: ComparePretrainingRecipe
    tables: tuple[TargetTable, ...]
    plot: str
    pretrained: dict[str, dict[str, Any]]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path, nargs="?", default=ROOT / "evidence", help="where sets and stores are")
    options.add_argument("--on", default="local", help="how fast, as for `hilum compare-pretraining`")
    given = options.parse_args()
    PAGES.mkdir(exist_ok=True)
    found = [_compared(name, given.folder, on=given.on) for name in COMPARISONS]
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    file = PAGES / "pretraining.md"
    file.write_text(page(found, hardware=hardware(), date=today), encoding="utf-8")
    print(f"Written to {file}")


def page(found: list[Found], *, hardware: str, date: str) -> str:
    """The whole page; every figure in it comes from the runs."""
    return "\n\n".join(
        [
            "# Pretraining against scratch",
            f"`{COMMAND}`, {date}, on {hardware}. Each network was pretrained once on scans without labels, then "
            "fine-tuned from there on shares of a labelled set, once a seed; so were networks from scratch, with "
            "weights drawn by three rules. All take the same steps and, seed by seed, the same labels. Patients "
            "tested on were never seen, not in pretraining either. Cells are the mean over seeds ± their standard "
            "deviation, differences are paired by seed with their 95 % interval, *p* is a paired t test's and not "
            "corrected for the number of pretexts "
            "([how to read it](../guide/pretraining.md#which-pretext-is-worth-it)).",
            *(section(one) for one in found),
        ]
    )


def section(found: Found) -> str:
    """One comparison."""
    recipe = found.recipe
    tables = "\n\n".join(
        "\n".join(f"- {sentence}" for sentence in verdict(table)) + f"\n\n{as_markdown(table).strip()}"
        for table in found.tables
    )
    return "\n\n".join(
        [
            f"## {found.tables[0].target.capitalize()}",
            f"Recipe `{found.name}`: {recipe.pretrain.num_steps} steps of pretraining on crops of "
            f"{_shape(recipe.pretrain.patch_shape_zyx)} voxels (Z, Y, X), "
            f"{next(iter(recipe.targets.values())).campaign.finetune.num_steps} of fine-tuning, "
            f"{len(recipe.seeds)} seeds.",
            tables,
            f"![Score against labels, by start]({found.plot})",
            "What each pretraining came to on scans held out. *copying* is the error of what the network was shown, "
            "*constant* that of the best single grey level: a network that restores is below both.",
            pretrained_table(found.pretrained),
        ]
    )


def pretrained_table(pretrained: dict[str, dict[str, Any]]) -> str:
    """Held-out errors of every pretraining; pretexts that restore nothing have a loss alone."""
    columns = ("loss", "restoration_mse", "copying_mse", "constant_mse")
    lines = ["| pretext | loss in training | restoration MSE | copying | constant |", "|---|---|---|---|---|"]
    for name, results in pretrained.items():
        cells = [f"{results[column]:.4f}" if results.get(column) is not None else "–" for column in columns]
        lines.append(f"| {name.replace('-', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _compared(name: str, folder: Path, *, on: str) -> Found:
    recipe = recipe_files.compare_recipe(name)
    sets, url = folder / "sets", folder / name
    for wanted in sorted({recipe.folder, *(target.folder for target in recipe.targets.values())}):
        if not (sets / wanted).exists():
            sets.mkdir(parents=True, exist_ok=True)
            type_hilum("data", "fetch", wanted, str(sets / wanted))
    if not url.exists():
        type_hilum("init", str(url))
    done = type_hilum("compare-pretraining", name, "--data", str(sets), "--store", str(url), "--on", on)
    plot = f"{name}.png"
    shutil.copyfile(done["plot"], PAGES / plot)
    store = open_store(str(url))
    tables = tuple(tables_of(store, recipe, read_manifest(store.run("compare_pretraining", done["run_id"]))))
    return Found(name, recipe, tables, plot, _pretrained(store, done["results"]["pretrained"]))


def _pretrained(store: Store, checkpoints: dict[str, str]) -> dict[str, dict[str, Any]]:
    return {name: dict(read_manifest(store.run("pretrain", run_id)).results) for name, run_id in checkpoints.items()}


def _shape(shape_zyx: tuple[int, int, int]) -> str:
    return " × ".join(map(str, shape_zyx))


if __name__ == "__main__":
    main()
