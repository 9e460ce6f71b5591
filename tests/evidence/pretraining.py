"""Every pretext against scratch on real 3D sets: ``make evidence WHAT=pretraining``.

Fetches the sets (HILUM_DATA_MIRROR or the internet), runs the shipped comparisons with ``hilum
compare-pretraining`` in ``FOLDER`` and writes the page from what they found. What was stopped goes on, and
a second run only writes the page again. Two CPU cores take about two hours.
"""

import argparse
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.evidence.commands import PAGES, ROOT, hardware, type_hilum

from hilum.core.recipes import ComparePretrainingRecipe, FinetuneRecipe
from hilum.loop import recipe_files
from hilum.loop.compare_pretraining import input_of, tables_of
from hilum.loop.curves import RANDOM, t_interval
from hilum.loop.findings import signed_interval
from hilum.loop.pretrained_plot import curves_png
from hilum.loop.pretrained_table import TargetTable, as_markdown, target_table, verdict
from hilum.loop.simulate import simulation_of
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, read_manifest
from hilum.store.opening import open_store

COMPARISONS = ("compare-hippocampus", "compare-adrenal")
LOOKED_INTO, LONG = "compare-hippocampus", "genesis-long"
"""The comparison whose longest pretraining is fine-tuned in other ways too, to see what holds it back."""
FASTER = 3
COMMAND = "make evidence WHAT=pretraining"


@dataclass(frozen=True)
class Found:
    """One comparison: its recipe, its tables, its plot's file name and what every pretraining ended with."""

    name: str
    recipe: ComparePretrainingRecipe
    tables: tuple[TargetTable, ...]
    plot: str
    pretrained: dict[str, dict[str, Any]]
    looked_into: TargetTable | None = None


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
            "Bands are the 95 % intervals of the first start from scratch and of the pretraining that is best with all "
            "labels.",
            "What each pretraining came to on scans held out. *copying* is the error of what the network was shown, "
            "*constant* that of the best single grey level: a network that restores is below both.",
            pretrained_table(found.pretrained).strip(),
            *([] if found.looked_into is None else [other_ways(recipe, found.looked_into)]),
        ]
    )


def other_ways(recipe: ComparePretrainingRecipe, table: TargetTable) -> str:
    """What another learning rate or layers held back change."""
    finetune = next(iter(recipe.targets.values())).campaign.finetune
    return "\n\n".join(
        [
            "### Does the fine-tuning hold it back?",
            f"The same seeds and labels, with a learning rate of {FASTER * finetune.learning_rate:g} in place of "
            f"{finetune.learning_rate:g} (fast), and with what was taken over held as it is for the first half of the "
            f"steps (held). Genesis is the one pretrained for {_num_steps(recipe, LONG):,} steps.",
            best_against_best(table),
            as_markdown(table, by_share=False).strip(),
        ]
    )


def best_against_best(table: TargetTable) -> str:
    """The best way from the pretraining beside the best way from scratch, each the best of its kind by its mean."""
    best = [
        max((row for row in table.methods if row.is_scratch == kind), key=lambda row: row.with_all.mean)
        for kind in (False, True)
    ]
    apart = t_interval(best[0].values_SP[:, -1] - best[1].values_SP[:, -1])
    return (
        f"With {table.num_labels[-1]} labels the best way from the pretraining ({best[0].name}) reaches "
        f"{best[0].with_all.mean:.3f}, the best from scratch ({best[1].name}) {best[1].with_all.mean:.3f}: "
        f"{signed_interval(apart)}. Both were chosen by these very figures, of {len(table.methods)} ways."
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
    store = open_store(str(url))
    manifest = read_manifest(store.run("compare_pretraining", done["run_id"]))
    tables = tuple(tables_of(store, recipe, manifest))
    (PAGES / plot).write_bytes(curves_png(tables))
    looked_into = _looked_into(store, recipe, manifest, tables[0], folder, on=on) if name == LOOKED_INTO else None
    return Found(name, recipe, tables, plot, _pretrained(store, done["results"]["pretrained"]), looked_into)


def _looked_into(
    store: Store, recipe: ComparePretrainingRecipe, manifest: Manifest, table: TargetTable, folder: Path, *, on: str
) -> TargetTable:
    """The longest pretraining and scratch, fine-tuned in other ways with all but the largest share of labels."""
    target = next(iter(recipe.targets))
    content = ways_recipe(recipe, manifest.results["pretrained"][LONG], num_labels=table.num_labels[:-1])
    file = folder / f"{LOOKED_INTO}-ways.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    ingest_id = manifest.inputs[input_of(target)]
    done = type_hilum("simulate", str(file), "--store", store.url, "--ingest", ingest_id, "--on", on)
    found = simulation_of(read_manifest(store.run("simulate", done["run_id"])))
    titles = {name: _title(name) for name in (RANDOM, *content["strategies"])}
    scratch = [name for name in titles if not name.startswith("genesis")]
    return target_table(target, found.metric, found.curves, titles=titles, scratch=scratch)


def ways_recipe(recipe: ComparePretrainingRecipe, checkpoint: str, *, num_labels: Sequence[int]) -> dict[str, Any]:
    """A simulation of the first target, trained in every way after so many labels."""
    campaign = next(iter(recipe.targets.values())).campaign
    content = campaign.model_dump(mode="json", by_alias=True) | {"campaign": {"num_after_rounds": list(num_labels)}}
    strategies = {name: {"finetune": dict(changes)} for name, changes in _ways(campaign.finetune, checkpoint).items()}
    return {"campaign": content, "strategies": strategies, "seeds": list(recipe.seeds), "full_data": False}


def _ways(finetune: FinetuneRecipe, checkpoint: str) -> dict[str, Mapping[str, Any]]:
    """Changes to the fine-tuning by name; the simulation's own 'random', which changes nothing, is scratch."""
    fast = {"learning_rate": FASTER * finetune.learning_rate}
    xavier, genesis = {"first_weights": "xavier"}, {"from": checkpoint}
    held = {"num_frozen_steps": finetune.num_steps // 2}
    return {
        "scratch-fast": fast,
        "xavier": xavier,
        "xavier-fast": xavier | fast,
        "genesis": genesis,
        "genesis-fast": genesis | fast,
        "genesis-held": genesis | held,
        "genesis-held-fast": genesis | held | fast,
    }


def _title(name: str) -> str:
    if name == RANDOM:
        return "scratch (MSRA)"
    return name.replace("scratch", "scratch (MSRA)").replace("xavier", "scratch (Xavier)").replace("-", ", ")


def _num_steps(recipe: ComparePretrainingRecipe, pretext: str) -> int:
    return int(recipe.pretexts[pretext].get("num_steps", recipe.pretrain.num_steps))


def _pretrained(store: Store, checkpoints: dict[str, str]) -> dict[str, dict[str, Any]]:
    return {name: dict(read_manifest(store.run("pretrain", run_id)).results) for name, run_id in checkpoints.items()}


def _shape(shape_zyx: tuple[int, int, int]) -> str:
    return " × ".join(map(str, shape_zyx))


if __name__ == "__main__":
    main()
