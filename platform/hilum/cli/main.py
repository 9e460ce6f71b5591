"""The command line: every group's commands under one name, inside the error boundary."""

import sys
from collections.abc import Sequence

import typer
from typer.main import get_command

from hilum.cli import recipe, submit
from hilum.cli.boundary import run_guarded

HELP = """Ask for the labels worth a radiologist's time.

A campaign spends an annotation budget in rounds: score a pool of images, select a few, ask
people, train, keep the new model if it is not worse. `hilum demo` shows one on real images.
"""

app = typer.Typer(
    name="hilum",
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, 2 your request, 3 waiting for people, 4 our fault.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"hilum {version('hilum')}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    pass


app.add_typer(recipe.group, name="recipe")
app.command(
    "submit",
    epilog="Example: hilum submit campaign run liver --store s3://bucket/liver --address http://host:8265",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(submit.submit)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (the process's own if none is given) and return its exit code."""
    command = get_command(app)

    def invoke(words: list[str]) -> object:
        return command.main(words, prog_name="hilum", standalone_mode=False)

    return run_guarded(invoke, sys.argv[1:] if arguments is None else arguments)
