"""What a command says. People read text on stdout and progress on stderr; machines read one JSON document.

With ``--json`` the document is the only thing on stdout: the file descriptor itself is kept
aside (`reserved_stdout`), so that neither a library's print nor a Ray worker's can slip in.
"""

import json
import logging
import math
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

_machine: ContextVar[TextIO | None] = ContextVar("machine", default=None)


def reply(
    as_json: bool, data: Mapping[str, Any], *lines: RenderableType, next_commands: Sequence[str] = (), note: str = ""
) -> None:
    """A command's answer: ``data`` for machines, or ``lines`` and what to type next for people."""
    if as_json:
        write_document({**data, "next": list(next_commands)})
        return
    screen = Console(soft_wrap=True, highlight=False)
    for line in lines:
        screen.print(line)
    if note:
        screen.print(f"[dim]{escape(note)}[/]")
    if next_commands:
        screen.print("[dim]Next:[/]")
        for command in next_commands:
            screen.print(f"  [bold cyan]{escape(command)}[/]")


def write_document(document: Mapping[str, Any]) -> None:
    """One JSON document on the real stdout."""
    stream = _machine.get() or sys.stdout
    stream.write(json.dumps(_plain(document), indent=2, default=str, allow_nan=False) + "\n")
    stream.flush()


def _plain(value: Any) -> Any:
    """``value`` as JSON can hold it: a number that is not one becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def complain(message: str) -> None:
    """One red line on stderr."""
    if _logged(logging.ERROR, message):
        return
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]Error:[/] [red]{escape(message)}[/]")


def complain_softly(message: str) -> None:
    """One yellow line on stderr: something beside the work went wrong, and the work did not."""
    if _logged(logging.WARNING, message):
        return
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold yellow]Note:[/] {escape(message)}")


def whisper(message: str) -> None:
    """One dim line on stderr: what is being done now."""
    if _logged(logging.INFO, message):
        return
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"[dim]{escape(message)}[/]")


def wait_for_people(message: str) -> None:
    """One yellow line on stderr: nothing is wrong."""
    if _logged(logging.INFO, message):
        return
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold yellow]Waiting:[/] {escape(message)}")


def show_traceback(error: BaseException) -> None:
    """All of an error on stderr, for whoever asked for it."""
    from hilum.adapters.telemetry import says_json

    if says_json():
        logging.getLogger("hilum.cli").error("%s", type(error).__name__, exc_info=error)
        return
    traceback.print_exception(error, file=sys.stderr)


def _logged(level: int, message: str) -> bool:
    """Say it as a log line instead, where logs are JSON: whoever collects them reads nothing else on stderr."""
    from hilum.adapters.telemetry import says_json

    if says_json():
        logging.getLogger("hilum.cli").log(level, message)
    return says_json()


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A small table for people; numbers to the right."""
    drawn = Table(title=title or None, title_justify="left", show_edge=False, pad_edge=False)
    for place, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[place], int | float) for row in rows)
        drawn.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*[escape(_cell(value)) for value in row])
    return drawn


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


@contextmanager
def reserved_stdout() -> Iterator[None]:
    """Keep stdout for `write_document` alone; whatever else is printed meanwhile goes to stderr."""
    sys.stdout.flush()
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # a test's captured stream has no descriptor to guard
        yield
        return
    kept = os.dup(descriptor)
    printed_to = sys.stdout
    os.dup2(sys.stderr.fileno(), descriptor)
    sys.stdout = sys.stderr
    with os.fdopen(kept, "w", encoding="utf-8") as stream:
        token = _machine.set(stream)
        try:
            yield
        finally:
            _machine.reset(token)
            stream.flush()
            os.dup2(kept, descriptor)
            sys.stdout = printed_to
