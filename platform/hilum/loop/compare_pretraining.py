"""compare-pretraining: which pretext saves labels, on which target, against starting from scratch.

inputs: ``scans`` (the ingest learnt from), ``name``, and ``target-<name>`` (an ingest) for every target.
files: ``table.md``, ``curves.png``. Every pretraining is a run of its own and every training a round of a
simulated campaign that asks at random, so what was stopped goes on and nothing is done twice.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from hilum.core.errors import RecipeError
from hilum.core.ids import checked_name
from hilum.core.ports import Counts, Executor
from hilum.core.recipes import BudgetRecipe, ComparePretrainingRecipe, PretrainRecipe, SimulateRecipe, TargetRecipe
from hilum.core.resources import Resources
from hilum.loop.branches import check_strategies
from hilum.loop.curves import RANDOM
from hilum.loop.pretrained_plot import curves_png
from hilum.loop.pretrained_table import TargetTable, as_markdown, target_table, verdict
from hilum.loop.recipe_files import checked, merged
from hilum.loop.simulate import BranchProgress, Workbench, simulate, simulation_of
from hilum.steps import pool, pretrain
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run, read_manifest, write_bytes

STEP = "compare_pretraining"
STEP_VERSION = 1
TABLE, PLOT = "table.md", "curves.png"
SCANS = "scans"
SCRATCH_TITLES = {"he": "scratch (MSRA)", "xavier": "scratch (Xavier)", "uniform": "scratch (uniform)"}


def compare_pretraining(
    store: Store,
    name: str,
    recipe: ComparePretrainingRecipe,
    *,
    inputs: Mapping[str, str],
    executor: Executor,
    workbench: Workbench,
    resources: Resources,
    on_branch: Callable[[str, BranchProgress], None] | None = None,
) -> Manifest:
    """Pretrain by every pretext, try all of them on every target, and return the comparison's manifest."""
    this = Run(store, STEP, STEP_VERSION, recipe, {**inputs, "name": name})
    before = this.finished()
    if before is not None:
        return before
    check(name, recipe, inputs)
    checkpoints = pretrained(store, recipe, inputs[SCANS], executor=executor, workbench=workbench, resources=resources)
    simulations = {}
    for target, of_target in recipe.targets.items():
        ingest_id = inputs[input_of(target)]
        chosen = pool.run(
            of_target.campaign.pool, {"ingest": ingest_id}, store=store, executor=executor, resources=resources
        )
        simulations[target] = simulate(
            store,
            f"{name}-{target}",
            simulation_recipe(recipe, of_target, checkpoints, num_candidates=int(chosen.results["num_candidates"])),
            executor=executor,
            workbench=workbench,
            ingest_id=ingest_id,
            resources=resources,
            on_branch=None if on_branch is None else partial(on_branch, target),
        )
    tables = [_table(recipe, target, found) for target, found in simulations.items()]
    write_bytes(this.path(TABLE), page(tables).encode())
    write_bytes(this.path(PLOT), curves_png(tables))
    return this.commit(
        files=[TABLE, PLOT],
        pretrained=checkpoints,
        simulations={target: manifest.run_id for target, manifest in simulations.items()},
        verdicts={table.target: verdict(table) for table in tables},
    )


def check(name: str, recipe: ComparePretrainingRecipe, inputs: Mapping[str, str]) -> None:
    """RecipeError, before anything runs, when a comparison cannot be meant or would not be fair."""
    checked_name("Comparison", name)
    for pretext in recipe.pretexts:
        checked_name("Pretext", pretext)
        pretrain.check_recipe(pretrain_recipe(recipe, pretext))
    for target, of_target in recipe.targets.items():
        checked_name("Target", target)
        if inputs[input_of(target)] == inputs[SCANS] and of_target.campaign.pool.split != recipe.pretrain.split:
            raise RecipeError(
                f"Target '{target}' is of the scans that are learnt from, split otherwise: its test patients would be "
                "seen in pretraining. Give pretrain.split and the target's pool.split the same values."
            )
        stand_in = dict.fromkeys(recipe.pretexts, "0" * 12)
        check_strategies(target, simulation_recipe(recipe, of_target, stand_in, num_candidates=100))


def pretrained(
    store: Store,
    recipe: ComparePretrainingRecipe,
    ingest_id: str,
    *,
    executor: Executor,
    workbench: Workbench,
    resources: Resources,
) -> dict[str, str]:
    """The checkpoint of every pretext, trained now where it is not there yet."""
    runs = {name: _pretraining(store, pretrain_recipe(recipe, name), ingest_id) for name in recipe.pretexts}
    work = partial(
        run_pretraining, store=store, recipe=recipe, ingest_id=ingest_id, workbench=workbench, resources=resources
    )
    waiting = [name for name, run in runs.items() if run.finished() is None]
    for _ in executor.map_shards(
        work, waiting, label="pretrainings", resources=resources, num_workers=resources.num_parallel_branches
    ):
        pass
    return {name: read_manifest(run.url).results["checkpoint"] for name, run in runs.items()}


def run_pretraining(
    name: str,
    *,
    store: Store,
    recipe: ComparePretrainingRecipe,
    ingest_id: str,
    workbench: Workbench,
    resources: Resources,
) -> Counts:
    """One pretraining to its end, in whatever process it was sent to."""
    wanted = pretrain_recipe(recipe, name)
    executor = workbench.make_executor()
    manifest = pretrain.run(wanted, {"ingest": ingest_id}, store=store, executor=executor, resources=resources)
    return {"pretext": name, "checkpoint": manifest.results["checkpoint"]}


def pretrain_recipe(recipe: ComparePretrainingRecipe, name: str) -> PretrainRecipe:
    """The common recipe with one pretext's changes laid over it."""
    content = merged(recipe.pretrain.model_dump(mode="json", by_alias=True), recipe.pretexts[name])
    return checked(PretrainRecipe, content, f"pretext '{name}'")


def simulation_recipe(
    recipe: ComparePretrainingRecipe, target: TargetRecipe, checkpoints: Mapping[str, str], *, num_candidates: int
) -> SimulateRecipe:
    """The target's campaign, asking at random up to every share of its labels, from every start."""
    totals = sorted({max(1, round(share * num_candidates)) for share in target.label_shares})
    budget = BudgetRecipe(num_after_rounds=tuple(totals), num_in_total=totals[-1])
    strategies: dict[str, dict[str, Any]] = {
        scratch_name(rule): {"finetune": {"first_weights": rule}} for rule in recipe.scratch[1:]
    }
    strategies |= {
        name: {"finetune": {**recipe.transfer, "from": checkpoint}} for name, checkpoint in checkpoints.items()
    }
    finetune = target.campaign.finetune.model_copy(update={"first_weights": recipe.scratch[0]})
    campaign = target.campaign.model_copy(update={"campaign": budget, "finetune": finetune})
    return SimulateRecipe(campaign=campaign, strategies=strategies, seeds=recipe.seeds, full_data=False)


def scratch_name(rule: str) -> str:
    return f"scratch-{rule}"


def input_of(target: str) -> str:
    return f"target-{target}"


def tables_of(store: Store, recipe: ComparePretrainingRecipe, manifest: Manifest) -> list[TargetTable]:
    """What a finished comparison found, target by target."""
    runs = manifest.results["simulations"]
    return [_table(recipe, target, read_manifest(store.run("simulate", run_id))) for target, run_id in runs.items()]


def page(tables: Sequence[TargetTable]) -> str:
    """All tables, each below what it says."""
    return "\n".join(
        f"## {table.target}\n\n"
        + "\n".join(f"- {sentence}" for sentence in verdict(table))
        + f"\n\n{as_markdown(table)}"
        for table in tables
    )


def _pretraining(store: Store, recipe: PretrainRecipe, ingest_id: str) -> Run:
    return Run(store, "pretrain", pretrain.STEP_VERSION, recipe, {"ingest": ingest_id})


def _table(recipe: ComparePretrainingRecipe, target: str, manifest: Manifest) -> TargetTable:
    simulation = simulation_of(manifest)
    # The simulation's own 'random' is the first start from scratch: everybody here asks at random.
    scratch = [RANDOM, *map(scratch_name, recipe.scratch[1:])]
    titles = {name: SCRATCH_TITLES[rule] for name, rule in zip(scratch, recipe.scratch, strict=True)} | {
        name: name.replace("-", " ") for name in recipe.pretexts
    }
    return target_table(target, simulation.metric, simulation.curves, titles=titles, scratch=scratch)
