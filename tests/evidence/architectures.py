"""U-Net, wide U-Net and UNet++ at equal budget, and UNet++ pruned: ``make evidence WHAT=architectures``.

Each set is fetched (HILUM_DATA_MIRROR or the internet), ingested and simulated by the recipe of its
name, in ``FOLDER/<set>``. Everything is kept there, so that a run which was stopped goes on and a
second one only writes the page again. Two CPU cores take about an hour.
"""

import argparse
import datetime
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tests.evidence.architectures_page import SUPERVISED, UNET, Costs, Row, SetEvidence, page
from tests.evidence.commands import PAGES, ROOT, hardware, type_hilum

from hilum.adapters.inline import InlineExecutor
from hilum.core.recipes import CampaignRecipe, PoolRecipe, SimulateRecipe
from hilum.core.resources import Resources
from hilum.loop import recipe_files
from hilum.loop.events import round_events, runs_of
from hilum.loop.simulate import Simulation, simulation_of
from hilum.nn.costs import measure_costs
from hilum.nn.predictor import load_weights, network_of_card
from hilum.steps.evaluate import evaluate_shard, held_out, measure, rows_of_shards, shards_of
from hilum.steps.prune import metric_of
from hilum.store import checkpoints
from hilum.store.layout import Store
from hilum.store.manifest import read_manifest
from hilum.store.opening import open_store

COMMAND = "make evidence WHAT=architectures"
RECIPES = {"nuclei_dsb2018": "architectures-nuclei", "msd_hippocampus": "architectures-hippocampus"}
ARMS = {
    "random": UNET,  # the campaign as it is: every strategy but this one changes the architecture
    "wide-u-net": "wide U-Net",
    "unet-plus-plus": "UNet++, one head",
    "unet-plus-plus-supervised": SUPERVISED,
}
DEEPEST = 4
SIDE = "test"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path, nargs="?", default=ROOT / "evidence", help="where sets and stores are")
    options.add_argument("--on", default="local", help="how fast, as for `hilum simulate`")
    given = options.parse_args()
    sets = [_measured(name, given.folder / name, on=given.on) for name in RECIPES]
    PAGES.mkdir(exist_ok=True)
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    file = PAGES / "architectures.md"
    file.write_text(page(sets, hardware=hardware(), date=today, command=COMMAND), encoding="utf-8")
    print(f"Written to {file}")


def _measured(name: str, folder: Path, *, on: str) -> SetEvidence:
    store = _ingested(name, folder)
    recipe = recipe_files.simulate_recipe(RECIPES[name])
    done = type_hilum("simulate", RECIPES[name], "--store", store.url, "--on", on)
    found = simulation_of(read_manifest(store.run("simulate", done["run_id"])))
    dice = {
        arm: tuple(c.values[-1] for c in found.curves if c.strategy == arm) for arm in ("random", *recipe.strategies)
    }
    seeds = [c.seed for c in found.curves if c.strategy == "random"]
    arms = tuple(
        Row(ARMS[arm], dice[arm], costs)
        for arm, costs in _costs(store, found, list(dice), folder / "costs.json").items()
    )
    supervised = [_runs(store, found, "unet-plus-plus-supervised", seed) for seed in seeds]
    pruned = type_hilum("model", "prune", supervised[0]["finetune"], "--store", store.url, "--on", on)["depths"]
    depths = tuple(
        Row(
            f"L{of_depth['depth']}",
            # The deepest is the network itself, whom the simulation has tested.
            dice["unet-plus-plus-supervised"]
            if of_depth["depth"] == DEEPEST
            else tuple(_test_dice(store, runs, of_depth["depth"], recipe.campaign, folder) for runs in supervised),
            Costs(**{key: of_depth[key] for key in Costs.__dataclass_fields__}),
        )
        for of_depth in pruned
    )
    return SetEvidence(recipe.title, _about(store, name, recipe, found), arms, depths)


def _ingested(name: str, folder: Path) -> Store:
    """The set's store; whatever is there already is left alone."""
    images, store = folder / "images", folder / "store"
    if not images.exists():
        folder.mkdir(parents=True, exist_ok=True)
        type_hilum("data", "fetch", name, str(images))
    if not store.exists():
        type_hilum("init", str(store))
    type_hilum("ingest", str(images), "--store", str(store))
    return open_store(str(store))


def _runs(store: Store, found: Simulation, arm: str, seed: int) -> dict[str, str]:
    """The runs of an arm's one round: ``finetune`` is its checkpoint too."""
    return runs_of(round_events(store, found.campaigns[arm, seed], 0))


def _costs(store: Store, found: Simulation, arms: list[str], file: Path) -> dict[str, Costs]:
    """What the networks cost, measured in turn, once."""
    if not file.exists():
        seed = found.curves[0].seed
        loaded = [checkpoints.load(store, _runs(store, found, arm, seed)["finetune"]) for arm in arms]
        networks = [network_of_card(card) for _, card in loaded]
        for network, (tensors, _) in zip(networks, loaded, strict=True):
            load_weights(network, tensors)
        costs = measure_costs([(network.eval(), card) for network, (_, card) in zip(networks, loaded, strict=True)])
        file.write_text(json.dumps({arm: asdict(cost) for arm, cost in zip(arms, costs, strict=True)}, indent=1))
    return {arm: Costs(**cost) for arm, cost in json.loads(file.read_text()).items()}


def _test_dice(store: Store, runs: dict[str, str], depth: int, campaign: CampaignRecipe, folder: Path) -> float:
    """The Dice of a checkpoint pruned to ``depth``, as the campaign measured the whole one."""
    recipe = campaign.evaluate.model_copy(update={"sides": (SIDE,)})
    pool = PoolRecipe.model_validate(read_manifest(store.run("pool", runs["pool"])).recipe)
    card = checkpoints.read_card(store, runs["finetune"])
    tested = [(volume, side) for volume, side in held_out(store, runs["ingest"], pool) if side == SIDE]
    work = partial(
        evaluate_shard,
        store=store,
        checkpoint_id=runs["finetune"],
        pool=pool,
        recipe=recipe,
        parts_url=str((folder / "depths" / f"{runs['finetune']}-{depth}").absolute()),
        resources=Resources(),
        depth=depth,
    )
    shards = shards_of(tested, question=card["question"])
    rows = rows_of_shards(work, shards, executor=InlineExecutor(), resources=Resources())
    return metric_of(measure(rows, card, recipe), campaign.promote.metric, ingest_id=runs["ingest"]).value


def _about(store: Store, name: str, recipe: SimulateRecipe, found: Simulation) -> str:
    campaign, runs = recipe.campaign, _runs(store, found, "random", found.curves[0].seed)
    tested = [volume for volume, side in held_out(store, runs["ingest"], campaign.pool) if side == SIDE]
    wide = recipe.strategies["wide-u-net"]["finetune"]["architecture"]
    num_patients = len({volume.study.patient_id for volume in tested})
    finetune, params = campaign.finetune, campaign.finetune.architecture.params
    return (
        f"`{name}`, recipe `{RECIPES[name]}`: {found.curves[0].num_labels[-1]} labelled images learnt from, "
        f"{sum(volume.num_items for volume in tested)} tested on, of {num_patients} patients or plates apart. "
        f"{finetune.num_steps} steps of {finetune.batch_size} crops of "
        f"{' × '.join(map(str, finetune.patch_shape_zyx or ()))} voxels (Z, Y, X), learning rate "
        f"{finetune.learning_rate:g}; depth {params['depth']}, features {', '.join(map(str, params['features']))} "
        f"(wide U-Net: {', '.join(map(str, wide['features']))})."
    )


if __name__ == "__main__":
    main()
