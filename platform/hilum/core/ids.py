"""How each noun gets its name from its content.

A run's name is a hash of its step, the step's version, its recipe (defaults left out, so
that a new optional field leaves old names alone) and the ids of its inputs. Patients and
studies are named by a keyed hash, so that nobody without the store's key can go back.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from hilum.core.errors import RecipeError

ID_LENGTH = 12
_SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def content_id(content: Any) -> str:
    """Twelve hex digits of the SHA-256 of ``content`` as canonical JSON."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:ID_LENGTH]


def run_id(step: str, version: int, recipe: BaseModel, inputs: Mapping[str, str] | Iterable[str]) -> str:
    """The name of what ``step`` computes from ``recipe`` and ``inputs``."""
    pairs = sorted(inputs.items()) if isinstance(inputs, Mapping) else sorted(inputs)
    return content_id([step, version, recipe.model_dump(mode="json", exclude_defaults=True), pairs])


def candidate_id(volume_id: str, start_zyx: Sequence[int], shape_zyx: Sequence[int]) -> str:
    """The name of a candidate: the hash of its patch's three fields."""
    return content_id([volume_id, [int(i) for i in start_zyx], [int(i) for i in shape_zyx]])


def candidate_ids(volume_id: str, starts_zyx: Iterable[Sequence[int]], shape_zyx: Sequence[int]) -> list[str]:
    """The name of every candidate of one shape in one volume: `candidate_id` of each, several times as fast."""
    volume, shape = json.dumps(volume_id, ensure_ascii=False), ",".join(str(int(n)) for n in shape_zyx)
    texts = (f"[{volume},[{z},{y},{x}],[{shape}]]".encode() for z, y, x in starts_zyx)
    return [hashlib.sha256(text).hexdigest()[:ID_LENGTH] for text in texts]


def pseudonym(key: bytes, kind: str, identity: str) -> str:
    """A keyed hash (HMAC-SHA-256, 12 hex digits) of a patient's or study's identity.

    ``kind`` ('patient', 'study', …) keeps equal strings of two kinds apart.
    """
    # A file's name may be bytes that are no text: Python keeps them as lone surrogates.
    content = f"{kind}:{identity}".encode(errors="surrogatepass")
    return hmac.new(key, content, hashlib.sha256).hexdigest()[:ID_LENGTH]


def checked_name(what: str, name: str) -> str:
    """``name`` if it is safe as a folder and a label, else a RecipeError."""
    if not _SAFE_NAME.fullmatch(name):
        raise RecipeError(
            f"{what} name '{name}' cannot be used: give 1 to 63 lower-case letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit."
        )
    return name
