"""The page in a real browser: it fits a phone, follows the reader's colours, and stays silent."""

import shutil

import pytest
from playwright.sync_api import sync_playwright

from hilum.loop.report import render

CANARY = "<img src=x onerror=document.title='taken'>"


def brightness(rgb):
    return sum(map(int, rgb[4:-1].split(",")))


@pytest.fixture(scope="module")
def browser():
    # Debian's browser, installed by .ci/setup-servers.
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def opened(browser, make_section, tmp_path):
    """Opens the report at a width; returns the page, what it asked for and what its console said."""
    (tmp_path / "report.html").write_text(
        render([make_section(text=CANARY), make_section("segment")], title=f"Report{CANARY}")
    )

    def open_at(width, scheme="light"):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        asked, said = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto((tmp_path / "report.html").as_uri())
        return page, asked, said

    return open_at


def test_nothing_is_fetched_and_the_console_stays_empty(opened):
    page, asked, said = opened(1280)
    assert [url for url in asked if not url.startswith("data:")] == [page.url]
    assert said == []


def test_a_name_that_is_markup_does_not_run(opened):
    page, _, _ = opened(1280)
    assert page.title() == f"Report{CANARY}"
    assert page.locator("img").count() == 0


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_never_scrolls_sideways(opened, width):
    page, _, _ = opened(width)
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_phone_is_shown_the_narrow_plot_and_a_desk_the_wide_one(opened):
    for width, shown in ((390, ".narrow"), (1280, ".wide")):
        page, _, _ = opened(width)
        plots = page.locator("figure.plot").first
        assert plots.locator(shown).is_visible()
        assert plots.locator("div:visible").count() == 1


def test_dark_readers_get_a_dark_page_with_light_lines(opened):
    def colours(scheme):
        page, _, _ = opened(1280, scheme)
        return page.evaluate(
            "[getComputedStyle(document.body).backgroundColor,"
            " getComputedStyle(document.querySelector('figure text')).fill]"
        )

    light, dark = colours("light"), colours("dark")
    assert brightness(light[0]) > 600
    assert brightness(dark[0]) < 150
    assert light[1] != dark[1]


def test_every_embedded_image_can_be_decoded(opened):
    page, _, _ = opened(1280)
    sizes = page.evaluate(
        """async () => Promise.all([...document.querySelectorAll('image')].map(async (node) => {
            const picture = new Image(); picture.src = node.getAttribute('href'); await picture.decode();
            return picture.naturalWidth; }))"""
    )
    assert sizes
    assert set(sizes) == {24}
