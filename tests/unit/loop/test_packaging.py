"""What a wheel holds, as pyproject.toml lays it out."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def installed(tmp_path):
    """The packages and files of a wheel, as they lie in site-packages."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for package in wheel["packages"]:
        shutil.copytree(ROOT / package, tmp_path / Path(package).name, ignore=shutil.ignore_patterns("__pycache__"))
    for source, target in wheel["force-include"].items():
        shutil.copytree(ROOT / source, tmp_path / target)
    return tmp_path


def _python(installed, program):
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(installed)!r}); {program}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=installed).stdout.strip()


def test_shipped_recipes_are_found_inside_the_wheel(installed):
    program = "from hilum.loop.recipe_files import shipped_recipes as s; print(s()['smoke'])"
    assert _python(installed, program) == str(installed / "hilum" / "recipes_data" / "smoke.yaml")


def test_a_wheel_ships_the_recipes_and_profiles_of_the_repository(installed):
    program = "from hilum.loop import recipe_files as r; print(*r.shipped_recipes(), *r.shipped_resources())"
    recipes = ROOT / "platform" / "recipes"
    names = {path.stem for folder in (recipes, recipes / "resources") for path in folder.glob("*.yaml")}
    assert set(_python(installed, program).split()) == names


def test_a_wheel_says_that_it_is_typed(installed):
    assert (installed / "hilum" / "py.typed").is_file()
