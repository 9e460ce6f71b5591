"""What lies beside every prepared set: where it comes from and what one may do with it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

CARD = "source.json"
LICENCE = "LICENCE.txt"


class Described(Protocol):
    """A set of the catalogue."""

    @property
    def name(self) -> str: ...
    @property
    def about(self) -> str: ...
    @property
    def home(self) -> str: ...
    @property
    def licence(self) -> str: ...
    @property
    def citation(self) -> str: ...


def write_licence(folder: Path, described: Described, prepared: Mapping[str, Any]) -> None:
    """``LICENCE.txt`` for people and ``source.json`` for machines, with how the set was ``prepared``."""
    text = (
        f"{described.about}\n\nLicence: {described.licence}\nHome: {described.home}\n"
        f"Please cite: {described.citation}\n"
    )
    (folder / LICENCE).write_text(text, encoding="utf-8")
    card = {
        "name": described.name,
        **prepared,
        "about": described.about,
        "home": described.home,
        "licence": described.licence,
        "citation": described.citation,
    }
    (folder / CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_card(folder: Path) -> dict[str, Any]:
    """What ``source.json`` says; empty where there is none."""
    card = folder / CARD
    found: dict[str, Any] = json.loads(card.read_text(encoding="utf-8")) if card.exists() else {}
    return found
