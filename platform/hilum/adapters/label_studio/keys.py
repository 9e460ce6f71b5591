"""Secrets of the bridge: from the environment or from a file that it names, never from arguments.

A variable holds one key, or two with white space between them while keys are changed: the first signs, both are
accepted.
"""

import hmac
import os
from collections.abc import Mapping
from pathlib import Path

from hilum.core.errors import RequestError

BRIDGE_KEY = "HILUM_BRIDGE_KEY"
"""Signs the addresses of images."""

WEBHOOK_SECRET = "HILUM_WEBHOOK_SECRET"  # noqa: S105 (a variable's name)
"""What Label Studio sends with every webhook."""

PRE_ANNOTATION_PASSWORD = "HILUM_PRE_ANNOTATION_PASSWORD"  # noqa: S105 (a variable's name)
"""What Label Studio gives the pre-annotation service."""

FILE = "_FILE"
SHORTEST = 16
_MOST_KEYS = 2
_LARGEST_FILE = 4096
_MAKE_ONE = 'make one with: python -c "import secrets; print(secrets.token_hex())"'

Keys = tuple[bytes, ...]


def keys_named(name: str, environment: Mapping[str, str] | None = None, *, remedy: str = _MAKE_ONE) -> Keys:
    """The keys of a variable, or of the file that ``<name>_FILE`` names; empty where neither is set.

    RequestError when both are set, the file cannot be read, or a key is shorter than 16 characters; ``remedy`` says
    where a good one comes from. No message repeats a key.
    """
    given = os.environ if environment is None else environment
    value, file = given.get(name, ""), given.get(name + FILE, "")
    if value and file:
        raise RequestError(f"Both {name} and {name}{FILE} are set; unset one.")
    words = (_text_of(name, Path(file)) if file else value).split()
    if file and not words:
        raise RequestError(f"The file that {name}{FILE} names is empty; put a key of {SHORTEST} characters in it.")
    if len(words) > _MOST_KEYS:
        raise RequestError(f"{name} holds {len(words)} keys; {_MOST_KEYS} are allowed, the new one first.")
    if any(len(word) < SHORTEST for word in words):
        raise RequestError(f"{name} is shorter than {SHORTEST} characters; {remedy}.")
    return tuple(word.encode() for word in words)


def is_one_of(given: str, keys: Keys) -> bool:
    """Whether ``given`` is one of the keys, in a time that does not tell how much of it is right."""
    told = given.encode(errors="surrogatepass")
    # Every key is compared: which of them it was is not told either.
    return any([hmac.compare_digest(told, key) for key in keys])  # noqa: C419


def _text_of(name: str, file: Path) -> str:
    try:
        with file.expanduser().open("rb") as opened:
            return opened.read(_LARGEST_FILE).decode()
    except (OSError, UnicodeDecodeError):
        raise RequestError(f"The file that {name}{FILE} names cannot be read as text.") from None
