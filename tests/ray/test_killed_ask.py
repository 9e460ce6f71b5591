"""`hilum ask` with its own Ray, killed while it scores and while it selects: it asks about whom it would have asked."""

import pytest
import yaml
from tests.evidence.asking import Ask, Memory
from tests.evidence.million import compared, copied

from hilum.store.layout import Store
from hilum.testing.phantoms import Phantom, phantom_store
from hilum.testing.untrained import untrained_checkpoint

SLICES = Phantom("segment", num_patients=5, num_frames=24, size=64)
RECIPE = {
    "question": "segment",
    "pool": {"patch_shape_zyx": [1, 16, 16], "stride_zyx": [1, 4, 4], "candidates_per_shard": 200},
    "score": {"scorers": [{"kind": "entropy"}]},
    "select": {
        "num": 60,
        "arms": [
            {"share": 0.5, "sampler": {"kind": "power_top_k", "score": "entropy"}},
            {"share": 0.5, "sampler": {"kind": "k_centre"}},
        ],
    },
}


@pytest.fixture
def question(tmp_path, monkeypatch):
    monkeypatch.setenv("HILUM_STATE", str(tmp_path / "state"))
    store, ingest_id = phantom_store(str(tmp_path / "store"), SLICES)
    (tmp_path / "slices.yaml").write_text(yaml.safe_dump(RECIPE))
    checkpoint = untrained_checkpoint(Store(store.url), SLICES)
    return Ask(tmp_path / "slices.yaml", tmp_path / "store", checkpoint, ingest_id)


def test_a_command_killed_twice_selects_what_an_undisturbed_one_selects(question, tmp_path):
    calm, shaken = copied(question, tmp_path / "calm"), copied(question, tmp_path / "shaken")
    found = compared(calm, shaken, seed=3)
    assert found.num_selected == 60
    assert found.num_different_rows == found.num_different_parts == 0
    first, second = found.kills
    assert 0 < first.num_parts < found.num_parts == second.num_parts
    assert found.num_kept_parts == first.num_parts
    assert found.memory.peak_bytes > 0
    again = shaken.to_the_end(Memory())
    assert [run["already_done"] for run in again.values()] == [True, True, True]
