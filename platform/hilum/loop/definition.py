"""What a campaign is, as written down once at its beginning: campaigns/<name>/recipe.json."""

from pydantic import BaseModel, ConfigDict, ValidationError

from hilum.core.errors import ConflictError, CorruptionError, NotFoundError, RequestError, unknown_name
from hilum.core.recipes import CampaignRecipe, PrepareRecipe
from hilum.store.layout import Store, filesystem, require
from hilum.store.manifest import MANIFEST, Manifest, read_json, read_manifest, write_json

FORMAT_VERSION = 1
FILE = "recipe.json"


class Definition(BaseModel):
    """A campaign's name, recipe and images."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    format_version: int = FORMAT_VERSION
    name: str
    ingest_id: str
    recipe: CampaignRecipe


def write_definition(store: Store, name: str, recipe: CampaignRecipe, ingest_id: str | None) -> Definition:
    """Write the definition, or read the one that is there; ConflictError if that is a different one."""
    # Late import: it brings torch, and who only reads definitions need not load it.
    from hilum.loop.starts import check_starts

    ingest_id = ingest_id or only_ingest(store)
    check_prepared(recipe, read_manifest(require(store.run("ingest", ingest_id), f"ingest '{ingest_id}'")))
    check_starts(store, recipe, ingest_id)
    wanted = Definition(name=name, ingest_id=ingest_id, recipe=recipe)
    write_json(_url(store, name), wanted.model_dump(mode="json", by_alias=True), only_if_absent=True)
    found = read_definition(store, name)
    # As JSON: a choice's parameters come back as lists where they went as tuples.
    if found.model_dump(mode="json") != wanted.model_dump(mode="json"):
        what = "recipe" if found.ingest_id == wanted.ingest_id else "ingest"
        raise ConflictError(
            f"There is a campaign '{name}' with another {what}. A campaign's {what} never changes: "
            "give the new campaign another name, or open the old one."
        )
    return found


def check_prepared(recipe: CampaignRecipe, ingest: Manifest) -> None:
    """RequestError when a recipe wants its images prepared, and these were not, or otherwise."""
    wanted = recipe.ingest.prepare
    if wanted in (PrepareRecipe(), PrepareRecipe.model_validate(ingest.recipe.get("prepare", {}))):
        return
    raise RequestError(
        f"The recipe's ingest.prepare is not how the images of ingest {ingest.run_id} were prepared. Ingest them with "
        "this recipe (`hilum ingest FILES --recipe RECIPE`), or name the ingest that was: --ingest ID."
    )


def read_definition(store: Store, name: str) -> Definition:
    """The definition of a campaign; NotFoundError, with a guess, if there is none."""
    try:
        content = read_json(_url(store, name))
    except NotFoundError:
        raise NotFoundError(unknown_name("campaign", name, known_campaigns(store))) from None
    try:
        definition = Definition.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CorruptionError(
            f"{_url(store, name)} is not a campaign this hilum can read, at '{where}': {first['msg']}. "
            "It was changed, or made by another release."
        ) from None
    if definition.format_version > FORMAT_VERSION:
        raise CorruptionError(f"{_url(store, name)} has format {definition.format_version}, newer than this hilum.")
    return definition


def known_campaigns(store: Store) -> list[str]:
    """The names of all campaigns, sorted."""
    return _folders_with(store.path("campaigns"), FILE)


def only_ingest(store: Store) -> str:
    """The store's one finished ingest; RequestError when there is none, or more to choose from."""
    found = _folders_with(store.path("runs", "ingest"), MANIFEST)
    if len(found) == 1:
        return found[0]
    if not found:
        raise RequestError(f"Nothing was ingested into {store.url} yet. Run `hilum ingest` first.")
    raise RequestError(f"{store.url} has several ingests; say which one the campaign is about: {', '.join(found)}.")


def _folders_with(url: str, file: str) -> list[str]:
    fs, path = filesystem(url)
    return sorted(found.rsplit("/", 2)[-2] for found in fs.glob(f"{path}/*/{file}"))


def _url(store: Store, name: str) -> str:
    return f"{store.campaign(name)}/{FILE}"
