"""The command line as a whole."""

import os
import shlex
import subprocess
import sys

import pytest
from typer.main import get_command

from hilum.cli.main import ORDER, app
from hilum.cli.reference import commands

ROOT = get_command(app)
COMMANDS = dict(commands(ROOT, "hilum"))


def _python(program, **environment):
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_says_what_it_does_in_a_sentence(path):
    first = COMMANDS[path].help.split("\n\n")[0]
    assert first.strip().endswith(".")
    assert first[0].isupper()


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_an_example_that_can_be_typed(path):
    example = COMMANDS[path].epilog.removeprefix("Example: ")
    assert example.startswith(path)
    words = shlex.split(example)[len(path.split()) :]
    COMMANDS[path].make_context(path, words).close()


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_answers_machines(path):
    options = {option for parameter in COMMANDS[path].params for option in parameter.opts}
    assert "--json" in options


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_and_argument_says_what_it_is(path):
    for parameter in COMMANDS[path].params:
        assert parameter.help, parameter.name


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_helps(path, typed):
    answer = typed(f"{path.removeprefix('hilum ')} --help")
    assert answer.code == 0
    assert "Example: " in answer.out


def test_every_command_and_group_has_its_place():
    assert list(ROOT.list_commands(None)) == [name for name in ORDER if name in ROOT.commands]
    assert set(ROOT.commands) == set(ORDER)


def test_without_a_command_the_commands_are_listed(typed):
    answer = typed("")
    assert all(name in answer.out for name in ORDER)
    assert answer.err == ""


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("scroe mednist", "score"),
        ("campain create liver", "campaign"),
        ("round nxt liver", "next"),
        ("recipe show smoke --jsn", "--json"),
        ("pool smoke --stoer x", "--store"),
    ],
)
def test_a_misspelt_command_or_option_is_answered_with_the_likely_one(line, meant, typed):
    answer = typed(line)
    assert answer.code == 2
    assert answer.out == ""
    assert f"Did you mean {meant}" in answer.err.replace("'", "")
    assert len(answer.err.strip().splitlines()) == 1


def test_a_missing_argument_is_named(typed):
    answer = typed("recipe show")
    assert answer.code == 2
    assert "RECIPE" in answer.err


def test_a_usage_error_is_a_document_for_machines(typed):
    answer = typed("recipe show --json")
    assert answer.document["exit_code"] == answer.code == 2
    assert "RECIPE" in answer.document["error"]["message"]


def test_the_version_is_printed(typed):
    from importlib.metadata import version

    assert typed("--version").out.strip() == f"hilum {version('hilum')}"


def test_the_command_line_loads_neither_torch_nor_ray_nor_numba():
    program = "import sys, hilum.cli.main; print({'torch', 'ray', 'numba', 'zarr'} & set(sys.modules))"
    assert _python(program).stdout.strip() == "set()"


def test_the_module_runs_as_the_command():
    done = subprocess.run([sys.executable, "-m", "hilum", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("hilum ")


@pytest.mark.parametrize(
    ("words", "place", "offered"),
    [("hilum sc", 1, "score"), ("hilum campaign cr", 2, "create"), ("hilum pool --in", 2, "--ingest")],
)
def test_the_shell_completes_commands_and_options(words, place, offered):
    program = "import sys; from hilum.cli.main import main; sys.argv = ['hilum']; sys.exit(main())"
    done = _python(program, _HILUM_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(place))
    assert offered in done.stdout.split()


def test_completion_can_be_installed(tmp_path):
    program = "import sys; from hilum.cli.main import main; sys.exit(main(['--install-completion', 'bash']))"
    done = _python(program, HOME=str(tmp_path), _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0, done.stderr
    assert any("_HILUM_COMPLETE" in file.read_text() for file in tmp_path.rglob("*.sh"))
