"""From a fingerprint to a recipe: every rule, on numbers alone."""

import math

import pytest
import yaml

from hilum.core.errors import DataError, RecipeError
from hilum.core.fingerprint import Fingerprint, GreyLevels, Spread
from hilum.core.recipes import CampaignRecipe, PrepareRecipe
from hilum.loop.choices import random_share
from hilum.loop.plan_files import as_commented_yaml, parsed_memory
from hilum.loop.plan_images import target_spacing
from hilum.loop.plan_patches import fitted_patch, poolings_of
from hilum.loop.planning import GIB, Memory, planned

PLENTY = Memory(64 * GIB, "a test")


def spread(*rows):
    return Spread.of(rows)


def images(**changes):
    """Ten scans of 80 × 160 × 160 voxels of one millimetre, half of them larger."""
    shapes = changes.pop("shapes", [(80, 160, 160), (96, 192, 192)])
    spacings = changes.pop("spacings", [(1.0, 1.0, 1.0)] * len(shapes))
    extents = [[n * mm for n, mm in zip(a, b, strict=True)] for a, b in zip(shapes, spacings, strict=True)]
    levels = GreyLevels(all=(0.0, 50.0, 900.0), foreground=(20.0, 80.0, 200.0))
    known = {
        "num_volumes": 10,
        "num_items": 10,
        "num_unreadable": 0,
        "num_patients": 10,
        "num_labelled": 10,
        "num_classified": 0,
        "has_stacks": False,
        "spacing_known": True,
        "orientation_known": True,
        "num_orientations": 1,
        "num_channels": [1],
        "spacing_mm_zyx": spread(*spacings),
        "item_shape_zyx": spread(*shapes),
        "extent_mm_zyx": spread(*extents),
        "modalities": {"MR": 10},
        "grey_levels": {"MR": levels},
        "class_names": ["background", "lesion"],
        "class_voxels": [9900, 100],
        "class_volumes": [10, 9],
        "class_items": [0, 0],
    }
    return Fingerprint(**{**known, **changes})


def cost(question, architecture, patch, depth, together):
    """A kilobyte a voxel; UNet++ twice that."""
    return math.prod(patch) * 1024 * together * (2 if architecture == "unetpp" else 1)


def plan(fingerprint=None, *, memory=PLENTY, **options):
    return planned(fingerprint or images(), memory=memory, step_bytes=cost, **options)


@pytest.mark.parametrize("question", ["classify", "segment"])
def test_a_plan_asks_a_tenth_at_random(question):
    assert random_share(plan(question=question).recipe.select) >= 0.1


def test_the_target_spacing_is_the_median():
    found = images(shapes=[(60, 160, 160)] * 3, spacings=[(1.0, 0.5, 0.5), (1.2, 0.6, 0.6), (2.0, 0.9, 0.9)])
    assert target_spacing(found)[0] == (1.2, 0.6, 0.6)


def test_a_coarse_axis_takes_its_tenth_percentile():
    spacings = [(z, 0.5, 0.5) for z in (2.0, 5.0, 5.0, 6.0, 7.0)]
    target, why = target_spacing(images(shapes=[(20, 256, 256)] * 5, spacings=spacings))
    assert target == (pytest.approx(3.2), 0.5, 0.5)
    assert "axis Z" in why


def test_a_coarse_axis_never_becomes_finer_than_the_others():
    spacings = [(z, 0.5, 0.5) for z in (0.2, 0.2, 5.0, 5.0, 5.0)]
    assert target_spacing(images(shapes=[(20, 256, 256)] * 5, spacings=spacings))[0] == (0.5, 0.5, 0.5)


def test_images_of_one_spacing_are_not_resampled_and_the_recipe_fits_the_store_as_it_is():
    made = plan()
    assert not made.prepares_anew
    assert made.recipe.ingest.prepare == PrepareRecipe()


def test_images_of_different_spacings_are_to_be_ingested_anew():
    made = plan(images(spacings=[(1.0, 1.0, 1.0), (2.0, 1.0, 1.0)]))
    assert made.prepares_anew
    assert made.recipe.ingest.prepare.spacing_mm_zyx == (1.5, 1.0, 1.0)
    assert "1.5 × 1 × 1 mm" in made.reasons["ingest.prepare.spacing_mm_zyx"]


def test_after_resampling_a_patch_still_lies_in_the_smallest_scan():
    found = images(shapes=[(40, 160, 160), (96, 192, 192)], spacings=[(1.0, 1.0, 1.0), (3.0, 1.0, 1.0)])
    assert plan(found).recipe.pool.patch_shape_zyx[0] <= 40 / 2


def test_what_was_said_at_ingest_stays():
    ingested = PrepareRecipe(spacing_mm_zyx=(2.0, 1.0, 1.0), orientation="RAS")
    made = plan(images(spacings=[(1.0, 1.0, 1.0), (2.0, 1.0, 1.0)]), ingested=ingested)
    assert made.recipe.ingest.prepare == ingested
    assert not made.prepares_anew


def test_images_can_be_planned_for_as_they_are():
    assert (
        plan(images(spacings=[(1.0, 1.0, 1.0), (2.0, 1.0, 1.0)]), as_ingested=True).recipe.ingest.prepare
        == PrepareRecipe()
    )


def test_scans_that_lie_differently_are_turned_alike():
    assert plan(images(num_orientations=2)).recipe.ingest.prepare.orientation == "LPS"
    untold = plan(images(num_orientations=2, orientation_known=False))
    assert untold.recipe.ingest.prepare.orientation is None
    assert any("cannot be turned" in note for note in untold.notes)


def test_ct_has_the_window_of_its_foreground():
    levels = GreyLevels(all=(-1000.0, 0.0, 900.0), foreground=(-20.4, 60.0, 180.2))
    for modality in ("CT", "OT"):  # a NIfTI does not say that it is CT; air at -1000 does
        made = plan(images(modalities={modality: 10}, grey_levels={modality: levels}))
        assert made.recipe.ingest.prepare.window.low == -21
        assert made.recipe.ingest.prepare.window.high == 181


def test_ct_without_foreground_has_the_preset_that_a_class_is_called_after():
    levels = GreyLevels(all=(-1000.0, 0.0, 900.0), foreground=None)
    found = images(modalities={"CT": 10}, grey_levels={"CT": levels}, class_names=["background", "left lung"])
    assert plan(found).recipe.ingest.prepare.window.preset == "lung"


def test_mr_keeps_each_scan_s_own_percentiles_and_says_why():
    made = plan()
    assert made.recipe.ingest.prepare.window == PrepareRecipe().window
    assert any("percentiles" in note for note in made.notes)


def test_a_patch_grows_to_the_smallest_of_median_and_least_and_no_further():
    assert plan().recipe.pool.patch_shape_zyx == (80, 160, 160)


def test_less_memory_means_a_smaller_patch_that_still_divides():
    previous = math.inf
    for num_mib in (2000, 500, 100, 20):
        recipe = plan(memory=Memory(num_mib << 20, "a test")).recipe
        patch, depth = recipe.pool.patch_shape_zyx, recipe.finetune.architecture.params["depth"]
        assert cost("segment", recipe.finetune.architecture.kind, patch, depth, 1) <= num_mib << 20
        assert all(size % 2**depth == 0 for size in patch)
        assert math.prod(patch) < previous
        previous = math.prod(patch)


def test_the_axis_that_is_longest_in_millimetres_gives_way_first():
    fitted = fitted_patch((64, 64, 64), (4.0, 1.0, 1.0), 32 * 64 * 64, lambda patch, _: math.prod(patch))
    assert fitted.patch_zyx == (32, 64, 64)


def test_too_little_memory_is_told():
    with pytest.raises(RecipeError, match="--memory 4GiB"):
        plan(memory=Memory(1 << 10, "a test"))


@pytest.mark.parametrize(("shape", "depth"), [((1, 512, 512), 4), ((16, 64, 64), 2), ((8, 64, 64), 1), ((4, 8, 8), 1)])
def test_poolings_leave_four_voxels_of_the_shortest_axis(shape, depth):
    assert poolings_of(shape) == depth


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((1, 512, 512), (1.0, 1.0, 1.0)), ((5, 64, 64), (1.0, 1.0, 1.0)), ((30, 256, 256), (9.0, 1.0, 1.0))],
)
def test_flat_few_or_thick_slices_are_learnt_in_2d(shape, spacing):
    patch = plan(images(shapes=[shape, (shape[0] + 1, *shape[1:])], spacings=[spacing] * 2)).recipe.pool.patch_shape_zyx
    assert patch[0] == 1
    assert min(patch[1:]) > 1


def test_thin_slices_are_learnt_in_3d():
    assert plan().recipe.pool.patch_shape_zyx[0] > 1


def test_images_of_one_size_that_fit_are_asked_about_whole():
    assert plan(images(shapes=[(80, 160, 160)])).recipe.pool.patch_shape_zyx is None


def test_a_plain_u_net_is_planned_where_it_sees_more():
    assert plan().recipe.finetune.architecture.kind == "unetpp"
    assert plan(memory=Memory(500 << 20, "a test")).recipe.finetune.architecture.kind == "unet"


def test_the_batch_fills_the_memory_in_two_chunks_up_to_a_twentieth_of_all_voxels():
    found = images(num_items=1000, shapes=[(1, 64, 64)])
    sizes = [plan(found, memory=Memory(n << 20, "a test")).recipe.finetune.batch_size for n in (9, 33, 1000)]
    assert sizes == [2, 8, 32]
    assert plan(images(num_items=10, shapes=[(1, 64, 64)])).recipe.finetune.batch_size == 2


def test_a_class_that_has_a_side_forbids_mirrors():
    kinds = [choice.kind for choice in plan(images(class_names=["background", "left_kidney"])).recipe.finetune.augment]
    assert "flip" not in kinds
    assert "flip" in [choice.kind for choice in plan().recipe.finetune.augment]


def test_images_with_classes_alone_are_classified_whole():
    made = plan(images(num_labelled=0, num_classified=10, class_items=[4, 6]))
    assert made.recipe.question == "classify"
    assert made.recipe.pool.patch_shape_zyx is None
    assert "background 40 %" in made.reasons["finetune.balance_classes"]


def test_images_without_answers_need_to_be_told_the_question():
    with pytest.raises(DataError, match="--question"):
        plan(images(num_labelled=0))
    assert plan(images(num_labelled=0), question="segment").recipe.question == "segment"


def test_mixed_channels_are_one_clear_error():
    with pytest.raises(DataError, match="1 and 3 channels"):
        plan(images(num_channels=[1, 3]))


def test_one_class_is_no_question():
    with pytest.raises(DataError, match="a question needs two"):
        plan(images(class_names=["background"], class_voxels=[1]))


def test_the_file_says_why_and_loads_as_the_plan():
    made = plan(images(spacings=[(1.0, 1.0, 1.0), (2.0, 1.0, 1.0)]))
    text = as_commented_yaml(made, images(), ingest_id="c0ffee", memory=PLENTY)
    assert CampaignRecipe.model_validate(yaml.safe_load(text)) == made.recipe
    for why in made.reasons.values():
        assert f"# {why}" in text
    for needed in ("spacing_mm_zyx", "patch_shape_zyx", "batch_size", "depth", "num_steps", "kind: unetpp"):
        before, _, _ = text.partition(f"{needed}")
        assert before.splitlines()[-2].strip().startswith("#"), needed
    assert text == as_commented_yaml(made, images(), ingest_id="c0ffee", memory=PLENTY)


@pytest.mark.parametrize(("text", "num_bytes"), [("8GiB", 8 << 30), ("500 MB", 500_000_000), ("1.5gib", 3 << 29)])
def test_memory_is_a_size(text, num_bytes):
    assert parsed_memory(text) == num_bytes


@pytest.mark.parametrize("text", ["", "8", "much", "-1GiB", "nanGiB", "infGiB", "1KiB", "GiB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(RecipeError, match="--memory takes a size"):
        parsed_memory(text)
