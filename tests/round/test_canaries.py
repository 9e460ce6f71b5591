"""Names hidden wherever a hospital's files can hold one are in no byte of what hilum writes or says."""

import base64
import gzip
import json
import logging
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from tests.round.names import (
    BAD,
    CANARY,
    KINDS,
    NUMBER,
    SIDES,
    SIZE,
    dicom,
    fill_with_names,
    leaks,
    png,
    says,
    write_bad_files,
    write_mess,
)
from tests.unit.adapters.dicom_phantoms import ct_series, drawn_ZYX, payload_of, segmentation, square, structure_set

from hilum.adapters.directory import Directory
from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.adapters.reading import read_item
from hilum.core.errors import DataError, WaitingForPeople
from hilum.core.recipes import IngestRecipe, SimulateRecipe
from hilum.core.resources import Resources
from hilum.loop.campaign import Campaign
from hilum.loop.report import render
from hilum.loop.report.gather import section_of
from hilum.loop.simulate import Workbench, simulate
from hilum.steps import ingest
from hilum.store.opening import create_store
from hilum.store.tables import QUARANTINE, read_table
from hilum.store.volumes import volumes_of
from hilum.testing.campaigns import tiny_recipe


@pytest.fixture(scope="module")
def mess(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mess") / f"{CANARY}ROOT"
    write_mess(folder)
    return folder


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad") / f"{CANARY}BAD"
    write_bad_files(folder)
    return folder


def _ingested(folder, store):
    return ingest.run(
        IngestRecipe(patch_shape_zyx=(1, SIZE, SIZE)),
        find_source(str(folder)),
        store=store,
        executor=InlineExecutor(),
        resources=Resources(),
        read=read_item,
    )


def _oracle(store, ingest_id, choice):
    return Oracle(store, ingest_id, **choice.params)


@pytest.fixture(scope="module")
def store_and_id(mess, tmp_path_factory):
    """A store with the mess ingested, a campaign that waits for people, and a finished simulation with its report."""
    folder = tmp_path_factory.mktemp("store")
    store, _ = create_store(str(folder))
    manifest = _ingested(mess, store)
    with pytest.raises(WaitingForPeople):
        Campaign.create(store, "asked", tiny_recipe("classify")).run(
            executor=InlineExecutor(), annotator=Directory(store, manifest.run_id)
        )
    Campaign.create(store, "told", tiny_recipe("classify")).run(
        executor=InlineExecutor(), annotator=Oracle(store, manifest.run_id)
    )
    recipe = SimulateRecipe(campaign=tiny_recipe("classify"), strategies={"active": {}}, seeds=(0,), full_data=False)
    bench = Workbench(InlineExecutor, _oracle)
    simulation = simulate(store, "sim", recipe, executor=InlineExecutor(), workbench=bench)
    (folder / "report.html").write_text(render([section_of(store, simulation)], title="Report"))
    return store, manifest


def test_the_search_would_find_a_name_in_any_disguise(tmp_path):
    table = pyarrow.table({"a": [f"Mrs {CANARY}"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", compression="zstd")
    (tmp_path / "b.gz").write_bytes(gzip.compress(CANARY.encode()))
    for n, text in enumerate((f"x{CANARY}", f"xy{CANARY}z", f"xyz{NUMBER}uv")):
        (tmp_path / f"c{n}").write_bytes(base64.b64encode(text.encode()))
    (tmp_path / CANARY).mkdir()
    (tmp_path / "d").write_bytes(png(0))
    (tmp_path / "clean").write_bytes(b"nothing")
    assert leaks(tmp_path) == ["ZQXCANARY", "a.parquet", "b.gz", "c0", "c1", "c2", "d"]


def test_every_kind_of_file_got_in(store_and_id):
    store, manifest = store_and_id
    assert manifest.results["num_quarantined"] == 0
    assert manifest.results["num_volumes"] == len(SIDES) * len(KINDS)
    modalities = [v.modality for v in volumes_of(store, manifest.run_id).values()]
    assert modalities.count("CT") == len(SIDES)


def test_no_byte_of_a_store_holds_a_name(store_and_id):
    store, _ = store_and_id
    files = [p for p in Path(store.url).rglob("*") if p.is_file()]
    assert {p.suffix for p in files} >= {".parquet", ".json", ".safetensors", ".html", ".sqlite", ".csv"}
    assert leaks(store.url) == []


def test_no_birthday_and_no_date_of_a_study_is_in_a_store(store_and_id):
    store, manifest = store_and_id
    dates = {v.tags.get("StudyDate", "") for v in volumes_of(store, manifest.run_id).values()} - {""}
    assert dates
    assert "19470611" not in dates
    for path in Path(store.url).rglob("*.parquet"):
        assert "19470611" not in repr(pyarrow.parquet.read_table(path).to_pylist())


def test_bad_files_are_refused_without_repeating_a_name(bad_files, mess, tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    both = tmp_path / f"{CANARY}BOTH"
    both.mkdir()
    (both / "good.png").write_bytes(png(1))
    for path in bad_files.iterdir():
        (both / path.name).write_bytes(path.read_bytes())
    store, _ = create_store(str(tmp_path / "store"))
    manifest = _ingested(both, store)
    assert manifest.results["num_volumes"] == 1
    assert manifest.results["num_quarantined"] >= len(BAD)
    rows = read_table(f"{store.run('ingest', manifest.run_id)}/quarantine.parquet", QUARANTINE).to_pylist()
    assert says(json.dumps(rows)) == []
    assert leaks(store.url) == []
    said = capfd.readouterr()
    assert says(said.out + said.err + caplog.text) == []


def test_names_where_a_date_or_a_number_belongs_are_neither_kept_nor_complained_of(tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    folder = tmp_path / "scans"
    folder.mkdir()
    for seed in range(3):
        (folder / f"{seed}.dcm").write_bytes(dicom(seed, is_valid=False))
    (folder / "good.png").write_bytes(png(1))
    store, _ = create_store(str(tmp_path / "store"))
    assert _ingested(folder, store).results["num_volumes"] >= 1
    assert leaks(store.url) == []
    said = capfd.readouterr()
    assert says(said.out + said.err + caplog.text) == []


def test_every_text_of_a_segmentation_and_a_structure_set_but_the_names_of_what_is_drawn_is_left_behind(
    tmp_path, capfd
):
    slices = ct_series()
    voxels = segmentation(slices, drawn_ZYX()[..., np.newaxis], ["Liver"])
    lines = structure_set({"Spleen": [square(slices, 1, 1, 5)]}, series=slices[:1])
    (tmp_path / "in").mkdir()
    for number, made in enumerate([*slices, voxels, lines]):
        fill_with_names(made, but=("SegmentLabel", "ROIName"))
        payload = payload_of(made)
        assert payload.count(CANARY.encode()) > 5
        (tmp_path / "in" / f"{CANARY}{number}").write_bytes(payload)
    store, _ = create_store(str(tmp_path / "store"))
    manifest = _ingested(tmp_path / "in", store)
    assert manifest.results["class_names"] == ["background", "Liver", "Spleen"]
    assert manifest.results["num_quarantined"] == 0
    assert leaks(store.url) == []
    said = capfd.readouterr()
    assert says(said.out + said.err) == []


def test_an_error_about_a_folder_of_bad_files_repeats_no_name(bad_files, tmp_path):
    store, _ = create_store(str(tmp_path / "store"))
    with pytest.raises(DataError) as caught:
        _ingested(bad_files, store)
    assert says(str(caught.value)) == []
    assert leaks(store.url) == []


def test_reading_and_asking_say_no_name(mess, tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    store, _ = create_store(str(tmp_path / "store"))
    manifest = _ingested(mess, store)
    with pytest.raises(WaitingForPeople) as waiting:
        Campaign.create(store, "asked", tiny_recipe("classify")).run(
            executor=InlineExecutor(), annotator=Directory(store, manifest.run_id)
        )
    said = capfd.readouterr()
    assert says(said.out + said.err + caplog.text + str(waiting.value)) == []


def test_what_prints_a_source_prints_no_name(mess):
    source = find_source(str(mess))
    (image,) = read_item(source.root, source.items[1])
    assert says(repr(source.items) + repr(image)) == []
