"""What we ask of a Dockerfile beyond hadolint: a line for each fault."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.images.dockerfile import Instruction, Recipe, Stage, argument_names, copy, read, words

SECRET = re.compile(r"token|password|secret|credential|private|_key$", re.IGNORECASE)
INSTALLS = re.compile(r"(?:apt-get (?:[^&;]* )?install|pip install)(?:(?!&&).)*")


def faults(path: Path) -> list[str]:
    recipe = read(path)
    found = [*_bases(recipe), *(fault for stage in images(recipe) for fault in _image(stage))]
    for stage in recipe.stages:
        for instruction in stage.instructions:
            found += [f"line {instruction.line}: {fault}" for fault in _instruction(instruction)]
    return found


def images(recipe: Recipe) -> list[Stage]:
    """The stages that are shipped: no other stage takes anything from them."""
    used = {stage.base for stage in recipe.stages}
    used |= {copy(one, {}).stage or "" for stage in recipe.stages for one in stage.of("COPY")}
    return [stage for stage in recipe.stages if stage.name not in used]


def _bases(recipe: Recipe) -> Iterator[str]:
    stages: set[str] = set()
    for stage in recipe.stages:
        if stage.base not in stages:
            name, _, tag = stage.base.partition(":")
            if not tag or tag == "latest":
                yield f"{stage.base}: name a version of the base"
            if "/" in name:
                yield f"{stage.base}: the default base names no registry; ARG lets the builder do it"
        stages.add(stage.name)


def _image(stage: Stage) -> Iterator[str]:
    users = stage.of("USER")
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1].text):
        yield f"{stage.name} must run as USER NUMBER:NUMBER, and not as 0: runAsNonRoot reads nothing else"
    if not stage.of("ENTRYPOINT") or not words(stage.of("ENTRYPOINT")[-1])[0].endswith("tini"):
        yield f"{stage.name} must start with tini: processes leave children behind"


def _instruction(instruction: Instruction) -> Iterator[str]:
    if instruction.name in {"ARG", "ENV"}:
        for name in argument_names(instruction):
            if SECRET.search(name):
                yield f"{name}: what is given by {instruction.name} stays readable in the image"
    if instruction.name != "RUN":
        return
    if re.search(r"\b(curl|wget)\b[^&]*https?:", instruction.text):
        yield "nothing is fetched by hand: it would have no checksum in a lock"
    for install in INSTALLS.findall(instruction.text):
        if install.startswith("apt-get"):
            if "--no-install-recommends" not in install:
                yield "apt-get install without --no-install-recommends"
            if "rm -rf /var/lib/apt/lists/*" not in instruction.text:
                yield "apt's lists stay in the layer"
        elif "--require-hashes" not in install and "--no-index" not in install:
            yield "pip install without --require-hashes takes what an index happens to hold"
