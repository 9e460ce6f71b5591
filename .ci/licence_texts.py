"""The texts of the licences of what an image holds: `python .ci/licence_texts.py LOCK FOLDER`.

FOLDER gets a folder for each distribution and `INDEX.tsv`: name, version, licence and how many texts came in its
wheel. Those of Debian's packages lie where Debian puts them, under /usr/share/doc.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from licences import ROOT, licence_of, locked

TEXT = re.compile(r"(^|/)licenses?/|(^|/)(licen[cs]e|copying|notice|copyright|authors|third)[^/]*$", re.IGNORECASE)


def collect(lock: Path, folder: Path) -> None:
    lines = []
    for name, version in locked(lock):
        texts = list(_texts(name))
        for number, text in enumerate(texts):
            target = folder / name / (text.name if number == 0 else f"{number}-{text.name}")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(text, target)
        lines.append(f"{name}\t{version}\t{licence_of(name)}\t{len(texts)}\n")
    (folder / "INDEX.tsv").write_text("".join(lines), encoding="utf-8")
    for name in ("LICENSE", "NOTICE"):
        shutil.copyfile(ROOT / name, folder / name)


def _texts(name: str) -> Iterator[Path]:
    for path in distribution(name).files or []:
        file = Path(str(path.locate()))
        if TEXT.search(str(path)) and path.suffix not in {".py", ".pyc"} and file.is_file():
            yield file


if __name__ == "__main__":
    collect(Path(sys.argv[1]), Path(sys.argv[2]))
