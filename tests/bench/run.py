"""Run one bench by its theme, or all of them: ``make bench THEME=reading``. A bench is a file bench_<theme>.py here."""

import runpy
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.append(str(FOLDER.parents[1]))  # servers that the tests start are started here too


def main(wanted: list[str]) -> int:
    """Run the benches in turn, in this process, so that nothing else of ours competes with them."""
    themes = {path.stem.removeprefix("bench_"): path for path in sorted(FOLDER.glob("bench_*.py"))}
    unknown = sorted(set(wanted) - set(themes))
    if unknown:
        print(f"No bench is called '{unknown[0]}'. Known: {', '.join(themes)}.", file=sys.stderr)
        return 2
    for theme in wanted or themes:
        print(f"== {theme} ==")
        runpy.run_path(str(themes[theme]), run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
