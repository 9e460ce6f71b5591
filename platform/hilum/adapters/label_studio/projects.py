"""The project in which people answer: made from the template of the question, or adopted if it can ask it."""

from dataclasses import dataclass
from typing import Any

from hilum.adapters.label_studio.connection import Connection, UnsureError
from hilum.adapters.label_studio.deliveries import ACTIONS
from hilum.adapters.label_studio.template import Kind, check_config, labelling_config
from hilum.core.errors import DataError, HilumError, NotFoundError, RecipeError

WEBHOOK_PATH = "/v1/webhooks/label-studio"
BY_SCORE, IN_ORDER = "Uncertainty sampling", "Sequential sampling"

_SHORTEST_TITLE, _LONGEST_TITLE = 3, 50


@dataclass(frozen=True)
class Project:
    """A project that can ask the question. ``other_controls`` are its own and are left alone."""

    project_id: int
    title: str
    other_controls: frozenset[str]


def project_for(
    connection: Connection, named: str | int, kind: Kind, class_names: tuple[str, ...], *, num_annotators: int = 1
) -> Project:
    """The project of this title or number, made if it is not there (a number must be).

    DataError, with all that is missing, when it is there and cannot ask this.
    """
    if isinstance(named, int):
        found = connection.ask(lambda sdk: sdk.projects.get(named))
        return _adopted(connection, found, kind, class_names, num_annotators)
    check_title(named)
    found = find_project(connection, named)
    if found is None:
        _make(connection, named, labelling_config(kind, class_names), num_annotators)
        found = find_project(connection, named)
    if found is None:
        raise HilumError(f"Label Studio at {connection.url} made no project '{named}'; try again.")
    return _adopted(connection, found, kind, class_names, num_annotators)


def check_title(title: str) -> None:
    """RecipeError unless Label Studio can call a project that."""
    if not _SHORTEST_TITLE <= len(title) <= _LONGEST_TITLE or title != title.strip():
        raise RecipeError(
            f"A project's title has {_SHORTEST_TITLE} to {_LONGEST_TITLE} characters, without spaces around it; "
            f"given {title!r}."
        )


def find_project(connection: Connection, title: str) -> Any:
    """The oldest project of exactly this title, or None."""
    page = 1
    same: list[Any] = []
    while True:
        items = _projects_page(connection, title, page)
        same += [item for item in items if item.title == title]
        if len(items) < 100:
            break
        page += 1
    return connection.ask(lambda sdk: sdk.projects.get(min(item.id for item in same))) if same else None


def _projects_page(connection: Connection, title: str, page: int) -> list[Any]:
    return list(connection.ask(lambda sdk: sdk.projects.list(title=title, page=page, page_size=100)).items or [])


def show_round(connection: Connection, project: Project, checkpoint_id: str | None) -> None:
    """Which drafts are shown and order the tasks: those of this checkpoint, or none, and then the order of import."""
    if checkpoint_id is None:
        connection.ask(lambda sdk: sdk.projects.update(id=project.project_id, sampling=IN_ORDER))
        return
    connection.ask(
        lambda sdk: sdk.projects.update(id=project.project_id, sampling=BY_SCORE, model_version=checkpoint_id)
    )


def ensure_webhook(connection: Connection, project: Project, bridge_url: str, secret: bytes) -> None:
    """Have Label Studio tell the bridge what people do, once, with the secret that is good now."""
    wanted = {
        "url": bridge_url.rstrip("/") + WEBHOOK_PATH,
        "actions": list(ACTIONS),
        "headers": {"Authorization": f"Bearer {secret.decode()}"},
        "is_active": True,
        "send_payload": True,
        "send_for_all_actions": False,
    }
    hooks = connection.ask(lambda sdk: sdk.webhooks.list(project=str(project.project_id)))
    ours = [hook for hook in hooks if hook.url == wanted["url"]]
    if not ours:
        connection.tell(lambda sdk: sdk.webhooks.create(project=project.project_id, **wanted))
        return
    for double in ours[1:]:
        _delete_webhook(connection, double.id)
    if ours[0].headers != wanted["headers"] or sorted(ours[0].actions or []) != sorted(ACTIONS):
        # Label Studio wants what changes only, and keeps the rest.
        changed = {key: wanted[key] for key in ("url", "actions", "headers", "is_active")}
        connection.ask(lambda sdk: sdk.webhooks.update(ours[0].id, **changed))


def _make(connection: Connection, title: str, config: str, num_annotators: int) -> None:
    """Make a project. Of two that were made at once the older stands, and the younger, still empty, goes."""
    try:
        made = connection.tell(
            lambda sdk: sdk.projects.create(
                title=title,
                label_config=config,
                sampling=IN_ORDER,
                show_collab_predictions=True,
                maximum_annotations=num_annotators,
                enable_empty_annotation=False,
            )
        )
    except UnsureError:
        return
    oldest = find_project(connection, title)
    if oldest is not None and oldest.id != made.id:
        connection.ask(lambda sdk: _deleted(lambda: sdk.projects.delete(made.id)))


def _delete_webhook(connection: Connection, webhook_id: int) -> None:
    connection.ask(lambda sdk: _deleted(lambda: sdk.webhooks.delete(webhook_id)))


def _deleted(delete: Any) -> None:
    """Deleting what is gone is done."""
    try:
        delete()
    except Exception as error:
        if getattr(error, "status_code", None) != 404:
            raise


def _adopted(
    connection: Connection, found: Any, kind: Kind, class_names: tuple[str, ...], num_annotators: int
) -> Project:
    try:
        others = check_config(found.label_config or "", kind, class_names)
    except DataError as error:
        raise DataError(f"Project '{found.title}' ({found.id}) at {connection.url}: {error}") from None
    if (found.maximum_annotations or 1) < num_annotators:
        # Else Label Studio gives a task to nobody after the first answer, and the others would be waited for in vain.
        connection.ask(lambda sdk: sdk.projects.update(id=found.id, maximum_annotations=num_annotators))
    # Without a view the first task that is opened may come without its draft, and is then drawn from nothing.
    if not connection.ask(lambda sdk: sdk.views.list(project=found.id)):
        view = {"title": "Tasks", "ordering": ["tasks:id"], "filters": {"conjunction": "and", "items": []}}
        connection.tell(lambda sdk: sdk.views.create(project=found.id, data=view))
    return Project(found.id, found.title, others)


def project_numbered(connection: Connection, named: str | int) -> Any:
    """The project that is there by this title or number; NotFoundError else."""
    found = connection.ask(lambda sdk: sdk.projects.get(named)) if isinstance(named, int) else None
    found = found or find_project(connection, str(named))
    if found is None:
        raise NotFoundError(f"There is no project '{named}' at {connection.url}. First type: hilum label publish")
    return found
