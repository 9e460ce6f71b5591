"""`hilum recipe`: what a campaign would compute, before it does."""

from typing import TYPE_CHECKING

import typer

from hilum.cli.console import reply, table
from hilum.cli.options import Json, RecipeName

if TYPE_CHECKING:
    from hilum.core.recipes import CampaignRecipe, ComparePretrainingRecipe, PretrainRecipe, SimulateRecipe

group = typer.Typer(no_args_is_help=True, help="Show and list recipes: what a campaign computes.")


@group.command("show", epilog="Example: hilum recipe show mednist")
def show(recipe: RecipeName, json_: Json = False) -> None:
    """Print a recipe with everything it extends merged in, every default written out, and its id."""
    from hilum.loop import recipe_files
    from hilum.loop.branches import check_strategies
    from hilum.loop.choices import check_choices
    from hilum.loop.compare_pretraining import check_pretexts

    content = recipe_files.resolved(recipe)
    loaded: CampaignRecipe | SimulateRecipe | PretrainRecipe | ComparePretrainingRecipe
    if recipe_files.is_comparison(content):
        loaded, verb = recipe_files.compare_recipe(recipe), "compare-pretraining"
        check_pretexts(loaded)
    elif recipe_files.is_pretraining(content):
        loaded, verb = recipe_files.pretrain_recipe(recipe), "pretrain"
    elif recipe_files.is_simulation(content):
        loaded, verb = recipe_files.simulate_recipe(recipe), "simulate"
        check_strategies("simulation", loaded)
    else:
        loaded, verb = recipe_files.campaign_recipe(recipe), "campaign create my-campaign --recipe"
        check_choices(loaded)
    name = recipe_files.recipe_id(loaded)
    reply(
        json_,
        {"recipe_id": name, "recipe": loaded.model_dump(mode="json", by_alias=True)},
        f"# recipe {name}\n" + recipe_files.as_yaml(loaded),
        next_commands=[f"hilum {verb} {recipe}"],
    )


@group.command("list", epilog="Example: hilum recipe list")
def list_(json_: Json = False) -> None:
    """List the recipes and the resource profiles that come with hilum."""
    from hilum.loop import recipe_files

    recipes = [
        {"name": name, "about": first_comment(path.read_text(encoding="utf-8"))}
        for name, path in recipe_files.shipped_recipes().items()
    ]
    profiles = [
        {"name": name, "about": first_comment(path.read_text(encoding="utf-8"))}
        for name, path in recipe_files.shipped_resources().items()
    ]
    reply(
        json_,
        {"recipes": recipes, "resources": profiles},
        table("Recipes", ["name", "what it is"], [[r["name"], r["about"]] for r in recipes]),
        table("Resources (--on)", ["name", "what it is"], [[r["name"], r["about"]] for r in profiles]),
        next_commands=[f"hilum recipe show {recipes[0]['name']}"] if recipes else [],
    )


def first_comment(yaml_text: str) -> str:
    """The sentence a recipe file opens with."""
    lines = []
    for line in yaml_text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)
