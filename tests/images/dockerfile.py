"""Reads a Dockerfile of ours as a builder does, and refuses what it does not know.

Known: FROM … AS, ARG, ENV, RUN (shell form), COPY [--from=STAGE], USER, WORKDIR, LABEL, ENTRYPOINT and CMD (exec
form), and $NAME, ${NAME}, ${NAME:-default} outside RUN. Not known, hence refused: ADD, SHELL, ONBUILD, VOLUME,
HEALTHCHECK, options of RUN, here-documents, parser directives.
"""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

KNOWN = {"ARG", "ENV", "RUN", "COPY", "USER", "WORKDIR", "LABEL", "ENTRYPOINT", "CMD"}
_INSTRUCTION = re.compile(r"([A-Z]+)\s+(\S.*)", re.DOTALL)
_FROM = re.compile(r"(\S+)\s+AS\s+([a-z][a-z0-9-]*)")
_DIRECTIVE = re.compile(r"#\s*(syntax|escape|check)\s*=")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::-([^}]*))?\}|(.))")


class UnknownInstructionError(Exception):
    """The Dockerfile says something that this reader does not know."""


@dataclass(frozen=True)
class Instruction:
    name: str
    text: str
    line: int


@dataclass(frozen=True)
class Stage:
    name: str
    base: str
    instructions: tuple[Instruction, ...]

    def of(self, name: str) -> list[Instruction]:
        return [instruction for instruction in self.instructions if instruction.name == name]


@dataclass(frozen=True)
class Recipe:
    """A whole file: ARGs before the first FROM, and stages in order."""

    arguments: Mapping[str, str]
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Copy:
    stage: str | None
    sources: tuple[str, ...]
    target: str


def read(path: Path, given: Mapping[str, str] | None = None) -> Recipe:
    """The recipe, with build arguments that are given in place of the file's for its FROM lines."""
    arguments: dict[str, str] = {}
    stages: list[tuple[str, str, list[Instruction]]] = []
    for instruction in _instructions(path.read_text(encoding="utf-8")):
        if instruction.name == "FROM":
            name, base = _from(instruction, arguments | dict(given or {}))
            stages.append((name, base, []))
        elif stages:
            stages[-1][2].append(instruction)
        elif instruction.name == "ARG":
            arguments |= assignments(instruction, {})
        else:
            raise UnknownInstructionError(f"line {instruction.line}: {instruction.name} before the first FROM")
    if not stages:
        raise UnknownInstructionError(f"{path} has no FROM")
    return Recipe(arguments, tuple(Stage(name, base, tuple(rest)) for name, base, rest in stages))


def assignments(instruction: Instruction, variables: Mapping[str, str]) -> dict[str, str]:
    """NAME=VALUE pairs of an ENV, LABEL or ARG; an ARG without a value is not in it."""
    pairs = [word.partition("=") for word in shlex.split(instruction.text)]
    if instruction.name != "ARG" and not all(sign for _, sign, _ in pairs):
        raise UnknownInstructionError(f"line {instruction.line}: {instruction.name} wants NAME=VALUE")
    return {name: expanded(value, variables) for name, sign, value in pairs if sign}


def argument_names(instruction: Instruction) -> list[str]:
    return [word.partition("=")[0] for word in shlex.split(instruction.text)]


def copy(instruction: Instruction, variables: Mapping[str, str]) -> Copy:
    words = shlex.split(expanded(instruction.text, variables))
    options = [word for word in words if word.startswith("--")]
    paths = [word for word in words if not word.startswith("--")]
    stage = None
    for option in options:
        if not option.startswith("--from="):
            raise UnknownInstructionError(f"line {instruction.line}: COPY {option}")
        stage = option.removeprefix("--from=")
    if len(paths) < 2 or (len(paths) > 2 and not paths[-1].endswith("/")):
        raise UnknownInstructionError(
            f"line {instruction.line}: COPY wants sources and a target that ends with / for several"
        )
    return Copy(stage, tuple(paths[:-1]), paths[-1])


def words(instruction: Instruction) -> list[str]:
    """The exec form of ENTRYPOINT and CMD; the shell form is refused."""
    try:
        found = json.loads(instruction.text)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, list):
        raise UnknownInstructionError(f"line {instruction.line}: {instruction.name} must be a JSON list")
    return found


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """Variables in place of their names, as everywhere but in RUN, where the shell does it."""

    def value(match: re.Match[str]) -> str:
        plain, braced, default, other = match.groups()
        if other is not None:
            raise UnknownInstructionError(f"${other} in '{text}'")
        return variables.get(plain or braced, "") or default or ""

    return _VARIABLE.sub(value, text)


def _from(instruction: Instruction, variables: Mapping[str, str]) -> tuple[str, str]:
    match = _FROM.fullmatch(expanded(instruction.text, variables))
    if match is None:
        raise UnknownInstructionError(f"line {instruction.line}: FROM wants IMAGE AS name")
    return match[2], match[1]


def _instructions(text: str) -> list[Instruction]:
    if _DIRECTIVE.match(text):
        raise UnknownInstructionError("line 1: a parser directive")
    found: list[Instruction] = []
    pending, first = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("#") or not line.strip():
            continue
        first = first or number
        pending += line.rstrip()
        if pending.endswith("\\"):
            pending = pending[:-1]
            continue
        found.append(_instruction(pending.strip(), first))
        pending, first = "", 0
    if pending:
        raise UnknownInstructionError(f"line {first}: the file ends within an instruction")
    return found


def _instruction(text: str, line: int) -> Instruction:
    match = _INSTRUCTION.fullmatch(text)
    if match is None or match[1] not in KNOWN | {"FROM"}:
        raise UnknownInstructionError(
            f"line {line}: {text.split(maxsplit=1)[0]}. Known: FROM, {', '.join(sorted(KNOWN))}"
        )
    if match[1] == "RUN" and (match[2].startswith(("--", "[")) or "<<" in match[2]):
        raise UnknownInstructionError(f"line {line}: RUN in the shell form, without options or here-documents")
    return Instruction(match[1], match[2], line)
