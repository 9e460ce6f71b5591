"""The whole command on a miniature set, with real commands, a real Ray and real trainings of a few steps."""

import numpy as np
import pytest
import yaml
from PIL import Image
from tests.evidence import architectures

from hilum.loop import recipe_files

SIDES = ("pool", "pool", "pool", "validation", "test", "test")


def a_set(folder):
    """Bright squares on grain, one image a patient."""
    rng = np.random.default_rng(0)
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    rows = ["image,label,patient,side"]
    for number, side in enumerate(SIDES):
        label = np.zeros((32, 32), np.uint8)
        y, x = rng.integers(2, 18, 2)
        label[y : y + 10, x : x + 10] = 1
        image = (label * 120 + rng.integers(0, 80, label.shape)).astype(np.uint8)
        for part, array in (("images", image), ("labels", label)):
            Image.fromarray(array).save(folder / part / f"{number}.png")
        rows.append(f"images/{number}.png,labels/{number}.png,p{number},{side}")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")


def a_recipe(file):
    """The shipped one, smaller: its strategies stay what they are."""
    content = recipe_files.resolved("architectures-nuclei")
    content["campaign"]["finetune"] |= {"num_steps": 3, "patch_shape_zyx": [1, 32, 32]}
    content["campaign"]["campaign"] = {"num_per_round": 3, "num_in_total": 3}
    content["seeds"] = [0]
    file.write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.mark.timeout(600)
def test_a_set_is_measured_once_and_then_read_back(tmp_path, monkeypatch):
    a_set(tmp_path / "set" / "images")
    a_recipe(tmp_path / "mini.yaml")
    monkeypatch.setattr(architectures, "RECIPES", {"set": str(tmp_path / "mini.yaml")})
    found = architectures._measured("set", tmp_path / "set", on="local")

    assert [row.name for row in found.arms] == list(architectures.ARMS.values())
    assert [row.name for row in found.depths] == ["L1", "L2", "L3", "L4"]
    assert all(len(row.dice) == 1 and 0 <= row.dice[0] <= 1 for row in found.arms + found.depths)
    supervised = found.arms[-1]
    assert found.depths[-1].dice == supervised.dice
    assert found.depths[-1].costs.num_parameters == supervised.costs.num_parameters
    assert len({row.dice for row in found.arms}) == len(found.arms), "four networks, and not one four times"
    assert "3 labelled images learnt from, 2 tested on, of 2 patients or plates apart" in found.about

    monkeypatch.setattr(architectures, "measure_costs", None)  # a second run measures nothing
    parts = {file: file.stat().st_mtime_ns for file in (tmp_path / "set" / "depths").rglob("*.json")}
    assert len(parts) == 3, "the three depths that nobody has tested before"
    assert architectures._measured("set", tmp_path / "set", on="local") == found
    assert parts == {file: file.stat().st_mtime_ns for file in (tmp_path / "set" / "depths").rglob("*.json")}
