"""What was seen of people's answers in a folder, so that a changed answer becomes a new revision.

The log counts contents, not file times: copying a folder or saving the same answer again
makes no new revision. It lies beside the answers as ``.hilum-answers.json``.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hilum.core.errors import NotFoundError
from hilum.store.manifest import read_json, write_json

LOG_FILE = ".hilum-answers.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Seen:
    """One content of one answer: its number, from 1, and when the file had it."""

    revision: int
    answered_at: datetime


class AnswerLog:
    """The log of one selection's folder. Call `save` after the last `see`."""

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / LOG_FILE)
        try:
            self._seen: dict[str, list[list[str]]] = read_json(self._path)["answers"]
        except NotFoundError:
            self._seen = {}
        self._changed = False

    def see(self, candidate_id: str, content: bytes, file: Path) -> Seen:
        """The revision of this content; a content that differs from the last one gets the next number."""
        digest = hashlib.sha256(content).hexdigest()
        revisions = self._seen.setdefault(candidate_id, [])
        if not revisions or revisions[-1][0] != digest:
            moment = datetime.fromtimestamp(file.stat().st_mtime_ns // 10**9, UTC)
            revisions.append([digest, moment.isoformat()])
            self._changed = True
        return Seen(len(revisions), datetime.fromisoformat(revisions[-1][1]))

    def save(self) -> None:
        if self._changed:
            write_json(self._path, {"format_version": FORMAT_VERSION, "answers": self._seen})
            self._changed = False
