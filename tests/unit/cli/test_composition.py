"""Which adapters a command works with."""

import pytest

from hilum.adapters.directory import Directory
from hilum.adapters.oracle import Oracle
from hilum.cli.composition import annotator_of, engine, ledger_of, store_at, where_people_answer
from hilum.core.errors import NotFoundError, RecipeError, RequestError
from hilum.core.recipes import Choice
from hilum.core.resources import Resources
from hilum.loop.definition import only_ingest
from hilum.loop.stages import Stage


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch):
    for name in ("HILUM_STORE", "HILUM_LEDGER_URL", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("kind", "annotator"), [("oracle", Oracle), ("directory", Directory)])
def test_a_recipe_names_who_is_asked(kind, annotator, store):
    assert isinstance(annotator_of(store, only_ingest(store), Choice(kind=kind)), annotator)


def test_an_annotator_nobody_wrote_is_answered_with_the_likely_one(store):
    with pytest.raises(RecipeError, match="Did you mean 'oracle'"):
        annotator_of(store, only_ingest(store), Choice(kind="orcale"))


def test_people_answer_in_the_store_or_in_a_folder_of_their_own(store):
    assert where_people_answer(store, Choice(kind="directory")) == store.path("questions")
    assert where_people_answer(store, Choice(kind="directory", folder="/rounds")) == "/rounds"
    assert where_people_answer(store, Choice(kind="oracle")) == ""


def test_the_store_is_the_one_that_was_named(store, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert store_at(store.url) == store
    assert store_at("store") == store
    with pytest.raises(NotFoundError, match="Did you mean store"):
        store_at(None)
    monkeypatch.setenv("HILUM_STORE", store.url)
    assert store_at(None) == store


def test_the_ledger_is_the_stores_own_file(store, tmp_path):
    ledger_of(store).start("liver", Stage.OPENED.value)
    assert (tmp_path / "store" / "ledger.sqlite").is_file()


def test_the_ledger_may_be_a_database_somewhere_else(store, tmp_path, monkeypatch):
    monkeypatch.setenv("HILUM_LEDGER_URL", f"sqlite:///{tmp_path}/elsewhere.sqlite")
    ledger_of(store).start("liver", Stage.OPENED.value)
    assert (tmp_path / "elsewhere.sqlite").is_file()
    assert not (tmp_path / "store" / "ledger.sqlite").exists()


def test_resources_are_a_profile_a_file_or_given(tmp_path):
    assert engine().resources == Resources()
    (tmp_path / "mine.yaml").write_text("num_score_workers: 7\n")
    assert engine(on=str(tmp_path / "mine.yaml")).resources.num_score_workers == 7
    given = Resources(num_score_workers=3)
    assert engine(on=given).resources is given


def test_a_profile_with_a_misspelt_key_is_refused(tmp_path):
    (tmp_path / "mine.yaml").write_text("num_score_worker: 7\n")
    with pytest.raises(RequestError, match="Did you mean 'num_score_workers'"):
        engine(on=str(tmp_path / "mine.yaml"))
