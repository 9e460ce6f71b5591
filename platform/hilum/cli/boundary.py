"""The error boundary: every way a command can end, as an exit code and one clear sentence.

0 done · 2 your request · 3 waiting for people · 4 our fault · 5 partly done · 130 you pressed Ctrl-C
"""

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from uuid import uuid4

import typer
from typer.exceptions import TyperException

from hilum.cli.console import complain, reserved_stdout, show_traceback, wait_for_people, write_document
from hilum.cli.settings import read_settings
from hilum.core.errors import HilumError, WaitingForPeople

_YOUR_DISK = {errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}

_AWAY = {errno.EBUSY, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH}

DONE, YOUR_REQUEST, WAITING, OUR_FAULT, PARTLY, INTERRUPTED = 0, 2, 3, 4, 5, 130


def run_guarded(command: Callable[[list[str]], object], arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code. Nothing a user did wrong ends in a traceback."""
    if "--json" not in _before_dashes(arguments):
        return _guarded(command, arguments, as_json=False)
    with reserved_stdout():
        return _guarded(command, arguments, as_json=True)


def _before_dashes(arguments: Sequence[str]) -> list[str]:
    """The arguments up to ``--``: what follows it belongs to another command line."""
    everything = list(arguments)
    return everything[: everything.index("--")] if "--" in everything else everything


def _guarded(command: Callable[[list[str]], object], arguments: Sequence[str], *, as_json: bool) -> int:
    try:
        code = command(list(arguments))
    except BaseException as error:
        return _explained(error, as_json=as_json)
    if code == INTERRUPTED:  # typer makes a number of Ctrl-C, and says nothing
        return _explained(KeyboardInterrupt(), as_json=as_json)
    return code if isinstance(code, int) else DONE


def _explained(error: BaseException, *, as_json: bool) -> int:
    """Say what happened, once, to whoever reads; returns the exit code."""
    code, message = _judged(error)
    if code == WAITING:
        wait_for_people(message)
    elif message:
        complain(message)
    if as_json and message:
        write_document({"error": {"kind": type(error).__name__, "message": message}, "exit_code": code})
    return code


def _judged(error: BaseException) -> tuple[int, str]:
    match error:
        case WaitingForPeople():
            return WAITING, str(error)
        case HilumError():
            _show_if_debugging(error)
            return error.exit_code, str(error)
        case TyperException():
            return YOUR_REQUEST, _usage(error)
        case typer.Exit():
            return error.exit_code, ""
        case SystemExit():
            return error.code if isinstance(error.code, int) else OUR_FAULT, ""
        case KeyboardInterrupt() | typer.Abort():
            return INTERRUPTED, "Stopped. What was finished is kept; the same command goes on from there."
        case BrokenPipeError():
            # Whoever read us has gone (hilum … | head): point stdout elsewhere, or closing it fails again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE, ""
        case OSError() if error.errno in _YOUR_DISK:
            return (
                YOUR_REQUEST,
                f"{error.strerror}: {error.filename or 'the store'}. Make room or give leave, and try again.",
            )
    if _is_from_away(error):
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        why = said.splitlines()[0].rstrip(".")
        return (
            OUR_FAULT,
            f"The store does not answer: {why}. What was finished is kept; the same command goes on from it.",
        )
    return OUR_FAULT, _our_fault(error)


def _is_from_away(error: BaseException) -> bool:
    """True when object storage broke off, was busy, or is not there; its clients raise errors of their own."""
    if isinstance(error, OSError):
        return isinstance(error, ConnectionError | TimeoutError) or error.errno in _AWAY
    return type(error).__module__.split(".")[0] in {"botocore", "aiobotocore", "aiohttp"}


def _usage(error: TyperException) -> str:
    """What was wrong with the command line; empty when its help has been printed instead."""
    possibilities = get_close_matches(getattr(error, "option_name", ""), getattr(error, "possibilities", None) or [])
    message = error.message if possibilities else error.format_message()
    context = getattr(error, "ctx", None)
    if context is None or not message:
        return message
    sentence = message if message.endswith("?") else message.rstrip(".") + "."
    if possibilities:
        sentence += f" Did you mean {possibilities[0]}?"
    return f"{sentence} See '{context.command_path} --help'."


def _show_if_debugging(error: BaseException) -> None:
    if read_settings().debug:
        show_traceback(error)


def _our_fault(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error))
    where = _write_traceback(text)
    if read_settings().debug:
        show_traceback(error)
    return (
        f"hilum failed ({type(error).__name__}); this is our fault, not yours. "
        f"The traceback is in {where}; HILUM_DEBUG=1 shows it here."
    )


def _write_traceback(text: str) -> Path:
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:6]}.txt"
    for folder in (read_settings().errors_folder, Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        except OSError:
            continue  # a read-only home still deserves its traceback: try the next folder
        return folder / name
    sys.stderr.write(text)
    return Path(os.devnull)
