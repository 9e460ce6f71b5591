"""`hilum ingest --mapping`, `hilum whois` and `hilum doctor --lookalikes`."""

import stat

import numpy as np
import pytest
from PIL import Image

from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.reading import read_item
from hilum.core.recipes import IngestRecipe
from hilum.core.resources import Resources
from hilum.steps import ingest
from hilum.store.inspection import finished_runs
from hilum.store.mapping import PASSPHRASE, read_mapping
from hilum.store.volumes import volumes_of

SECRET = "correct horse battery"


@pytest.fixture
def secret(monkeypatch):
    monkeypatch.setenv(PASSPHRASE, SECRET)
    return SECRET


@pytest.fixture
def people(typed, store, scans, tmp_path, secret):
    """The mapping of the store."""
    typed(f"ingest {scans} --store {store.url} --mapping {tmp_path}/people")
    return tmp_path / "people"


def _patients(store):
    (ingest_id,) = finished_runs(store, "ingest")
    return {volume.study.patient_id for volume in volumes_of(store, ingest_id).values()}


def test_a_mapping_explains_every_patient_of_the_store(typed, store, scans, tmp_path, secret):
    people = tmp_path / "private" / "people.hilum"
    answer = typed(f"ingest {scans} --store {store.url} --mapping {people}")
    assert answer.code == 0, answer.err
    known = read_mapping(people, secret=secret)
    assert set(known["patient"]) == _patients(store)
    assert set(known["patient"].values()) == {f"patient {n}" for n in range(30)}
    assert stat.S_IMODE(people.stat().st_mode) == 0o600


def test_who_has_the_mapping_and_its_passphrase_learns_who_it_is(typed, store, people, monkeypatch):
    pseudonym = sorted(_patients(store))[0]
    answer = typed(f"whois {pseudonym} --mapping {people} --json")
    assert answer.code == 0
    ((found),) = answer.document["identities"]
    assert found["kind"] == "patient"
    assert found["identity"].startswith("patient ")
    assert found["identity"] in typed(f"whois {pseudonym} --mapping {people}").out
    monkeypatch.setenv(PASSPHRASE, "another passphrase")
    refused = typed(f"whois {pseudonym} --mapping {people}")
    assert refused.code == 2
    assert "not its passphrase" in refused.err
    assert found["identity"] not in refused.out + refused.err


def test_a_pseudonym_of_nobody_is_said(typed, people):
    answer = typed(f"whois 000000000000 --mapping {people}")
    assert answer.code == 2
    assert "another store's key" in answer.err


def test_without_a_passphrase_nothing_is_ingested_or_written(typed, store, scans, tmp_path, monkeypatch):
    monkeypatch.delenv(PASSPHRASE, raising=False)
    answer = typed(f"ingest {scans} --store {store.url} --mapping {tmp_path}/people")
    assert answer.code == 2
    assert PASSPHRASE in answer.err
    assert not (tmp_path / "people").exists()


def test_a_mapping_in_the_store_is_refused(typed, store, scans, secret):
    answer = typed(f"ingest {scans} --store {store.url} --mapping {store.url}/people")
    assert answer.code == 2
    assert "must not lie in the store" in answer.err


def test_a_file_that_is_no_mapping_is_not_overwritten(typed, store, scans, tmp_path, secret):
    (tmp_path / "thesis.tex").write_text("years of work")
    answer = typed(f"ingest {scans} --store {store.url} --mapping {tmp_path}/thesis.tex")
    assert answer.code == 2
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def _picture(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    spots = [(rng.uniform(0, 64), rng.uniform(0, 64), rng.uniform(4, 16)) for _ in range(8)]
    image = sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * c * c)) for a, b, c in spots)
    return Image.fromarray((image / image.max() * 250).astype(np.uint8))


def test_copies_across_sides_are_reported_and_a_healthy_store_stays_healthy(typed, store, tmp_path):
    folder = tmp_path / "more"
    folder.mkdir()
    rows = ["image,patient,side"]
    for number in range(6):
        _picture(number).save(folder / f"{number}.png")
        rows.append(f"{number}.png,ada {number},pool")
    _picture(3).save(folder / "copy.jpg", quality=80)
    rows.append("copy.jpg,bob,test")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    source, resources = find_source(str(folder)), Resources()
    ingest.run(IngestRecipe(), source, store=store, executor=InlineExecutor(), resources=resources, read=read_item)
    answer = typed(f"doctor --store {store.url} --lookalikes --json")
    assert answer.code == 0, answer.err
    crossing = [pair for pair in answer.document["lookalikes"] if pair["crosses_sides"]]
    assert [{pair["one"]["side"], pair["other"]["side"]} for pair in crossing] == [{"pool", "test"}]
    told = typed(f"doctor --store {store.url} --lookalikes").out
    assert "1 across sides" in told
    assert "one patient in index.csv" in told
    assert "lookalikes" not in typed(f"doctor --store {store.url} --json").document
