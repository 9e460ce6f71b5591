"""What a training starts from: a word, or the id of a checkpoint."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from hilum.core.errors import unknown_name
from hilum.core.ids import ID_LENGTH

SCRATCH = "scratch"
GOES_ON = ("champion", "previous", "first")
_WORDS = (SCRATCH, *GOES_ON)
_ID = re.compile(f"[0-9a-f]{{{ID_LENGTH}}}")


def _a_start(given: Any) -> str:
    """One of the words or an id. YAML reads an id without letters as a number: it is taken as what it was."""
    text = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    if isinstance(text, str) and (text in _WORDS or _ID.fullmatch(text)):
        return text
    raise ValueError(
        f"{unknown_name('start', str(given), _WORDS)} Or give the {ID_LENGTH} hexadecimal digits of a checkpoint, in "
        "quotes if none of them is a letter"
    )


Start = Annotated[str, BeforeValidator(_a_start)]
