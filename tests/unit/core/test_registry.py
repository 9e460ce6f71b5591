"""Extension points: a package of somebody else is found by its entry point, and by nothing else."""

import os
import subprocess
import sys

import pytest
from pydantic import Field

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.core.registry import Params, Registry, annotators, architectures, pretexts, samplers, scorers

PLUGIN = """
from pydantic import Field
from hilum.core.registry import Params, {point}s

class Shifted(Params):
    by: float = Field(default=1.0, ge=0)

@{point}s.register("theirs", params=Shifted)
def theirs(value, *, by=1.0):
    return value + by
"""

POINTS = ["scorer", "sampler", "architecture", "pretext", "annotator"]


@pytest.fixture
def package(tmp_path):
    """Installs a package that extends ``point``, as pip leaves it on disk, and runs code beside it."""

    def run(point: str, code: str) -> str:
        (tmp_path / "their_package.py").write_text(PLUGIN.format(point=point))
        info = tmp_path / "their_package-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[hilum.{point}s]\ntheirs = their_package\n")
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-c", f"from hilum.core.registry import *\n{code}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path)
        return done.stdout.strip()

    return run


@pytest.mark.parametrize("point", ["scorer", "architecture", "annotator"])
def test_a_package_with_an_entry_point_extends_its_point(package, point):
    code = f"print('theirs' in {point}s, {point}s.bind(Choice(kind='theirs', by=2.5))(1))"
    assert package(point, code) == "True 3.5"


def test_a_package_is_not_imported_before_a_name_is_looked_for(package):
    code = "import sys; a = 'their_package' in sys.modules; list(samplers); print(a, 'their_package' in sys.modules)"
    assert package("sampler", code) == "False True"


def test_a_package_extends_only_the_point_it_names(package):
    assert package("scorer", "print('theirs' in scorers, 'theirs' in samplers)") == "True False"


def test_parameters_of_a_plug_in_are_checked_as_ours_are(package):
    code = """
from hilum.core.errors import RecipeError
for wrong in ({"by": -1}, {"bye": 1}):
    try:
        scorers.bind(Choice(kind="theirs", **wrong))
    except RecipeError as error:
        print(error)
"""
    first, second = package("scorer", code).splitlines()
    assert first.startswith("scorer 'theirs', parameter 'by': Input should be greater than or equal to 0 (given -1")
    assert second == "scorer 'theirs': No parameter is called 'bye'. Did you mean 'by'? Known: by."


def test_the_five_points_are_those_of_the_entry_point_groups():
    points = [scorers, samplers, architectures, pretexts, annotators]
    assert [point.what for point in points] == POINTS


class Sized(Params):
    size: int = Field(default=3, ge=1)
    sizes: tuple[int, ...] = ()


@pytest.fixture
def shapes():
    registry = Registry("shape")
    registry.register("box", params=Sized)(lambda *, size, sizes: (size, sizes))
    return registry


def test_a_function_is_given_back_as_it_was_registered():
    registry = Registry("shape")

    def box():
        return 1

    assert registry.register("box")(box) is box
    assert registry.bind(Choice(kind="box")) is box


def test_what_is_written_as_a_list_or_as_text_arrives_in_its_type(shapes):
    assert shapes.bind(Choice(kind="box", size="7", sizes=[1, 2]))() == (7, (1, 2))


def test_the_place_of_a_wrong_value_within_a_list_is_told(shapes):
    with pytest.raises(RecipeError, match=r"parameter 'sizes\.1': .* \(given 'two'\)"):
        shapes.bind(Choice(kind="box", sizes=[1, "two"]))


def test_a_function_without_parameters_takes_none(shapes):
    shapes.register("point")(lambda: 0)
    with pytest.raises(RecipeError, match="No parameter is called 'size'. Known: none yet"):
        shapes.bind(Choice(kind="point", size=1))


def test_the_parameters_of_a_name_can_be_asked_for(shapes):
    assert shapes.params_of("box") is Sized
    with pytest.raises(RecipeError, match="No shape is called 'bax'. Did you mean 'box'"):
        shapes.params_of("bax")


def test_two_registries_share_no_names(shapes):
    assert "box" not in Registry("shape")
