"""What the documentation promises about itself and about the code."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.main import get_command

from hilum.adapters.answer_sheet import COLUMNS
from hilum.cli.main import app
from hilum.cli.metrics_reference import metrics_page
from hilum.cli.reference import commands, reference_page
from hilum.cli.settings import PREFIX, Settings
from hilum.core.registry import samplers, scorers
from hilum.core.resources import Resources
from hilum.core.telemetry import METRICS
from hilum.loop.stages import Stage
from hilum.select import builtin  # noqa: F401 (registers our scorers and samplers)
from hilum.store import layout, ledger_tables, tables
from hilum.store.manifest import Manifest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "platform" / "docs"
FORMATS = sorted((DOCS / "formats").glob("*.md"))
COMMANDS = dict(commands(get_command(app), "hilum"))

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def _every_page():
    """All Markdown that people read."""
    tops = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
    return sorted([*tops, *(page for top in ("services", "deploy", "helm") for page in (ROOT / top).rglob("*.md"))])


def _prose(page):
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def _links(page):
    return _LINK.findall(re.sub(r"`[^`\n]+`", "", _prose(page)))


def _anchors(page):
    """The headings of a page as a link names them."""
    headings = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(_prose(page)))
    return {heading.strip().replace(" ", "-") for heading in headings}


PAGES = _every_page()


def _named(page):
    return str(page.relative_to(ROOT))


def _page(name):
    return (DOCS / name).read_text(encoding="utf-8")


def test_platform_is_a_source_root_and_not_a_package():
    # With an __init__.py, `import platform` would find ours and pytest could not start.
    assert not (ROOT / "platform" / "__init__.py").exists()
    assert not (ROOT / "tests" / "platform").exists()


def test_the_command_line_page_is_what_the_commands_say():
    written = _page("guide/cli.md")
    assert written == reference_page(), "run: .venv/bin/python -m hilum.cli.reference > platform/docs/guide/cli.md"


@pytest.mark.parametrize("typed", COMMANDS)
def test_every_command_and_every_option_has_its_line(typed):
    section = _page("guide/cli.md").split(f"\n## {typed}\n")[1].split("\n## ")[0]
    for parameter in COMMANDS[typed].params:
        for name in parameter.opts if parameter.param_type_name == "option" else [parameter.metavar]:
            assert f"`{name}" in section, name


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_has_its_line(name):
    assert f"`{PREFIX}{name.upper()}`" in _page("guide/cli.md")


def test_the_metrics_page_is_what_the_table_says():
    command = ".venv/bin/python -m hilum.cli.metrics_reference > platform/docs/metrics.md"
    assert _page("metrics.md") == metrics_page(), f"run: {command}"


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_has_its_line_with_kind_labels_and_meaning(metric):
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    assert f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |" in _page("metrics.md")


def test_no_metric_is_documented_that_is_not_exported():
    documented = re.findall(r"^\| `(hilum_\w+)`", _page("metrics.md"), re.MULTILINE)
    assert documented == [metric.name for metric in METRICS]


@pytest.mark.parametrize("page", FORMATS, ids=_named)
def test_every_format_page_carries_a_version(page):
    assert re.search(r"\bversion \d+\b", page.read_text(encoding="utf-8"), re.IGNORECASE)


@pytest.mark.parametrize("page", FORMATS, ids=_named)
def test_every_format_page_is_in_the_list_of_formats(page):
    assert page.name == "README.md" or f"({page.name})" in _page("formats/README.md")


TABLES = [value for value in vars(tables).values() if hasattr(value, "metadata") and value.metadata]


@pytest.mark.parametrize("schema", TABLES, ids=lambda schema: schema.metadata[b"hilum_table"].decode())
def test_every_column_of_every_table_has_its_line(schema):
    name = schema.metadata[b"hilum_table"].decode()
    section = _page("formats/tables.md").split(f"\n## {name}\n")[1].split("\n## ")[0]
    for column in schema.names:
        assert f"`{column}`" in section, column


@pytest.mark.parametrize(
    "place", ["volumes", "runs", "labels", "checkpoints", "campaigns", "ledger.sqlite", "hilum.json"]
)
def test_every_place_of_a_store_has_its_line(place):
    assert place in (layout.__doc__ or "")
    assert place in _page("formats/store.md")


@pytest.mark.parametrize(
    ("model", "page"), [(Manifest, "formats/runs.md"), (Resources, "formats/recipes.md")], ids=["manifest", "resources"]
)
def test_every_field_has_its_line(model: type[BaseModel], page):
    for field in model.model_fields:
        assert f"`{field}`" in _page(page), field


@pytest.mark.parametrize("stage", list(Stage))
def test_every_stage_has_its_word(stage):
    assert f"`{stage}`" in _page("formats/campaigns.md")


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_of_the_answer_sheet_has_its_line(column):
    assert f"| `{column}` |" in _page("formats/questions.md")


@pytest.mark.parametrize("table", list(ledger_tables.METADATA.tables.values()), ids=lambda table: table.name)
def test_every_table_of_the_ledger_has_its_line(table):
    line = next(line for line in _page("formats/ledger.md").splitlines() if line.startswith(f"| `{table.name}`"))
    assert all(f"`{column.name}`" in line for column in table.columns)


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_every_internal_link_leads_somewhere(page):
    for link in _links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in _anchors(target), link


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name != "changes"], ids=_named)
def test_every_page_opens_with_its_title(page):
    assert page.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_pages_speak_of_hilum_and_not_of_whoever_wrote_them(page):
    text = page.read_text(encoding="utf-8")
    for word in ("/work/", "/tmp/", "/root/", "TODO", "FIXME"):
        assert word not in text


def test_every_decision_is_listed_and_every_page_has_its_number():
    listed = _page("decisions/README.md")
    found = sorted(path.name for path in (DOCS / "decisions").glob("[0-9]*.md"))
    assert all(f"({name})" in listed for name in found)
    assert [name[:4] for name in found] == [f"{number:04d}" for number in range(1, len(found) + 1)]


@pytest.mark.parametrize("name", [*scorers, *samplers])
def test_every_scorer_and_sampler_has_its_line(name):
    assert f"\n| `{name}` |" in _page("guide/selection.md")


def test_the_guide_lists_its_pages():
    listed = _page("guide/README.md")
    assert all(f"({path.name})" in listed for path in (DOCS / "guide").glob("*.md") if path.name != "README.md")


def test_the_recipes_in_the_command_examples_exist_or_are_the_readers_own():
    from hilum.loop.recipe_files import shipped_recipes

    words = re.findall(r"^\$ hilum (?:simulate|recipe show|pool|score) (\S+)", _page("guide/cli.md"), re.MULTILINE)
    assert words
    assert all(word in shipped_recipes() or word.endswith(".yaml") for word in words)
