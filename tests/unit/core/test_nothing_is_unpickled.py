"""No file can make our code run what it says: nothing is unpickled but what our own processes send each other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
IN_FLIGHT = {"platform/hilum/adapters/ray_data.py", "platform/hilum/adapters/ray_workers.py"}
"""Between a driver and its workers on one Ray, where functions travel; never at rest."""

LOADERS = {"pickle", "cloudpickle", "dill", "shelve", "joblib", "marshal", "jsonpickle"}
SOURCES = sorted([*ROOT.glob("platform/hilum/**/*.py"), *ROOT.glob("services/hilum_services/**/*.py")])


def unpickles(source: str) -> Iterator[str]:
    """Every way in which this source could run what a file holds."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from (module for module in modules if module.split(".")[0] in LOADERS)
            yield from (alias.name for alias in node.names if alias.name == "cloudpickle")
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in ("yaml.Loader", "yaml.UnsafeLoader"):
            yield ast.unparse(node)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("torch.load", "pd.read_pickle", "pandas.read_pickle", "yaml.unsafe_load", "yaml.full_load"):
                yield called
            if any(word.arg == "allow_pickle" and ast.unparse(word.value) != "False" for word in node.keywords):
                yield f"{called}(allow_pickle=…)"
            if called in ("eval", "exec"):
                yield called


def test_no_source_of_ours_unpickles_what_is_at_rest() -> None:
    found = {path.relative_to(ROOT).as_posix(): list(unpickles(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert {path for path, ways in found.items() if ways} == IN_FLIGHT


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "from ray import cloudpickle",
        "import joblib",
        "torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=trusted)",
        "yaml.unsafe_load(text)",
        "class Own(yaml.Loader): ...",
        "eval(text)",
    ],
)
def test_each_way_is_noticed(source: str) -> None:
    assert list(unpickles(source))
