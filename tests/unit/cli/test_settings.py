"""HILUM_* settings."""

import pytest

from hilum.cli.settings import PREFIX, Settings, read_settings
from hilum.core.errors import RequestError


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)


def test_without_an_environment_the_store_is_the_current_folder():
    assert read_settings().store == "."
    assert read_settings().ledger_url is None


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_says_what_it_is(name):
    assert Settings.model_fields[name].description


def test_a_password_in_the_ledger_url_is_never_printed(monkeypatch):
    monkeypatch.setenv("HILUM_LEDGER_URL", "postgresql://hilum:canary@db/hilum")
    found = read_settings()
    assert "canary" not in repr(found) + str(found) + found.model_dump_json()
    assert found.ledger_url is not None
    assert found.ledger_url.get_secret_value().endswith("canary@db/hilum")


def test_a_setting_that_cannot_be_meant_names_its_variable(monkeypatch):
    monkeypatch.setenv("HILUM_DEBUG", "perhaps")
    with pytest.raises(RequestError, match="HILUM_DEBUG"):
        read_settings()
