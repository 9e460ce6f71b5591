"""What a lost webhook, a deleted task or an old link left behind, found by asking Label Studio and put right."""

from collections.abc import Sequence
from dataclasses import dataclass

from hilum.adapters.label_studio.annotator import LabelStudio
from hilum.adapters.label_studio.deliveries import inbox
from hilum.adapters.label_studio.publishing import retire
from hilum.adapters.label_studio.rows import Row, rows_of
from hilum.adapters.label_studio.template import PAGES_KEY
from hilum.core.asking import Task
from hilum.store.layout import Store


@dataclass(frozen=True)
class Reconciled:
    """Of one selection. ``num_untold`` answers no webhook told of (all of them where none is registered)."""

    num_tasks: int
    num_asked_again: int
    num_doubles: int
    num_links_renewed: int
    num_retired: int
    num_untold: int


def reconcile(
    annotator: LabelStudio, tasks: Sequence[Task], store: Store, *, retire_others: bool = False
) -> Reconciled:
    """Make a selection's tasks in Label Studio be what they should, and touch nothing that people have begun.

    ``retire_others`` takes away what nobody has begun of every other selection in the project.
    """
    published = annotator.publish_all(tasks)
    connection, project_id = annotator.connection, annotator.project_id
    selections = sorted({task.selection_id for task in tasks})
    rows = [row for selection_id in selections for row in rows_of(connection, project_id, selection_id)]
    told = inbox(store, project_id).annotations
    return Reconciled(
        num_tasks=len(rows),
        num_asked_again=sum(done.num_new for done in published),
        num_doubles=sum(done.num_doubles for done in published),
        num_links_renewed=sum(_renew(annotator, project_id, row) for row in rows),
        num_retired=retire(connection, project_id, selections) if retire_others else 0,
        num_untold=sum(annotation_id not in told for row in rows for annotation_id in row.annotation_ids),
    )


def _renew(annotator: LabelStudio, project_id: int, row: Row) -> bool:
    """New addresses for a task that is still to be answered and whose old ones end soon."""
    if row.annotation_ids or not annotator.links.are_ending(row.data.get(PAGES_KEY)):
        return False
    data = {**row.data, PAGES_KEY: annotator.pages_of(row.data)}
    annotator.connection.ask(lambda sdk: sdk.tasks.update(id=str(row.task_id), data=data, project=project_id))
    return True
