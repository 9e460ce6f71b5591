"""`hilum recipe`: what a campaign would compute, before it does."""

import typer

from hilum.cli.console import reply, table
from hilum.cli.options import Json, RecipeName
from hilum.core.recipes import ComparePretrainingRecipe, PretrainRecipe, SimulateRecipe

group = typer.Typer(no_args_is_help=True, help="Show and list recipes: what a campaign computes.")


@group.command("show", epilog="Example: hilum recipe show mednist")
def show(recipe: RecipeName, json_: Json = False) -> None:
    """Print a recipe with everything it extends merged in, every default written out, and its id."""
    from hilum.loop import recipe_files
    from hilum.loop.branches import check_strategies
    from hilum.loop.choices import check_choices
    from hilum.loop.compare_pretraining import check_pretexts
    from hilum.steps.pretrain import check_recipe

    loaded = recipe_files.any_recipe(recipe)
    match loaded:
        case ComparePretrainingRecipe():
            check_pretexts(loaded)
            verb = "compare-pretraining"
        case PretrainRecipe():
            check_recipe(loaded)
            verb = "pretrain"
        case SimulateRecipe():
            check_strategies("simulation", loaded)
            verb = "simulate"
        case _:
            check_choices(loaded)
            verb = "campaign create my-campaign --recipe"
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
