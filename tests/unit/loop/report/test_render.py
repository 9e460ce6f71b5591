"""The page: complete, escaped, self-contained and the same every time."""

import re
from html.parser import HTMLParser

import pytest

from hilum.loop.report import render, write_report
from hilum.loop.report.content import Section

CANARY = "\"'><img src=x onerror=alert(1)>{{ 7*7 }}"


class Page(HTMLParser):
    """Tags, attributes and text of a page as a browser's parser sees them."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.shown = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.shown.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.shown).split())


@pytest.mark.parametrize("question", ["classify", "segment"])
def test_markup_in_any_name_is_shown_and_never_obeyed(make_section, question):
    page = Page(render([make_section(question, text=CANARY)], title=f"Report{CANARY}"))
    assert "img" not in page.tags
    assert "script" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    for field in ("Report", "Title", "Data", "Templates", "By somebody", "Averages", "why", "thalamus"):
        assert f"{field}{CANARY}" in page.text
    assert "49" not in re.findall(r"Report.{0,60}", page.text)[0]


@pytest.mark.parametrize("question", ["classify", "segment"])
def test_the_page_asks_nothing_of_the_network(make_section, question):
    html = render([make_section(question)], title="Report")
    page = Page(html)
    policy = next(value for _, name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    links = [value for _, name, value in page.attributes if name in {"src", "href", "xlink:href", "action", "data"}]
    assert links
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert "@import" not in html
    assert not re.findall(r"url\((?!#)", html)


@pytest.mark.parametrize("question", ["classify", "segment"])
def test_no_two_things_share_an_id_and_every_reference_is_met(make_section, question):
    html = render([make_section(question), make_section(question)], title="Report")
    page = Page(html)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    referred = [value[1:] for _, name, value in page.attributes if name.endswith("href") and value.startswith("#")]
    referred += re.findall(r"url\(#([^)]+)\)", html)
    referred += [value for _, name, value in page.attributes if name == "aria-labelledby"]
    assert set(referred) <= set(ids)


def test_the_same_sections_make_the_same_page(make_section):
    assert render([make_section()], title="Report") == render([make_section()], title="Report")


def test_every_picture_has_words_for_those_who_listen(make_section):
    html = render([make_section("segment")], title="Report")
    pictures = re.findall(r'<(?:svg|figure)[^>]*role="img"[^>]*>', html)
    assert pictures
    assert all(re.search(r'aria-label="[^"]+"', picture) for picture in pictures)


def test_the_verdict_leads_and_the_numbers_follow(make_section):
    section = make_section()
    text = Page(render([section], title="Report")).text
    assert "Asking wisely won" in text
    told = (section.findings.headline, *section.findings.sentences)
    assert all(" ".join(sentence.split()) in text for sentence in told)
    for heading in ("Learning curves", "Strategies side by side", "What was asked about", "Where the time went"):
        assert heading in text


def test_random_winning_is_said_as_loudly(make_comparison):
    section = Section("Adrenal", "classify", ("normal", "mass"), make_comparison(heights=(0.5, 0.5, 0.9)))
    text = Page(render([section], title="Report")).text
    assert "Random won" in text
    assert "Asking wisely won" not in text
    assert "not reached" in text


def test_what_was_not_measured_has_no_heading(make_comparison):
    section = Section("Small", "classify", ("a", "b"), make_comparison(full=False))
    text = Page(render([section], title="Report")).text
    assert "Learning curves" in text
    for heading in ("What was asked about", "The images each round", "Where the time went", "dashed line"):
        assert heading not in text


def test_rounds_are_folded_but_the_first_two_and_the_last(make_section):
    html = render([make_section(num_rounds=6)], title="Report")
    found = re.findall(r'<details class="round"( open)?>\s*<summary>Round (\d)', html)
    assert [(int(n), bool(o)) for o, n in found] == [
        (0, True),
        (1, True),
        (2, False),
        (3, False),
        (4, False),
        (5, True),
    ]


def test_drafts_are_marked_by_sign_and_not_by_colour_alone(make_section):
    text = Page(render([make_section(num_tiles=12)], title="Report")).text
    assert "✓ thalamus" in text
    assert "✗ " in text
    assert "no model yet" in text


def test_many_large_images_still_make_a_file_that_mail_would_take(make_section):
    section = make_section(num_rounds=10, num_tiles=12, size=128)
    assert len(render([section, section], title="Report").encode()) < 6_000_000


def test_several_simulations_share_a_page_with_a_way_to_each(make_section):
    html = render([make_section(text=" A"), make_section("segment", text=" B")], title="Report")
    assert re.findall(r'<a href="#(s\d)">([^<]+)</a>', html) == [("s0", "Title A"), ("s1", "Title B")]


def test_the_page_is_written_whole(make_section, tmp_path):
    url = write_report(str(tmp_path / "a" / "report.html"), [make_section()], title="Report")
    assert (tmp_path / "a" / "report.html").read_text() == render([make_section()], title="Report")
    assert url.endswith("report.html")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["report.html"]
