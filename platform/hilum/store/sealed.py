"""JSON documents that carry the SHA-256 of their own bytes, so that no flipped bit in one is read as something else."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

UNSEALED = "0" * 64
"""Stands where the seal will be, while the bytes are hashed."""


def seal(document: Mapping[str, Any], *, sort_keys: bool = True) -> bytes:
    """The document as JSON, with the one value in it that is `UNSEALED` replaced by the hash of all of it."""
    payload = json.dumps(document, indent=2, sort_keys=sort_keys).encode() + b"\n"
    assert payload.count(UNSEALED.encode()) == 1
    return payload.replace(UNSEALED.encode(), _sha256(payload).encode())


def is_sealed(payload: bytes, claimed: object) -> bool:
    """True when ``claimed``, a value found in ``payload``, is the seal of these very bytes."""
    if not isinstance(claimed, str) or len(claimed) != len(UNSEALED):
        return False
    return _sha256(payload.replace(claimed.encode(), UNSEALED.encode(), 1)) == claimed


def _sha256(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()
