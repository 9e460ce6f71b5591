"""hilum: ask for the labels worth a radiologist's time.

    store = hilum.open("./demo")
    hilum.ingest(store, "scans/")
    campaign = hilum.Campaign.create(store, "liver", recipe="liver.yaml")
    while not campaign.finished:
        campaign.advance(on="local")

Names are loaded when they are first used: ``import hilum`` pulls neither torch nor ray.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hilum.cli.api import Campaign, ingest, init, measure, open, recipe, simulate  # noqa: A004
    from hilum.client import Client
    from hilum.core.errors import (
        ConflictError,
        CorruptionError,
        DataError,
        HilumError,
        NotFoundError,
        RecipeError,
        RequestError,
        WaitingForPeople,
    )
    from hilum.store.layout import Store

_HOME = {
    **dict.fromkeys(("Campaign", "ingest", "init", "measure", "open", "recipe", "simulate"), "hilum.cli.api"),
    **dict.fromkeys(
        (
            "ConflictError",
            "CorruptionError",
            "DataError",
            "HilumError",
            "NotFoundError",
            "RecipeError",
            "RequestError",
            "WaitingForPeople",
        ),
        "hilum.core.errors",
    ),
    "Client": "hilum.client",
    "Store": "hilum.store.layout",
}

__all__ = [
    "Campaign",
    "Client",
    "ConflictError",
    "CorruptionError",
    "DataError",
    "HilumError",
    "NotFoundError",
    "RecipeError",
    "RequestError",
    "Store",
    "WaitingForPeople",
    "ingest",
    "init",
    "measure",
    "open",
    "recipe",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("hilum")
    if name not in _HOME:
        raise AttributeError(f"module 'hilum' has no attribute '{name}'; it has {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
