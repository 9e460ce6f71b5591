"""Recipes and resource profiles as files: YAML in, checked models out.

A file may say ``extends: other.yaml`` (or the name of a shipped recipe) and then only what it
changes. Mappings are merged key by key; lists are replaced; a mapping whose ``kind`` changes is
replaced whole, because the old kind's parameters mean nothing to the new one. ``select.exclude`` may
name a text file of names, one a line, whose content becomes part of the recipe.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from hilum.core.errors import NotFoundError, RecipeError, unknown_name
from hilum.core.ids import content_id
from hilum.core.recipes import CampaignRecipe, ComparePretrainingRecipe, PretrainRecipe, SimulateRecipe
from hilum.core.resources import Resources
from hilum.core.sweeps import TuneRecipe
from hilum.loop.recipe_errors import explain

PACKAGED_FOLDER = "recipes_data"
"""Where a wheel keeps ``platform/recipes`` (pyproject.toml, force-include), beside ``hilum/loop``."""

Model = TypeVar("Model", bound=BaseModel)
Content = dict[str, Any]
AnyRecipe = CampaignRecipe | SimulateRecipe | PretrainRecipe | ComparePretrainingRecipe


def campaign_recipe(name_or_path: str) -> CampaignRecipe:
    """The campaign recipe in a YAML file, or the shipped one of that name. RecipeError says what is wrong."""
    content = resolved(name_or_path)
    if is_simulation(content):
        content = content["campaign"]
    return checked(CampaignRecipe, content, name_or_path)


def simulate_recipe(name_or_path: str) -> SimulateRecipe:
    """Strategies × seeds from a file; a plain campaign recipe becomes the one strategy 'active'."""
    content = resolved(name_or_path)
    if not is_simulation(content):
        content = {"campaign": content, "strategies": {"active": {}}, "title": Path(name_or_path).stem}
    return checked(SimulateRecipe, content, name_or_path)


def tune_recipe(name_or_path: str) -> TuneRecipe:
    """A sweep over a campaign recipe, from a YAML file with ``campaign`` and ``sweep``."""
    content = resolved(name_or_path)
    if "sweep" not in content:
        raise RecipeError(
            f"{name_or_path} has no 'sweep'. Write a file with 'campaign: {name_or_path}' and, under 'sweep', what to "
            "try, such as finetune.learning_rate: {log_uniform: [0.0001, 0.01]}."
        )
    return checked(TuneRecipe, content, name_or_path)


def pretrain_recipe(name_or_path: str) -> PretrainRecipe:
    """How a network is pretrained, from a YAML file with ``pretext``."""
    content = resolved(name_or_path)
    if not is_pretraining(content):
        raise RecipeError(
            f"{name_or_path} has no 'pretext', so it does not say how to pretrain. Write a file with, for example, "
            "pretext: {kind: genesis} and patch_shape_zyx: [32, 64, 64], or take a shipped one: `hilum recipe list`."
        )
    return checked(PretrainRecipe, content, name_or_path)


def compare_recipe(name_or_path: str) -> ComparePretrainingRecipe:
    """Which pretrainings to compare on which targets, from a YAML file with ``pretexts`` and ``targets``."""
    content = resolved(name_or_path)
    if not is_comparison(content):
        raise RecipeError(
            f"{name_or_path} has no 'pretexts' and 'targets', so there is nothing to compare. Begin from a shipped "
            "one: `hilum recipe show compare-small`."
        )
    return checked(ComparePretrainingRecipe, content, name_or_path)


def any_recipe(name_or_path: str) -> AnyRecipe:
    """A recipe of whatever kind the file holds: its keys say which."""
    content = resolved(name_or_path)
    if is_comparison(content):
        return compare_recipe(name_or_path)
    if is_pretraining(content):
        return pretrain_recipe(name_or_path)
    return simulate_recipe(name_or_path) if is_simulation(content) else campaign_recipe(name_or_path)


def resources(name_or_path: str) -> Resources:
    """The resource profile in a YAML file, or the shipped one of that name (local, gpu1, cluster)."""
    return checked(Resources, _read(_find(name_or_path, shipped_resources(), "resource profile")), name_or_path)


def resolved(name_or_path: str) -> Content:
    """A recipe file with everything it extends merged in, not yet checked."""
    path = _find(name_or_path, shipped_recipes(), "recipe")
    content = _resolve(path, ())
    targets = content.get("targets")
    inner = [target for target in targets.values() if isinstance(target, dict)] if isinstance(targets, dict) else []
    for holder in (content, *inner):
        _settle_campaign(holder, path)
    if isinstance(content.get("pretrain"), str | dict):
        content["pretrain"] = _settled(content["pretrain"], path)
    return content


def is_simulation(content: Mapping[str, Any]) -> bool:
    """Whether a recipe file holds strategies to compare rather than one campaign."""
    inner = content.get("campaign")
    return "question" not in content and isinstance(inner, Mapping) and "question" in inner


def is_pretraining(content: Mapping[str, Any]) -> bool:
    """Whether a recipe file says how to pretrain."""
    return "pretext" in content


def is_comparison(content: Mapping[str, Any]) -> bool:
    """Whether a recipe file compares pretrainings."""
    return "pretexts" in content and "targets" in content


def recipe_id(recipe: BaseModel) -> str:
    """The recipe's own name: a hash of what differs from the defaults."""
    return content_id(recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True))


def as_yaml(recipe: BaseModel) -> str:
    """A recipe as the YAML that would load as the same recipe."""
    return yaml.safe_dump(recipe.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True)


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with hilum: name to file."""
    return _yaml_files(_shipped_folder())


def shipped_resources() -> dict[str, Path]:
    """The resource profiles that come with hilum: name to file."""
    return _yaml_files(_shipped_folder() / "resources")


def checked(model: type[Model], content: Mapping[str, Any], source: str) -> Model:
    """``content`` as a ``model``, or one RecipeError that names the key, what is allowed and the likely meaning."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise RecipeError(explain(model, error, source)) from None


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Content:
    """``base`` with ``changes`` laid over it; neither is altered."""
    result = dict(base)
    for key, value in changes.items():
        before = result.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        result[key] = merged(before, value) if both and not _another_kind(before, value) else value  # type: ignore[arg-type]
    return result


def _another_kind(before: Any, value: Mapping[str, Any]) -> bool:
    return "kind" in value and value["kind"] != before.get("kind")


def _resolve(path: Path, through: tuple[Path, ...]) -> Content:
    return _extended(_read(path), path, through)


def _extended(content: Content, path: Path, through: tuple[Path, ...]) -> Content:
    """``content``, which was found in ``path``, laid over what it extends."""
    if "extends" not in content:
        return content
    if path.resolve() in through:
        raise RecipeError(f"Recipe {path} extends itself, through {', '.join(p.name for p in through)}.")
    base = content["extends"]
    if not isinstance(base, str):
        raise RecipeError(f"Recipe {path}: 'extends' must be one file or recipe name; given {base!r}.")
    beside = path.parent / base
    base_path = beside if beside.is_file() else _find(base, shipped_recipes(), "recipe")
    changes = {key: value for key, value in content.items() if key != "extends"}
    return merged(_resolve(base_path, (*through, path.resolve())), changes)


def _settle_campaign(holder: Content, path: Path) -> None:
    """A campaign within another recipe may be the name of one, or extend one."""
    if isinstance(holder.get("campaign"), str | dict):
        holder["campaign"] = _settled(holder["campaign"], path)


def _settled(inner: str | Content, path: Path) -> Content:
    inner = {"extends": inner} if isinstance(inner, str) else inner
    return _extended(inner, path, ()) if "extends" in inner else inner


def _find(name_or_path: str, shipped: Mapping[str, Path], what: str) -> Path:
    path = Path(name_or_path)
    if path.exists() and not path.is_dir():  # a pipe will do: hilum recipe show <(…)
        return path
    if path.suffix in {".yaml", ".yml"} and path.stem not in shipped:
        raise NotFoundError(f"There is no {what} file at {name_or_path}. Shipped: {', '.join(sorted(shipped))}.")
    name = path.stem if path.suffix in {".yaml", ".yml"} else name_or_path
    if name not in shipped:
        raise NotFoundError(unknown_name(what, name, shipped) + f" Or give the path of a {what} file (YAML).")
    return shipped[name]


def _read(path: Path) -> Content:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not readable YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{path} must hold keys and values (such as 'question: classify'); it holds {content!r}.")
    _read_exclusions(content, path)
    return content


def _read_exclusions(content: Content, path: Path) -> None:
    """Wherever ``select.exclude`` names a file beside the recipe, put the names that it lists in its place."""
    for inner in [inner for inner in content.values() if isinstance(inner, dict)]:
        _read_exclusions(inner, path)
    select = content.get("select")
    if not isinstance(select, dict) or not isinstance(select.get("exclude"), str):
        return
    listed = path.parent / select["exclude"]
    if not listed.is_file():
        raise NotFoundError(
            f"{path}, select.exclude: there is no file {listed}. Give a list of names, or a file of them."
        )
    lines = (line.partition("#")[0].strip() for line in listed.read_text(encoding="utf-8").splitlines())
    select["exclude"] = [line for line in lines if line]


class _UniqueKeys(yaml.SafeLoader):
    """YAML, but a key given twice is an error and not a silent choice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _shipped_folder() -> Path:
    package = Path(__file__).resolve().parent.parent
    packaged = package / PACKAGED_FOLDER
    return packaged if packaged.is_dir() else package.parent / "recipes"


def _yaml_files(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
