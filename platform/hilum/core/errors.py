"""What can go wrong, and who must act.

    HilumError
    ├── RequestError          yours to fix: exit code 2
    │   ├── RecipeError           a recipe, name or argument that cannot be meant
    │   ├── DataError             an input file that is not what it says
    │   ├── NotFoundError         a store, run, campaign or checkpoint that is not there
    │   └── ConflictError         somebody else was there first
    ├── WaitingForPeople      nothing is wrong: exit code 3
    └── CorruptionError       bytes at rest changed: ours or the disk's, exit code 4

Every message says what was given, what is allowed and what to do. Every error here
survives pickling, because it may be raised on another machine.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class HilumError(Exception):
    """Anything hilum raises on purpose."""

    exit_code = 4


class RequestError(HilumError):
    """The request cannot be carried out as given; changing it will help."""

    exit_code = 2


class RecipeError(RequestError):
    """A recipe, name or argument that cannot be meant."""


class DataError(RequestError):
    """An input that is not what it claims to be."""


class NotFoundError(RequestError):
    """Something was named that does not exist."""


class ConflictError(RequestError):
    """Another writer got there first, or a name is taken."""


class WaitingForPeople(HilumError):  # noqa: N818 (not an error: people need time)
    """A campaign cannot go on until people have answered."""

    exit_code = 3


class CorruptionError(HilumError):
    """Bytes at rest are not the bytes that were written."""


def unknown_name(what: str, given: str, known: Iterable[str]) -> str:
    """One sentence for a wrong name: what was meant, perhaps, and what there is.

    >>> unknown_name("scorer", "entropi", ["margin", "entropy"])
    "No scorer is called 'entropi'. Did you mean 'entropy'? Known: entropy, margin."
    """
    names = sorted(known)
    near = get_close_matches(given, names, n=1, cutoff=0.6)
    guess = f" Did you mean '{near[0]}'?" if near else ""
    listed = ", ".join(names) if names else "none yet"
    return f"No {what} is called '{given}'.{guess} Known: {listed}."
