"""`hilum serve`: what it refuses before it listens, and its keys. What it serves is in tests/services and tests/ray."""

import json
import stat

import pytest
import yaml

from hilum.adapters.api_keys import KeyFile


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch):
    for name in ("HILUM_API_KEYS_FILE", "HILUM_INFERENCE_OPEN", "HILUM_OIDC_ISSUER", "HILUM_OIDC_AUDIENCE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path, typed):
    typed(f"init {tmp_path / 'store'}")
    return tmp_path / "store"


@pytest.mark.parametrize("how", ["", "--without-ray"])
def test_without_keys_it_does_not_start_and_says_how_to_make_one(store, typed, how):
    answer = typed(f"serve --store {store} {how}")
    assert answer.code == 2
    assert "hilum serve key" in answer.err
    assert "HILUM_INFERENCE_OPEN" in answer.err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org"])
def test_beyond_this_machine_nobody_is_answered_without_a_key(host, store, typed, monkeypatch):
    monkeypatch.setenv("HILUM_INFERENCE_OPEN", "true")
    answer = typed(f"serve --store {store} --host {host} --without-ray")
    assert (answer.code, "127.0.0.1" in answer.err) == (2, True)


def test_a_file_that_holds_no_keys_is_refused_and_not_repeated(store, typed, tmp_path, monkeypatch):
    (tmp_path / "keys.json").write_text('{"keys": [{"name": "a", "sha256": "my-secret-itself"}]}')
    monkeypatch.setenv("HILUM_API_KEYS_FILE", str(tmp_path / "keys.json"))
    answer = typed(f"serve --store {store} --without-ray")
    assert (answer.code, "keys.0.sha256" in answer.err) == (2, True)
    assert "my-secret-itself" not in answer.err


def test_a_key_is_shown_once_and_kept_as_a_hash_that_its_owner_alone_may_read(typed, tmp_path):
    file = tmp_path / "keys.json"
    key = json.loads(typed(f"serve key viewer --may predict --model chest* --days 30 --file {file} --json").out)["key"]
    assert key not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    holder = KeyFile(file).holder(key)
    assert holder.name == "viewer"
    assert holder.allows("predict", "chest-2d")
    assert not holder.allows("predict", "liver")
    assert not holder.allows("read")
    assert not holder.may_read("0a1b2c3d4e5f")
    assert KeyFile(file).holder(key + "x") is None


def test_a_key_reads_the_ingests_that_it_names(typed, tmp_path):
    file = tmp_path / "keys.json"
    key = json.loads(typed(f"serve key pacs --reads 0a1b2c3d4e5f --file {file} --json").out)["key"]
    holder = KeyFile(file).holder(key)
    assert holder.may_read("0a1b2c3d4e5f")
    assert not holder.may_read("5f4e3d2c1b0a")
    assert "0a1b2c3d4e5f" in typed(f"serve keys --file {file}").out


def test_a_key_is_changed_without_a_gap(typed, tmp_path):
    file = tmp_path / "keys.json"
    typed(f"serve key viewer --file {file}")
    typed(f"serve key viewer --file {file}")
    assert len(json.loads(typed(f"serve keys --file {file} --json").out)["keys"]) == 2
    assert json.loads(typed(f"serve revoke viewer --file {file} --json").out)["num_revoked"] == 2
    again = typed(f"serve revoke viewer --file {file}")
    assert (again.code, "no key of 'viewer'" in again.err) == (2, True)


@pytest.mark.parametrize("words", ["bad/name", "a --may fly", "a --days 0", "a --reads ../x"])
def test_a_key_that_cannot_be_is_refused(words, typed, tmp_path):
    assert typed(f"serve key {words} --file {tmp_path / 'keys.json'}").code == 2
    assert not (tmp_path / "keys.json").exists()


def test_where_keys_lie_must_be_said(typed):
    assert "--file" in typed("serve keys").err


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_the_config_names_the_store_and_no_secret(store, typed, tmp_path, monkeypatch):
    monkeypatch.setenv("HILUM_LEDGER_URL", "postgresql://hilum:canary-secret@db/hilum")
    monkeypatch.setenv("HILUM_API_KEYS_FILE", str(tmp_path / "keys.json"))
    answer = typed(f"serve config --store {store} --replicas 2 --most-replicas 5 --gpus 0.5 --shallower-above 8")
    (application,) = yaml.safe_load(answer.out)["applications"]
    assert application["args"]["environment"]["HILUM_STORE"] == str(store)
    assert application["args"]["shallower_above"] == 8
    assert application["deployments"][0]["autoscaling_config"]["max_replicas"] == 5
    assert "canary-secret" not in answer.out


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_the_config_tells_replicas_whose_tokens_are_believed(store, typed, monkeypatch):
    monkeypatch.setenv("HILUM_OIDC_ISSUER", "https://issuer.test/realm")
    monkeypatch.setenv("HILUM_OIDC_PER_MINUTE", "60")
    (application,) = yaml.safe_load(typed(f"serve config --store {store}").out)["applications"]
    environment = application["args"]["environment"]
    assert environment["HILUM_OIDC_ISSUER"] == "https://issuer.test/realm"
    assert environment["HILUM_OIDC_PER_MINUTE"] == "60"
    assert "HILUM_OIDC_AUDIENCE" not in environment


@pytest.mark.parametrize(
    ("changes", "said"),
    [({}, "HILUM_OIDC_AUDIENCE"), ({"HILUM_OIDC_AUDIENCE": "hilum", "HILUM_OIDC_ISSUER": "http://i.test"}, "https")],
)
def test_an_issuer_that_is_said_by_half_or_has_no_tls_is_refused(store, typed, monkeypatch, changes, said):
    for name, value in {"HILUM_OIDC_ISSUER": "https://issuer.test", **changes}.items():
        monkeypatch.setenv(name, value)
    answer = typed(f"serve --store {store} --without-ray")
    assert (answer.code, said in answer.err) == (2, True)


def test_a_config_that_opens_inference_to_everybody_is_refused(store, typed, monkeypatch):
    monkeypatch.setenv("HILUM_INFERENCE_OPEN", "true")
    answer = typed(f"serve config --store {store}")
    assert answer.code == 2
    assert "0.0.0.0 can be reached from other machines" in answer.err
    assert typed(f"serve config --store {store} --host 127.0.0.1").code == 0
