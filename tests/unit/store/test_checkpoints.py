"""Checkpoints at rest: whole or absent, checked byte by byte, never changed."""

import json
import pickletools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hilum.core.errors import CorruptionError, NotFoundError
from hilum.store import checkpoints
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, write_manifest

CARD = {"question": "classify", "recipe": {"seed": 1}, "inputs": {"labels": "aaaa"}, "class_names": ["a", "b"]}
DTYPES = st.sampled_from([np.float32, np.float64, np.int64, np.uint16])
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, max_side=4), elements=st.integers(0, 9))


def tensors(value=1.0):
    return {"layer.weight": np.full((2, 3), value, np.float32), "layer.bias": np.arange(3, dtype=np.float32)}


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.text("abc._", min_size=1, max_size=8), ARRAYS, max_size=4))
def test_tensors_come_back_as_they_went(tmp_path_factory, given_tensors):
    store = Store(str(tmp_path_factory.mktemp("store")))
    checkpoints.save(store, "c1", given_tensors, CARD)
    found, card = checkpoints.load(store, "c1")
    assert found.keys() == given_tensors.keys()
    for name, array in given_tensors.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
    assert card == {"card_version": 1, **CARD}


def test_arrays_that_are_not_contiguous_are_saved_as_they_read(store):
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    checkpoints.save(store, "c1", {"w": turned}, CARD)
    assert np.array_equal(checkpoints.load(store, "c1")[0]["w"], turned)


def test_a_checkpoint_never_changes(store):
    checkpoints.save(store, "c1", tensors(1.0), CARD)
    checkpoints.save(store, "c1", tensors(2.0), {**CARD, "question": "segment"})
    found, card = checkpoints.load(store, "c1")
    assert found["layer.weight"][0, 0] == 1.0
    assert card["question"] == "classify"


def test_a_checkpoint_without_its_manifest_does_not_exist(store):
    checkpoints.save(store, "c1", tensors(), CARD)
    Path(store.checkpoint("c1"), "manifest.json").unlink()
    with pytest.raises(NotFoundError, match="There is no checkpoint c1"):
        checkpoints.load(store, "c1")
    # Whoever was killed before the manifest writes it all again.
    checkpoints.save(store, "c1", tensors(3.0), CARD)
    assert checkpoints.load(store, "c1")[0]["layer.weight"][0, 0] == 3.0


@pytest.mark.parametrize("file", ["model.safetensors", "card.json"])
def test_one_changed_byte_is_found(store, file):
    checkpoints.save(store, "c1", tensors(), CARD)
    path = Path(store.checkpoint("c1"), file)
    payload = bytearray(path.read_bytes())
    payload[-3] ^= 1
    path.write_bytes(payload)
    with pytest.raises(CorruptionError, match=f"Checkpoint c1 is damaged: {file}: changed"):
        checkpoints.load(store, "c1")


def test_a_missing_file_is_named(store):
    checkpoints.save(store, "c1", tensors(), CARD)
    Path(store.checkpoint("c1"), "model.safetensors").unlink()
    with pytest.raises(CorruptionError, match=r"model.safetensors: missing"):
        checkpoints.load(store, "c1")


def test_a_checkpoint_that_is_not_there_is_said_to_be_so(store):
    for read in (checkpoints.load, checkpoints.read_card):
        with pytest.raises(NotFoundError, match="There is no checkpoint nope"):
            read(store, "nope")


def test_a_card_of_a_newer_hilum_is_refused(store):
    checkpoints.save(store, "c1", tensors(), {**CARD, "card_version": 99})
    with pytest.raises(CorruptionError, match="card version 99"):
        checkpoints.read_card(store, "c1")


def test_nothing_at_rest_is_a_pickle(store, tmp_path):
    checkpoints.save(store, "c1", tensors(), CARD)
    checkpoints.save_state(store.run("finetune", "r"), tensors(), step=3, notes={})
    for path in (p for p in tmp_path.rglob("*") if p.is_file()):
        with pytest.raises(ValueError, match=r".+"):
            list(pickletools.genops(path.read_bytes()))


def test_the_newest_state_is_the_only_one_kept(store):
    url = store.run("finetune", "r")
    assert checkpoints.load_state(url) is None
    for step in (5, 10):
        checkpoints.save_state(url, tensors(step), step=step, notes={"history": [0.1 + 0.2]})
    found, step, notes = checkpoints.load_state(url)
    assert step == 10
    assert found["layer.weight"][0, 0] == 10
    assert notes == {"history": [0.1 + 0.2]}
    assert sorted(p.name for p in Path(url).iterdir()) == ["state-00000010.safetensors", "state.json"]


def test_a_crash_between_the_two_files_of_a_state_leaves_the_state_before_it(store):
    url = store.run("finetune", "r")
    checkpoints.save_state(url, tensors(1), step=5, notes={})
    # What a kill after the first file leaves: newer weights that nothing names.
    Path(url, "state-00000010.safetensors").write_bytes(b"half")
    assert checkpoints.load_state(url)[1] == 5
    checkpoints.save_state(url, tensors(2), step=10, notes={})
    assert checkpoints.load_state(url)[0]["layer.weight"][0, 0] == 2


def test_a_state_that_changed_is_refused_with_what_to_do(store):
    url = store.run("finetune", "r")
    checkpoints.save_state(url, tensors(), step=5, notes={})
    Path(url, "state-00000005.safetensors").write_bytes(b"other")
    with pytest.raises(CorruptionError, match=r"remove .*state.json to train from the start"):
        checkpoints.load_state(url)


def test_a_state_whose_tensors_are_gone_is_none_and_the_next_is_kept(store):
    url = store.run("finetune", "r")
    checkpoints.save_state(url, tensors(), step=5, notes={})
    Path(url, "state-00000005.safetensors").unlink()
    assert checkpoints.load_state(url) is None
    checkpoints.save_state(url, tensors(2), step=2, notes={})
    assert checkpoints.load_state(url)[1] == 2


def test_a_state_that_is_replaced_while_it_is_read_is_read_anew(store, monkeypatch):
    url = store.run("finetune", "r")
    checkpoints.save_state(url, tensors(), step=5, notes={})
    read = checkpoints.read_bytes

    def late(file):
        if file.endswith("00000005.safetensors"):
            checkpoints.save_state(url, tensors(2), step=10, notes={})
        return read(file)

    monkeypatch.setattr(checkpoints, "read_bytes", late)
    assert checkpoints.load_state(url)[1] == 10


def test_a_state_of_an_ended_training_is_removed(store):
    url = store.run("finetune", "r")
    checkpoints.save_state(url, tensors(), step=5, notes={})
    checkpoints.remove_state(url)
    checkpoints.remove_state(url)
    assert list(Path(url).iterdir()) == []


def test_a_file_that_is_not_safetensors_is_named(store):
    checkpoints.save(store, "c1", tensors(), CARD)
    folder = Path(store.checkpoint("c1"))
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "model.safetensors").write_bytes(b"not a tensor")
    (folder / "manifest.json").unlink()
    write_manifest(str(folder), Manifest(**{**manifest, "files": {}}))
    with pytest.raises(CorruptionError, match="is not a safetensors file"):
        checkpoints.load(store, "c1")
