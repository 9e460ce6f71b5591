"""The page of evidence says what the tables say, whatever that is."""

import numpy as np
from tests.evidence.pretraining import Found, other_ways, page, ways_recipe

from hilum.core.recipes import SimulateRecipe
from hilum.loop import recipe_files
from hilum.loop.curves import Curve
from hilum.loop.pretrained_table import target_table

LABELS = (2, 100)
HEIGHTS = {"random": (0.5, 0.8), "genesis": (0.7, 0.79)}


def found():
    rng = np.random.default_rng(0)
    curves = [
        Curve(name, seed, LABELS, tuple(float(h + rng.normal(0, 0.01)) for h in heights))
        for name, heights in HEIGHTS.items()
        for seed in range(5)
    ]
    table = target_table(
        "hippocampus",
        "dice_mean",
        curves,
        titles={"random": "scratch (MSRA)", "genesis": "genesis"},
        scratch=("random",),
    )
    results = {"loss": 0.02, "restoration_mse": 0.031, "copying_mse": 0.13, "constant_mse": 0.064}
    recipe = recipe_files.compare_recipe("compare-hippocampus")
    return Found("compare-hippocampus", recipe, (table,), "plot.png", {"genesis": results, "jigsaw": {"loss": 1.5}})


def test_the_page_holds_verdict_table_plot_and_errors():
    one = found()
    few = one.tables[0].methods[1].points[0].mean
    text = page([one], hardware="a machine, 2 cores", date="2026-01-02")
    assert "2026-01-02, on a machine, 2 cores" in text
    assert "No pretraining is as good as scratch (MSRA) with all labels." in text
    assert f"With 2 labels genesis reaches {few:.3f}" in text
    assert "![Score against labels, by start](plot.png)" in text
    assert "| genesis | 0.0200 | 0.0310 | 0.1300 | 0.0640 |" in text
    assert "| jigsaw | 1.5000 | – | – | – |" in text


def test_the_other_ways_are_a_simulation_on_the_same_labels():
    recipe = recipe_files.compare_recipe("compare-hippocampus")
    simulation = SimulateRecipe.model_validate(ways_recipe(recipe, "0a1b2c3d4e5f", num_labels=(3, 12)))
    assert simulation.seeds == recipe.seeds
    assert simulation.campaign.campaign.num_after_rounds == (3, 12)
    held = simulation.strategies["genesis-held"]["finetune"]
    assert held == {"from": "0a1b2c3d4e5f", "num_frozen_steps": 60}
    told = other_ways(recipe, found().tables[0])
    assert "a learning rate of 0.009 in place of 0.003" in told
    assert "pretrained for 3,200 steps" in told
    assert "With 100 labels the best way from the pretraining (genesis) reaches 0.7" in told
    assert "| start | 2 labels | 100 labels |" in told
