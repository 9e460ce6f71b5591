"""Builds an image of ours without an engine: every instruction of its Dockerfile, in a clean Debian.

``python -m tests.images.build FOLDER [--target label-studio]`` takes minutes and gigabytes, as root on Debian with
debootstrap and bubblewrap; it needs the network. Then it tries what a cluster does with the image
(tests/images/trial.py) and writes FOLDER/TARGET.json.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tests.images import context, dockerfile, roots
from tests.images.roots import Image, Machine
from tests.images.trial import TRIALS

DOCKERFILE = context.ROOT / "deploy" / "images" / "Dockerfile"


class Build:
    """Stages in folders beside each other, and what each instruction took and added."""

    def __init__(self, folder: Path, given: Mapping[str, str], *, again: bool = False) -> None:
        self.folder = folder
        self.given = given
        self.again = again  # the folders are there already: only what the instructions say of the image is read
        self.machine = Machine.read()
        self.recipe = dockerfile.read(DOCKERFILE, given)
        self.images: dict[str, Image] = {}
        self.steps: list[dict[str, object]] = []

    def run(self, target: str) -> Image:
        """The image of a stage, and of those that it takes something from."""
        stages = {stage.name: stage for stage in self.recipe.stages}
        stage = stages[target]
        copies = [dockerfile.copy(one, {}).stage for one in stage.of("COPY")]
        for needed in (stage.base, *copies):
            if needed in stages and needed not in self.images:
                self.run(needed)
        self.images[target] = self._stage(stage)
        return self.images[target]

    def _stage(self, stage: dockerfile.Stage) -> Image:
        image = self._base(stage)
        arguments: dict[str, str] = {}
        for instruction in stage.instructions:
            if self.again:
                if instruction.name not in {"RUN", "COPY"}:
                    self._follow(instruction, image, arguments)
                continue
            begun, before = time.monotonic(), roots.size(image.root)
            print(f"{stage.name}: {instruction.name} {instruction.text[:100]}", flush=True)
            self._follow(instruction, image, arguments)
            added = roots.size(image.root) - before
            if instruction.name in {"RUN", "COPY"}:
                text = " ".join(instruction.text.split())
                step = {"stage": stage.name, "line": instruction.line, "instruction": f"{instruction.name} {text}"}
                self.steps.append(step | {"seconds": round(time.monotonic() - begun, 1), "bytes_added": added})
        return image

    def _base(self, stage: dockerfile.Stage) -> Image:
        known = self.images.get(stage.base)
        base = roots.debian_slim(self.folder / "base") if known is None else known.root
        target = self.folder / stage.name
        if target.exists() and not self.again:
            shutil.rmtree(target)
        if not self.again:
            subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(target)], check=True)
        if known is None:
            return Image(target)
        return replace(known, root=target, environment=dict(known.environment), labels=dict(known.labels))

    def _follow(self, instruction: dockerfile.Instruction, image: Image, arguments: dict[str, str]) -> None:
        variables = arguments | image.environment
        match instruction.name:
            case "ARG":
                arguments |= dockerfile.assignments(instruction, variables)
                names = dockerfile.argument_names(instruction)
                arguments |= {name: self.given[name] for name in names if name in self.given}
            case "ENV":
                image.environment |= dockerfile.assignments(instruction, variables)
            case "LABEL":
                image.labels |= dockerfile.assignments(instruction, variables)
            case "RUN":
                roots.build_step(image, instruction.text, arguments, self.machine)
            case "COPY":
                self._copy(dockerfile.copy(instruction, variables), image)
            case "USER":
                image.user = instruction.text
            case "WORKDIR":
                image.workdir = instruction.text
                _inside(image, instruction.text).mkdir(parents=True, exist_ok=True)
            case "ENTRYPOINT":
                image.entrypoint = dockerfile.words(instruction)
            case "CMD":
                image.command = dockerfile.words(instruction)

    def _copy(self, copy: dockerfile.Copy, image: Image) -> None:
        target = _inside(image, copy.target)
        if copy.stage is not None:
            (source,) = copy.sources
            target.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", f"{_inside(self.images[copy.stage], source)}/.", str(target)], check=True)
            return
        for source in copy.sources:
            for file in context.files_of(source):
                into_folder = copy.target.endswith("/") or (context.ROOT / source).is_dir()
                base = source if (context.ROOT / source).is_dir() else str(Path(source).parent)
                to = target / file.relative_to(base) if into_folder else target
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(context.ROOT / file, to)


def _inside(image: Image, path: str) -> Path:
    return image.root / Path(image.workdir, path).relative_to("/")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the roots go; what is in it is replaced")
    parser.add_argument("--target", choices=sorted(TRIALS), default="runtime")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--again", action="store_true", help="only try again what was built there")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    given = dict(one.split("=", 1) for one in chosen.build_arg)

    begun = time.monotonic()
    build = Build(chosen.folder.resolve(), given, again=chosen.again)
    image = build.run(chosen.target)
    written = chosen.folder / f"{chosen.target}.json"
    if not chosen.again:
        sizes = {"base_bytes": roots.size(build.folder / "base"), "image_bytes": roots.size(image.root)}
        told = {"seconds": round(time.monotonic() - begun, 1), **sizes, "labels": image.labels, "steps": build.steps}
        written.write_text(json.dumps(told, indent=1))
    report = json.loads(written.read_text()) | {"trials": []}
    for trial in TRIALS[chosen.target]:
        print(f"trying: {trial.__name__}", flush=True)
        began = time.monotonic()
        said = trial(image)
        report["trials"].append({"trial": trial.__name__, "seconds": round(time.monotonic() - began, 1), "said": said})
        written.write_text(json.dumps(report, indent=1))
    print(json.dumps({key: report[key] for key in ("seconds", "base_bytes", "image_bytes")}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
