"""The contact sheet shows volumes of every machine, tells of damage, fetches nothing and names nobody."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hilum.adapters.contact_sheet import as_html, as_png, contact_sheet
from hilum.core.geometry import Grid
from hilum.core.imaging import Study, Volume
from hilum.core.recipes import IngestRecipe
from hilum.store.manifest import Run
from hilum.store.opening import create_store
from hilum.store.tables import QUARANTINE, write_rows
from hilum.store.volumes import write_volume, write_volume_table
from hilum.testing.phantoms import Phantom, phantom_store

CANARY = "<img src=x onerror=alert(1)>"


def an_ingest(url, volumes, *, names=("background", "liver")):
    store, _ = create_store(url)
    for volume in volumes:
        rng = np.random.default_rng(int(volume.volume_id, 16))
        image = rng.integers(0, 100, (1, *volume.grid.shape_zyx)).astype(np.uint8)
        labels = (image[0] > 60).astype(np.uint16) if volume.has_label_map else None
        write_volume(store, volume, image, labels, patch_shape_zyx=(8, 8, 8))
    run = Run(store, "ingest", 1, IngestRecipe(), {"source": "s"})
    write_volume_table(run.path("volumes.parquet"), volumes)
    write_rows(run.path("quarantine.parquet"), QUARANTINE, [])
    run.commit(files=["volumes.parquet", "quarantine.parquet"], class_names=list(names), num_quarantined=2)
    return store, run.run_id


def a_volume(number, *, maker="", truth=True, flags=()):
    tags = {"Manufacturer": maker} if maker else {}
    grid = Grid((8, 12, 10), (2.5, 1.0, 0.75))
    study = Study(f"study{number}", f"patient{number}")
    return Volume(f"{number:012x}", study, grid, (8, 12, 10), 1, "CT", 0.0, 100.0, truth, (), None, tags, flags)


def test_every_machine_has_its_share_of_the_sheet(tmp_path):
    volumes = [a_volume(n, maker="Common" if n < 20 else "Rare") for n in range(22)]
    sheet = contact_sheet(*an_ingest(str(tmp_path / "store"), volumes), most_volumes=6)
    makers = [tile.volume.tags["Manufacturer"] for tile in sheet.tiles]
    assert makers == ["Common"] * 4 + ["Rare"] * 2
    assert sheet.summary == "22 images in 22 volumes of 22 patients; 2 files set aside. Shown: 6."


def test_the_same_ingest_gives_the_same_sheet_to_the_byte(tmp_path):
    store, ingest_id = an_ingest(str(tmp_path / "store"), [a_volume(n) for n in range(3)])
    one, other = (contact_sheet(store, ingest_id, most_volumes=2) for _ in range(2))
    assert as_html(one) == as_html(other)
    assert as_png(one) == as_png(other)


def test_a_damaged_volume_is_told_and_the_rest_is_shown(tmp_path):
    store, ingest_id = an_ingest(str(tmp_path / "store"), [a_volume(1), a_volume(2)])
    next(p for p in Path(store.volume(f"{1:012x}"), "0", "c").rglob("*") if p.is_file()).unlink()
    sheet = contact_sheet(store, ingest_id, most_volumes=5)
    assert [tile.shown is None for tile in sheet.tiles] == [True, False]
    assert b"hilum doctor says where" in as_html(sheet)
    assert as_png(sheet)


def test_the_page_has_every_volume_in_three_planes_and_the_classes_drawn(tmp_path):
    volumes = [a_volume(1, maker="Acme", flags=("gantry_tilt",)), a_volume(2)]
    page = as_html(contact_sheet(*an_ingest(str(tmp_path / "store"), volumes), most_volumes=5)).decode()
    for volume in volumes:
        for plane in ("axial", "coronal", "sagittal"):
            assert f'alt="{plane} of {volume.volume_id}"' in page
    assert "liver</li>" in page
    assert "background</li>" not in page
    assert "CT · Acme" in page
    assert "10 × 12 × 8 voxels · 0.75 × 1 × 2.5 mm" in page
    assert "⚠ gantry tilt" in page


def test_the_page_fetches_nothing_runs_nothing_and_takes_no_text_for_markup(tmp_path):
    store, ingest_id = an_ingest(str(tmp_path / "store"), [a_volume(1, maker=CANARY)], names=("background", CANARY))
    page = as_html(contact_sheet(store, ingest_id, most_volumes=5)).decode()
    assert CANARY not in page
    assert "<script" not in page
    assert all(link.startswith("data:image/png;base64,") for link in re.findall(r'(?:src|href)="([^"]*)"', page))


def test_no_pseudonym_of_a_patient_or_a_study_is_on_the_sheet(tmp_path):
    sheet = contact_sheet(*an_ingest(str(tmp_path / "store"), [a_volume(7)]), most_volumes=5)
    assert not re.search(rb"patient7|study7", as_html(sheet))


@pytest.mark.parametrize("question", ["classify", "segment"])
def test_images_and_blocks_of_a_stack_make_a_picture(tmp_path, question):
    dims = 2 if question == "classify" else 3
    store, ingest_id = phantom_store(str(tmp_path / "store"), Phantom(question, spatial_dims=dims))
    sheet = contact_sheet(store, ingest_id, most_volumes=3)
    with Image.open(io.BytesIO(as_png(sheet))) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 1000
    counts, counted = sheet.class_counts()
    assert counted == ("images" if question == "classify" else "volumes shown with it")
    assert counts["lesion"] > 0
