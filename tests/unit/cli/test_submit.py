"""`hilum submit`, up to where a cluster would be needed."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.adapters.ray_jobs import entrypoint
from hilum.cli.submit import _environment

NOBODY = "--address http://127.0.0.1:9"


@pytest.mark.parametrize(("word", "meant"), [("campain", "campaign"), ("scor", "score")])
def test_a_misspelt_verb_is_told_here_and_not_in_a_jobs_log(word, meant, typed):
    answer = typed(f"submit {word} run liver {NOBODY}")
    assert answer.code == 2
    assert f"Did you mean '{meant}'?" in answer.err


def test_a_cluster_that_does_not_answer_is_said_in_one_line(typed):
    answer = typed(f"submit recipe list {NOBODY}")
    assert answer.code == 2
    assert "No Ray cluster answers at http://127.0.0.1:9" in answer.err
    assert len(answer.err.strip().splitlines()) == 1


@pytest.mark.parametrize("address", ["ray://host:10001", "host:6379", "auto"])
def test_an_address_that_is_not_a_dashboard_is_refused_with_what_one_looks_like(address, typed):
    answer = typed(f"submit recipe list --address {address}")
    assert answer.code == 2
    assert "http://host:8265" in answer.err


def test_nothing_to_submit_is_said(typed):
    assert "Say which command" in typed(f"submit {NOBODY}").err


def test_a_command_and_a_job_to_follow_are_too_much(typed):
    assert "not both" in typed(f"submit recipe list --job raysubmit_1 {NOBODY}").err


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)))
def test_every_word_arrives_as_it_was_given(words):
    assert shlex.split(entrypoint(words)) == ["python", "-m", "hilum", *words]


def test_a_local_store_is_named_from_the_root_and_a_bucket_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _environment("./store")["HILUM_STORE"] == str(tmp_path / "store")
    assert _environment("memory://bucket")["HILUM_STORE"] == "memory://bucket"


def test_secrets_stay_here(monkeypatch):
    monkeypatch.setenv("HILUM_LEDGER_URL", "postgresql://hilum:canary@db/hilum")
    monkeypatch.setenv("HILUM_IDENTITY_KEY", "canary" * 10)
    monkeypatch.setenv("HILUM_DATA_MIRROR", "/mirror")
    monkeypatch.setenv("HILUM_ACTOR", "ada")
    sent = _environment(None)
    assert "canary" not in str(sent)
    assert sent == {"HILUM_DATA_MIRROR": "/mirror", "HILUM_ACTOR": "ada"}
