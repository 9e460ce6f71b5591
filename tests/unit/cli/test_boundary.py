"""The error boundary: every end of a command as an exit code and one sentence."""

import errno
import json
import os
import subprocess
import sys

import pytest
import typer
from typer.main import get_command

from hilum.cli.boundary import DONE, INTERRUPTED, OUR_FAULT, WAITING, YOUR_REQUEST, run_guarded
from hilum.core.errors import (
    ConflictError,
    CorruptionError,
    DataError,
    HilumError,
    NotFoundError,
    RecipeError,
    WaitingForPeople,
)


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("HILUM_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("HILUM_DEBUG", raising=False)
    return tmp_path / "state"


def _raising(error):
    def command(_arguments):
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RecipeError("No scorer is called 'entropi'."), YOUR_REQUEST),
        (DataError("not an image"), YOUR_REQUEST),
        (NotFoundError("no such store"), YOUR_REQUEST),
        (ConflictError("somebody was first"), YOUR_REQUEST),
        (WaitingForPeople("Round 7 is waiting for 14 of 40 annotations."), WAITING),
        (CorruptionError("bytes changed"), OUR_FAULT),
        (HilumError("something else"), OUR_FAULT),
        (KeyboardInterrupt(), INTERRUPTED),
        (typer.Abort(), INTERRUPTED),
        (typer.Exit(3), 3),
        (SystemExit(0), DONE),
        (ZeroDivisionError("1 / 0"), OUR_FAULT),
    ],
)
def test_every_end_has_its_exit_code(error, code):
    assert run_guarded(_raising(error), []) == code


def test_a_command_that_returns_is_done():
    assert run_guarded(lambda _: None, []) == DONE
    assert run_guarded(lambda _: 3, []) == WAITING


def test_a_users_mistake_is_one_line_on_stderr_without_a_traceback(capsys):
    run_guarded(_raising(RecipeError("No scorer is called 'entropi'.")), [])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.strip() == "Error: No scorer is called 'entropi'."


def test_ctrl_c_in_a_real_command_says_how_to_go_on(capsys):
    app = typer.Typer()

    @app.command()
    def stopped():
        raise KeyboardInterrupt

    command = get_command(app)
    assert run_guarded(lambda words: command.main(words, standalone_mode=False), []) == INTERRUPTED
    assert "the same command goes on" in capsys.readouterr().err


def test_waiting_is_not_called_an_error(capsys):
    run_guarded(_raising(WaitingForPeople("14 of 40")), [])
    assert "Error" not in capsys.readouterr().err


def test_our_fault_says_where_the_traceback_is_and_it_is_there(capsys, state):
    run_guarded(_raising(ZeroDivisionError("1 / 0")), [])
    err = capsys.readouterr().err
    (written,) = (state / "errors").iterdir()
    assert str(written) in err
    assert "Traceback" not in err
    assert "ZeroDivisionError: 1 / 0" in written.read_text()


def test_debug_shows_the_traceback(capsys, monkeypatch):
    monkeypatch.setenv("HILUM_DEBUG", "1")
    run_guarded(_raising(ZeroDivisionError("1 / 0")), [])
    assert "Traceback" in capsys.readouterr().err


def test_a_home_that_cannot_be_written_still_gets_its_traceback(capsys, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("HILUM_STATE", str(blocked))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert run_guarded(_raising(ZeroDivisionError("1 / 0")), []) == OUR_FAULT
    assert "The traceback is in" in capsys.readouterr().err


def test_square_brackets_in_a_message_are_printed_as_they_are(capsys):
    run_guarded(_raising(NotFoundError("There is no file at s3://bucket/[bold]x[/bold].")), [])
    assert "[bold]x[/bold]" in capsys.readouterr().err


def test_with_json_an_error_is_a_document_on_stdout(capsys):
    code = run_guarded(_raising(RecipeError("No scorer is called 'entropi'.")), ["score", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == code == YOUR_REQUEST
    assert document["error"] == {"kind": "RecipeError", "message": "No scorer is called 'entropi'."}


def test_json_after_two_dashes_belongs_to_the_other_command(capsys):
    run_guarded(_raising(RecipeError("no")), ["submit", "--", "score", "--json"])
    assert capsys.readouterr().out == ""


NOISY = """
import os, subprocess, sys
from hilum.cli.boundary import run_guarded
from hilum.cli.console import write_document

def command(arguments):
    print("a library prints")
    os.write(1, b"a C library prints\\n")
    subprocess.run(["echo", "a child prints"])
    write_document({"answer": 42})

sys.exit(run_guarded(command, sys.argv[1:]))
"""


def test_with_json_nothing_else_reaches_stdout_whoever_prints():
    done = subprocess.run([sys.executable, "-c", NOISY, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"answer": 42}
    for noise in ("a library prints", "a C library prints", "a child prints"):
        assert noise in done.stderr


def test_without_json_prints_go_where_they_went():
    done = subprocess.run([sys.executable, "-c", NOISY], capture_output=True, text=True, check=True)
    assert "a library prints" in done.stdout


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EROFS])
def test_a_disk_that_is_full_or_closed_is_not_our_fault(number, capsys):
    assert run_guarded(_raising(OSError(number, os.strerror(number), "/store/runs")), []) == YOUR_REQUEST
    assert os.strerror(number) in capsys.readouterr().err


def test_any_other_trouble_with_a_file_is_ours():
    assert run_guarded(_raising(OSError(errno.EBADF, "Bad file descriptor")), []) == OUR_FAULT


class BotoCoreError(Exception):
    """As the clients of object storage raise them: of no kind that Python knows."""

    __module__ = "botocore.exceptions"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EBUSY, "Please reduce your request rate."),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        TimeoutError("timed out"),
        BotoCoreError('Could not connect to the endpoint URL: "http://bucket/"'),
    ],
)
def test_a_store_that_does_not_answer_is_one_sentence_with_what_to_do(error, capsys):
    assert run_guarded(_raising(error), []) == OUR_FAULT
    said = capsys.readouterr().err
    assert "The store does not answer: " in said
    assert "the same command goes on from it" in " ".join(said.split())
    assert "traceback" not in said


def test_a_reader_that_goes_away_is_not_our_fault():
    many = "print('x' * 100 + chr(10) * 1) or [print('x' * 1000) for _ in range(10000)]"
    program = f"import sys\nfrom hilum.cli.boundary import run_guarded\nsys.exit(run_guarded(lambda a: {many}, []))"
    piped = subprocess.run(
        f'{sys.executable} -c "{program}" | head -1', shell=True, capture_output=True, text=True, check=True
    )
    assert piped.stderr == ""
