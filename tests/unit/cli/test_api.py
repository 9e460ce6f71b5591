"""The Python API: `import hilum`."""

import inspect
import subprocess
import sys

import pytest

import hilum
from hilum.core.errors import NotFoundError, RecipeError


@pytest.mark.parametrize("name", hilum.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name):
    assert getattr(hilum, name).__doc__


def test_importing_hilum_pulls_neither_torch_nor_ray():
    program = "import sys, hilum; print({'torch', 'ray', 'numpy', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_opening_a_store_pulls_neither_torch_nor_ray(tmp_path):
    program = f"import sys, hilum; hilum.init({str(tmp_path)!r}); print({{'torch', 'ray'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_unknown_name_is_answered_with_what_there_is():
    with pytest.raises(AttributeError, match="Campaign"):
        hilum.campaing  # noqa: B018


def test_every_public_name_is_listed():
    assert set(hilum.__all__) <= set(dir(hilum))


def test_the_version_is_the_packages():
    from importlib.metadata import version

    assert hilum.__version__ == version("hilum")


def test_a_store_made_is_the_store_opened(tmp_path):
    assert hilum.init(tmp_path) == hilum.open(tmp_path)


def test_a_store_nobody_made_is_not_opened(tmp_path):
    with pytest.raises(NotFoundError):
        hilum.open(tmp_path)


def test_a_campaign_is_made_found_again_and_knows_where_it_is(store, recipe):
    made = hilum.Campaign.create(store, "liver", recipe=recipe)
    found = hilum.Campaign.open(store, "liver")
    assert (found.name, found.round_number, str(found.stage), found.finished) == ("liver", 0, "opened", False)
    assert made.status == found.status


def test_a_campaign_with_an_unknown_sampler_is_refused_before_anything_is_written(store, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("extends: smoke\nselect: {arms: [{share: 1, sampler: {kind: top_key}}]}\n")
    with pytest.raises(RecipeError, match="Did you mean 'top_k'"):
        hilum.Campaign.create(store, "liver", recipe=wrong)
    with pytest.raises(NotFoundError):
        hilum.Campaign.open(store, "liver")


def test_a_recipe_may_be_given_as_an_object(store, recipe):
    loaded = hilum.recipe(recipe)
    assert hilum.Campaign.create(store, "liver", recipe=loaded).name == "liver"


def test_ingesting_what_is_there_already_starts_no_ray(store, scans):
    manifest = hilum.ingest(store, scans, address="127.0.0.1:9")
    assert manifest.results["num_volumes"] == 30


def test_every_public_function_is_documented_with_its_arguments():
    for name in ("init", "open", "ingest", "recipe", "simulate"):
        assert inspect.signature(getattr(hilum, name)).parameters
