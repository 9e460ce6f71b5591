"""Checkpoints: weights as safetensors beside a card, and the state of a training that is under way.

checkpoints/<id>/model.safetensors   the weights
checkpoints/<id>/encoder.onnx        instead of them, of an encoder that was imported as ONNX
checkpoints/<id>/card.json           everything needed to build the network again, and where it came from
checkpoints/<id>/manifest.json       written last: without it there is no checkpoint

<run>/state-<step>.safetensors       weights and optimizer after that step
<run>/state.json                     written last: names the newest state and its SHA-256
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from hilum.core.errors import CorruptionError, NotFoundError, RequestError
from hilum.store.layout import Store, filesystem
from hilum.store.manifest import (
    Manifest,
    find_manifest,
    read_bytes,
    read_json,
    read_manifest,
    verify,
    write_bytes,
    write_json,
    write_manifest,
)

Tensors = dict[str, npt.NDArray[Any]]

WEIGHTS = "model.safetensors"
PROGRAM = "encoder.onnx"
CARD = "card.json"
STATE = "state.json"
CARD_VERSION = 1
_STEP_VERSION = 1


def save(store: Store, checkpoint_id: str, tensors: Mapping[str, npt.NDArray[Any]], card: Mapping[str, Any]) -> None:
    """Publish a checkpoint. One that is there already stands: checkpoints never change."""
    _save(store, checkpoint_id, WEIGHTS, _to_bytes(tensors), card)


def save_program(store: Store, checkpoint_id: str, payload: bytes, card: Mapping[str, Any]) -> None:
    """Publish an ONNX file, as it is, as a checkpoint."""
    _save(store, checkpoint_id, PROGRAM, payload, card)


def load(store: Store, checkpoint_id: str) -> tuple[Tensors, dict[str, Any]]:
    """The tensors and the card. CorruptionError when a byte changed since they were written."""
    url = _checked(store, checkpoint_id, WEIGHTS)
    return _from_bytes(read_bytes(url), url), read_card(store, checkpoint_id)


def load_program(store: Store, checkpoint_id: str) -> tuple[bytes, dict[str, Any]]:
    """The ONNX file of an imported encoder and the card. CorruptionError when a byte changed."""
    return read_bytes(_checked(store, checkpoint_id, PROGRAM)), read_card(store, checkpoint_id)


def read_card(store: Store, checkpoint_id: str) -> dict[str, Any]:
    """What a checkpoint says of itself, without its weights."""
    try:
        card: dict[str, Any] = read_json(f"{store.checkpoint(checkpoint_id)}/{CARD}")
    except NotFoundError:
        raise NotFoundError(f"There is no checkpoint {checkpoint_id} in {store.url}.") from None
    if card["card_version"] > CARD_VERSION:
        raise CorruptionError(
            f"Checkpoint {checkpoint_id} has card version {card['card_version']}; this hilum reads {CARD_VERSION}."
        )
    return card


def trained_card(store: Store, checkpoint_id: str) -> dict[str, Any]:
    """The card of the training behind a checkpoint: its own, or, of a pruned one, that of what it was cut out of."""
    card = read_card(store, checkpoint_id)
    while "parent" in card:
        card = read_card(store, card["parent"])
    return card


def save_state(run_url: str, tensors: Mapping[str, npt.NDArray[Any]], *, step: int, notes: Mapping[str, Any]) -> None:
    """Keep the state of a training after ``step``. A crash at any moment leaves the state before it."""
    before = _find_state(run_url)
    payload = _to_bytes(tensors)
    file = f"state-{step:08d}.safetensors"
    write_bytes(f"{run_url}/{file}", payload)
    write_json(f"{run_url}/{STATE}", {"file": file, "sha256": _digest(payload), "step": step, "notes": dict(notes)})
    if before is not None and before["file"] != file:
        _remove(f"{run_url}/{before['file']}")


def load_state(run_url: str) -> tuple[Tensors, int, dict[str, Any]] | None:
    """The newest state of a training: tensors, the step they are of, and notes. None when there is none.

    None, too, where its tensors are gone, as in a copy of the store that was made while they were replaced: the
    training begins anew, and comes to the same weights.
    """
    state = _find_state(run_url)
    while state is not None:
        url = f"{run_url}/{state['file']}"
        try:
            payload = read_bytes(url)
        except NotFoundError:
            before, state = state, _find_state(run_url)
            if state == before:
                return None
            continue
        if _digest(payload) != state["sha256"]:
            raise CorruptionError(
                f"{url} changed since it was written; remove {run_url}/{STATE} to train from the start."
            )
        return _from_bytes(payload, url), state["step"], state["notes"]
    return None


def remove_state(run_url: str) -> None:
    """Forget the state of a training that has ended."""
    state = _find_state(run_url)
    if state is not None:
        _remove(f"{run_url}/{STATE}")
        _remove(f"{run_url}/{state['file']}")


def _save(store: Store, checkpoint_id: str, file: str, payload: bytes, card: Mapping[str, Any]) -> None:
    url = store.checkpoint(checkpoint_id)
    if find_manifest(url) is not None:
        return
    write_bytes(f"{url}/{file}", payload)
    write_json(f"{url}/{CARD}", {"card_version": CARD_VERSION, **card})
    manifest = Manifest(
        step="checkpoint",
        step_version=_STEP_VERSION,
        run_id=checkpoint_id,
        recipe=dict(card.get("recipe", {})),
        inputs={name: str(value) for name, value in card.get("inputs", {}).items()},
        files={name: _digest(read_bytes(f"{url}/{name}")) for name in (file, CARD)},
    )
    write_manifest(url, manifest)


def _checked(store: Store, checkpoint_id: str, file: str) -> str:
    """Where a checkpoint's file is, once all of it is known to be what was written."""
    url = store.checkpoint(checkpoint_id)
    try:
        manifest = read_manifest(url)
    except NotFoundError:
        raise NotFoundError(f"There is no checkpoint {checkpoint_id} in {store.url}.") from None
    wrong = verify(url, manifest)
    if wrong:
        raise CorruptionError(f"Checkpoint {checkpoint_id} is damaged: {'; '.join(wrong)}.")
    if file != PROGRAM and PROGRAM in manifest.files:
        raise RequestError(
            f"Checkpoint {checkpoint_id} is an encoder that was imported as ONNX. It embeds candidates, as "
            "score.encoder, and has no weights that could be trained or exported."
        )
    return f"{url}/{file}"


def _find_state(run_url: str) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = read_json(f"{run_url}/{STATE}")
    except NotFoundError:
        return None
    return state


def _remove(url: str) -> None:
    fs, path = filesystem(url)
    if fs.exists(path):
        fs.rm_file(path)


def _to_bytes(tensors: Mapping[str, npt.NDArray[Any]]) -> bytes:
    return bytes(safetensors.numpy.save({name: np.asarray(array, order="C") for name, array in tensors.items()}))


def _from_bytes(payload: bytes, url: str) -> Tensors:
    try:
        return dict(safetensors.numpy.load(payload))
    except SafetensorError as error:
        raise CorruptionError(f"{url} is not a safetensors file: {error}.") from None


def _digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()
