"""Processes are known again by their command line, however long it is and however wide somebody's screen."""

import subprocess
import sys

import pytest

from hilum.adapters.label_studio.local_processes import is_running, stop

MARK = "a-mark-at-the-end-of-a-long-command-line"


@pytest.fixture
def running():
    """A process whose mark lies beyond any screen's width."""
    command = [sys.executable, "-c", "import time; time.sleep(600)", "x" * 300, MARK]
    process = subprocess.Popen(command)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("columns", ["40", "80", ""])
def test_a_narrow_screen_hides_no_process(running, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    assert is_running(running.pid, MARK)
    assert not is_running(running.pid, "another mark")


def test_what_has_ended_is_not_running(running):
    assert stop(running.pid, MARK)
    assert not is_running(running.pid, MARK)
    assert not is_running(None, MARK)
    assert not stop(running.pid, MARK)
