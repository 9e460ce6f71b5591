"""What the audit log is told of a campaign's moves: the event's runs and counts, and whose answers were taken in."""

from collections import Counter

from hilum.loop.events import Event
from hilum.loop.stages import Stage
from hilum.store.audit import Act, append, append_once
from hilum.store.labels import ANNOTATIONS_FILE
from hilum.store.layout import Store
from hilum.store.tables import ANNOTATIONS, read_table

_COUNTS = ("num_selected", "num_answers", "num_published", "promoted", "metric")


def record_move(store: Store, event: Event, *, was_there: bool) -> None:
    """Tell the log of a move. ``was_there``: somebody wrote the event and may not have lived to tell."""
    act = Act(event.stage.value, event.campaign, event.round_number, _what(store, event))
    (append_once if was_there else append)(store, act)


def _what(store: Store, event: Event) -> dict[str, object]:
    told: dict[str, object] = {"runs": dict(event.runs)}
    told |= {name: event.counts[name] for name in _COUNTS if name in event.counts}
    if event.stage is Stage.COLLECTED:
        told["labelled_by"] = labelled_by(store, event.runs["collect"])
    return told


def labelled_by(store: Store, collect_id: str) -> dict[str, int]:
    """How many of a collect run's answers each annotator gave, by the names that the labelling tool has for them."""
    table = read_table(f"{store.run('collect', collect_id)}/{ANNOTATIONS_FILE}", ANNOTATIONS)
    return dict(sorted(Counter(table["annotator"].to_pylist()).items()))
