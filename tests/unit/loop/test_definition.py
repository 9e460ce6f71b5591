"""What a campaign is: written once, read back the same, and never replaced."""

import json
from pathlib import Path

import pytest

from hilum.core.errors import ConflictError, CorruptionError, NotFoundError, RequestError
from hilum.core.recipes import CampaignRecipe, IngestRecipe
from hilum.loop.definition import FILE, known_campaigns, only_ingest, read_definition, write_definition
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run, write_manifest
from hilum.testing.campaigns import tiny_recipe

RECIPE = tiny_recipe("classify")


def ingested(store: Store, source: str = "a", **changes: object) -> str:
    recipe = IngestRecipe.model_validate(changes)
    return Run(store, "ingest", 1, recipe, {"source": source}).commit().run_id


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def test_a_definition_comes_back_and_keeps_the_words_of_its_recipe(store: Store) -> None:
    written = write_definition(store, "liver", RECIPE, ingested(store))
    assert read_definition(store, "liver") == written
    content = json.loads(Path(store.campaign("liver"), FILE).read_text())
    assert content["recipe"]["finetune"]["from"] == "scratch"
    assert content["recipe"]["finetune"]["architecture"] == {"kind": "unet", "depth": 1, "features": [4, 8]}


def test_the_only_ingest_is_meant(store: Store) -> None:
    ingest_id = ingested(store)
    assert only_ingest(store) == ingest_id
    assert write_definition(store, "liver", RECIPE, None).ingest_id == ingest_id


def test_without_or_with_many_ingests_one_must_be_named(store: Store) -> None:
    with pytest.raises(RequestError, match="Run `hilum ingest` first"):
        only_ingest(store)
    names = sorted([ingested(store, "a"), ingested(store, "b")])
    with pytest.raises(RequestError, match=", ".join(names)):
        only_ingest(store)


def test_an_ingest_that_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(NotFoundError, match="nothing"):
        write_definition(store, "liver", RECIPE, "nothing")
    assert known_campaigns(store) == []


def test_writing_it_twice_writes_it_once_and_another_is_a_conflict(store: Store) -> None:
    first, second = ingested(store, "a"), ingested(store, "b")
    written = write_definition(store, "liver", RECIPE, first)
    assert write_definition(store, "liver", RECIPE, first) == written
    with pytest.raises(ConflictError, match="another recipe"):
        write_definition(store, "liver", tiny_recipe("classify", seed=5), first)
    with pytest.raises(ConflictError, match="another ingest"):
        write_definition(store, "liver", RECIPE, second)
    assert read_definition(store, "liver") == written


def test_campaigns_are_listed_by_name(store: Store) -> None:
    ingest_id = ingested(store)
    for name in ("lung", "liver"):
        write_definition(store, name, RECIPE, ingest_id)
    Path(store.campaign("half-made")).mkdir()
    assert known_campaigns(store) == ["liver", "lung"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("recipe", {"question": "why"}, "is not a campaign this hilum can read, at 'recipe.question'"),
        ("format_version", 99, "newer than this hilum"),
    ],
)
def test_a_definition_that_cannot_be_read_is_named(store: Store, key: str, value: object, message: str) -> None:
    write_definition(store, "liver", RECIPE, ingested(store))
    file = Path(store.campaign("liver"), FILE)
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    with pytest.raises(CorruptionError, match=message):
        read_definition(store, "liver")


def prepared(**changes: object) -> CampaignRecipe:
    return RECIPE.model_copy(update={"ingest": IngestRecipe.model_validate({"prepare": changes})})


def test_a_recipe_that_prepares_its_images_takes_an_ingest_that_was_prepared_so_and_no_other(store: Store) -> None:
    turned, plain = ingested(store, prepare={"orientation": "LPS"}), ingested(store)
    recipe = prepared(orientation="LPS")
    assert write_definition(store, "good", recipe, turned).recipe == recipe
    for ingest_id, other in ((plain, recipe), (turned, prepared(orientation="RAS"))):
        with pytest.raises(RequestError, match=r"not how the images of ingest .* --recipe RECIPE"):
            write_definition(store, "bad", other, ingest_id)
    assert known_campaigns(store) == ["good"]


def test_a_recipe_that_says_nothing_of_preparing_takes_any_ingest(store: Store) -> None:
    for name, ingest_id in (("a", ingested(store)), ("b", ingested(store, prepare={"window": "lung"}))):
        assert write_definition(store, name, RECIPE, ingest_id).ingest_id == ingest_id


def test_an_ingest_from_before_there_was_preparation_counts_as_plain(store: Store) -> None:
    path = Path(store.run("ingest", ingested(store)), "manifest.json")
    old = json.loads(path.read_text())
    del old["recipe"]["prepare"], old["recipe"]["num_coarser_levels"]
    write_manifest(store.run("ingest", "0ld0ld0ld0ld"), Manifest.model_validate({**old, "run_id": "0ld0ld0ld0ld"}))
    assert write_definition(store, "a", RECIPE, "0ld0ld0ld0ld")
    with pytest.raises(RequestError, match="not how the images"):
        write_definition(store, "b", prepared(orientation="LPS"), "0ld0ld0ld0ld")
