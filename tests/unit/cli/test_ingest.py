"""`hilum ingest` says what it set aside, file by file, and its exit code says that it was not everything."""

import shutil
from typing import get_args

import pytest

from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.reading import read_item
from hilum.cli.reading import ingest_recipe
from hilum.core.errors import RecipeError
from hilum.core.recipes import WINDOWS_HU, IngestRecipe, WindowRecipe
from hilum.core.resources import Resources
from hilum.steps import ingest
from hilum.store.opening import create_store


@pytest.fixture
def ingested(tmp_path, scans):
    """A folder of two good images and as many bad ones as are asked for, taken in."""

    def take_in(names):
        folder = tmp_path / "in"
        folder.mkdir()
        for number in (0, 1):
            shutil.copy(scans / f"images/{number:03d}.png", folder / f"good-{number}.png")
        for name in names:
            (folder / name).write_bytes(b"not an image")
        made, _ = create_store(str(tmp_path / "mixed"))
        read = {"store": made, "executor": InlineExecutor(), "resources": Resources(), "read": read_item}
        ingest.run(IngestRecipe(), find_source(str(folder)), **read)
        return f"ingest {folder} --store {made.url}"

    return take_in


def test_an_ingest_that_set_something_aside_ends_with_five_and_names_the_file_and_why(typed, ingested):
    answer = typed(ingested(["bad.png"]))
    assert answer.code == 5
    assert "bad.png" in answer.out
    assert "Not a readable PNG or JPEG file" in answer.out
    assert "good-0.png" not in answer.out


def test_who_took_in_several_patients_is_told_how_to_look_for_copies(typed, ingested):
    assert "hilum doctor --lookalikes --store" in typed(ingested([])).out


def test_an_ingest_that_took_everything_ends_with_zero(typed, ingested):
    assert typed(ingested([])).code == 0


def test_people_see_a_hundred_and_the_commonest_reasons_of_the_rest_and_machines_see_all(typed, ingested):
    command = ingested([f"bad-{number:03d}.png" for number in range(105)])
    answer = typed(command)
    assert (answer.code, answer.out.count("bad-")) == (5, 100)
    assert "5 more" in answer.out
    assert "5 × Not a readable PNG or JPEG file" in answer.out
    document = typed(f"{command} --json").document
    assert len(document["quarantined"]) == 105
    assert document["results"]["num_quarantined"] == 105


def test_a_file_and_its_reason_are_one_line_however_long_and_no_markup(typed, ingested):
    name = "[red]a very long name of a very deep folder " + "of a hospital " * 5 + "[bold].bmp"
    lines = typed(ingested([name])).out.splitlines()
    (line,) = [line for line in lines if line.startswith("  [red]")]
    assert line.startswith(f"  {name}: ")
    assert line.endswith("zip of these.")


def test_a_name_that_would_move_the_cursor_is_shown_without_doing_so(typed, ingested):
    answer = typed(ingested(["x\x1b[2J\n.png"]))
    assert answer.code == 5
    assert "\x1b[2J" not in answer.out
    assert "\ufffd" in answer.out


@pytest.mark.parametrize(("gib", "num_bytes"), [(None, 8 << 30), (1, 1 << 30), (0.5, 1 << 29)])
def test_the_most_that_a_file_may_hold_is_the_user_s_to_say(gib, num_bytes):
    assert ingest_recipe(None, max_gib=gib).max_bytes == num_bytes


@pytest.mark.parametrize("gib", [0, -1, float("nan"), 1e9])
def test_a_limit_that_cannot_be_meant_is_refused(gib):
    with pytest.raises(RecipeError, match="max-gib"):
        ingest_recipe(None, max_gib=gib)


def test_a_limit_too_small_to_hold_anything_is_said_before_a_file_is_read(typed, ingested):
    answer = typed(f"{ingested([])} --max-gib 0.0001 --json")
    assert answer.code == 2
    assert "GiB" in answer.document["error"]["message"]


def test_another_limit_is_another_run_because_it_decides_what_is_taken_in():
    assert ingest_recipe(None) == IngestRecipe()
    assert ingest_recipe(None, max_gib=1) != IngestRecipe()


CT = """
extends: scans-3d
ingest:
  prepare: {orientation: LPS, spacing_mm_zyx: [3, 1, null], window: lung}
  num_coarser_levels: 2
"""


def saved(tmp_path, text):
    path = tmp_path / "ct.yaml"
    path.write_text(text)
    return str(path)


def test_a_recipe_says_how_scans_are_prepared_and_its_patches_lay_out_the_chunks(tmp_path):
    found = ingest_recipe(saved(tmp_path, CT), max_gib=2)
    assert found.prepare.orientation == "LPS"
    assert found.prepare.spacing_mm_zyx == (3, 1, None)
    assert found.prepare.window.preset == "lung"
    assert (found.num_coarser_levels, found.max_bytes, found.patch_shape_zyx) == (2, 2 << 30, (16, 64, 64))


@pytest.mark.parametrize(
    ("pool", "shape"),
    [("{}", (1, 64, 64)), ("{slices: {plane: axial}}", (1, 64, 64)), ("{slices: {plane: coronal}}", (32, 32, 32))],
)
def test_chunks_are_laid_out_for_what_will_be_read(tmp_path, pool, shape):
    assert ingest_recipe(saved(tmp_path, f"extends: smoke\npool: {pool}\n")).patch_shape_zyx == shape


def test_a_recipe_that_says_its_chunks_has_its_way(tmp_path):
    recipe = saved(tmp_path, "extends: scans-3d\ningest: {patch_shape_zyx: [8, 8, 8]}\n")
    assert ingest_recipe(recipe).patch_shape_zyx == (8, 8, 8)


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        ("{orientaton: LPS}", "Did you mean 'orientation'"),
        ("{orientation: LRS}", "three letters, one of R and L"),
        ("{orientation: lps}", "three letters"),
        ("{spacing_mm_zyx: [1, 1]}", "ingest.prepare.spacing_mm_zyx"),
        ("{spacing_mm_zyx: [0, 1, 1]}", "ingest.prepare.spacing_mm_zyx"),
        ("{interpolation: cubic}", "'linear' or 'bspline'"),
        ("{window: liver}", "'lung', 'mediastinum', 'abdomen', 'bone' or 'brain'"),
        ("{window: {low: 3}}", "'low' with 'high'"),
        ("{window: {low: 3, high: 3}}", "below the high end"),
        ("{window: {preset: lung, percentiles: [1, 99]}}", "give one of"),
        ("{crop_to_body: {margin_mm: -1}}", "ingest.prepare.crop_to_body.margin_mm"),
    ],
)
def test_a_preparation_that_cannot_be_meant_is_told_before_a_file_is_read(typed, tmp_path, prepare, said):
    recipe = saved(tmp_path, f"extends: smoke\ningest: {{prepare: {prepare}}}\n")
    answer = typed(f"ingest {tmp_path}/nowhere --recipe {recipe} --store {create_store(str(tmp_path / 's'))[0].url}")
    assert answer.code == 2
    assert said in " ".join(answer.err.split())


def test_every_window_that_has_a_name_has_its_levels():
    assert set(get_args(get_args(WindowRecipe.model_fields["preset"].annotation)[0])) == set(WINDOWS_HU)
    assert all(low < high for low, high in WINDOWS_HU.values())


def test_the_help_of_ingest_teaches_how_to_prepare(typed):
    told = " ".join(typed("ingest --help").out.split())
    for word in ("ingest.prepare", "orientation", "crop_to_body", "spacing_mm_zyx", "window"):
        assert word in told
