"""The command line as a page of documentation: `python -m hilum.cli.reference > platform/docs/guide/cli.md`."""

import re
import sys
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from hilum.cli.main import app
from hilum.cli.settings import PREFIX, Settings

HEADER = """# Command line

<!-- Written by `python -m hilum.cli.reference`; change the commands' own help, not this page. -->

A store is the current folder, or the one that `--store` or `HILUM_STORE` names. Every command takes
`--help` and `--json`; with `--json` its answer is one document on stdout and nothing else is. Run a
command again and it says "already done", or goes on where it was stopped.

| exit code | means |
|---|---|
| 0 | done |
| 2 | your request cannot be carried out as given; the message says what to change |
| 3 | waiting for people to answer; nothing is wrong |
| 4 | our fault; the message says where the traceback is |
| 5 | partly done: `hilum ingest` took what was sound and set the rest aside, each file with its reason |
| 130 | you pressed Ctrl-C; what was finished is kept |

`hilum --install-completion` teaches your shell the commands.
"""


def reference_page() -> str:
    """Every command with its arguments and options, and every setting, as Markdown."""
    sections = [HEADER, *_command_sections(get_command(app), "hilum"), _settings_section()]
    return "\n".join(sections)


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every command below ``command`` that can be run, with what to type."""
    children = getattr(command, "commands", None)
    if not children:
        yield path, command
        return
    if command.invoke_without_command:
        yield path, command
    for name in command.list_commands(None):
        if not children[name].hidden:
            yield from commands(children[name], f"{path} {name}")


def _command_sections(root: Any, path: str) -> Iterator[str]:
    for typed, command in commands(root, path):
        yield _section(typed, command)


def _section(typed: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    usage = " ".join([typed, *(_usage(argument) for argument in arguments), *(["[OPTIONS]"] if options else [])])
    lines = [f"## {typed}", "", "```text", usage, "```", "", _paragraphs(command.help), ""]
    rows = [(_argument_name(argument), argument.help, "") for argument in arguments]
    rows += [(", ".join(f"`{o}`" for o in _names(option)), option.help, _default(option)) for option in options]
    if rows:
        lines += [
            "| | | default |",
            "|---|---|---|",
            *(f"| {name} | {_cell(text)} | {default} |" for name, text, default in rows),
            "",
        ]
    example = (command.epilog or "").removeprefix("Example: ")
    if example:
        lines += ["```console", f"$ {example}", "```", ""]
    return "\n".join(lines)


def _usage(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return name if argument.required else f"[{name}]"


def _argument_name(argument: Any) -> str:
    return f"`{argument.metavar or argument.name.upper()}`"


def _names(option: Any) -> list[str]:
    shown = [*option.opts, *option.secondary_opts]
    if option.metavar:
        shown[0] = f"{shown[0]} {option.metavar}"
    return shown


def _default(option: Any) -> str:
    if option.envvar:
        return f"`{option.envvar}`"
    if option.default is None or option.default is False:
        return ""
    return f"`{option.opts[0].removeprefix('--') if option.default is True else option.default}`"


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip()))


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _settings_section() -> str:
    rows = [f"| `{PREFIX}{name.upper()}` | {field.description} |" for name, field in Settings.model_fields.items()]
    return "\n".join(
        [
            "## Settings",
            "",
            "Where things are, and secrets; never what is computed.",
            "",
            "| variable | |",
            "|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(reference_page())
