"""A person at Label Studio's web interface, in headless Chromium: every stroke and click is a mouse's.

Places on an image are fractions (x to the right, y down). Where things are on the screen, and whether the page is
ready, is read from the interface's own store (``window.Htx`` of release 1.23.2).
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from playwright.sync_api import Route, sync_playwright
from tests.label_studio.servers import Server

Place = tuple[float, float]

_SELECTED = "window.Htx.annotationStore.selected"
_READY = """() => { const h = window.Htx;
  if (!h || !h.task || !h.annotationStore || !h.annotationStore.selected) return false;
  const i = h.annotationStore.selected.names.get('image');
  return !!(i && i.stageRef && i.naturalWidth > 1 && i.stageWidth > 1 && i.currentImageEntity.imageLoaded); }"""
_ON_SCREEN = """([x, y]) => { const i = window.Htx.annotationStore.selected.names.get('image');
  const [sx, sy] = i.zoomOriginalCoords([x * i.stageWidth, y * i.stageHeight]);
  const r = i.stageRef.container().getBoundingClientRect(); return [r.left + sx, r.top + sy]; }"""
_LABELS = """() => { const out = []; for (const t of window.Htx.annotationStore.selected.names.values())
  if (t.type && t.type.endsWith('labels') && t.tiedChildren)
    for (const c of t.tiedChildren) if (c.type === 'label' && c.visible !== false) out.push([t.name, c.value]);
  return out; }"""


class Person:
    """Logged in, for as long as the context lasts. Nothing but this machine can be reached."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        assert program, "Chromium is not installed: run `.ci/setup-servers`"
        self._playwright = sync_playwright().start()
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
        self._browser = self._playwright.chromium.launch(executable_path=program, args=flags)
        context = self._browser.new_context(viewport={"width": 1400, "height": 1600})
        context.route("**/*", _stay_here)
        # Only "Label All Tasks" sets this, without which the project's order is not followed.
        context.add_init_script("try { localStorage.setItem('dm:labelstream:mode', 'all') } catch (e) {}")
        self.page = context.new_page()
        self.page.set_default_timeout(120_000)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(f"{self._server.url}/user/login/")
        self.page.fill("#email", self._server.user)
        self.page.fill("#password", self._server.password)
        self.page.click("button[type=submit]")
        self.page.wait_for_url(lambda url: "/user/login" not in url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._browser.close()
        self._playwright.stop()

    def open_next(self, project_id: int) -> int:
        """The task that Label Studio gives next; its number."""
        self.page.goto(f"{self._server.url}/projects/{project_id}/data?labeling=1")
        return self._ready()

    def regions(self) -> list[dict[str, Any]]:
        """What a submit would send now."""
        found: list[dict[str, Any]] = self.page.evaluate(
            f"() => JSON.parse(JSON.stringify({_SELECTED}.serializeAnnotation()))"
        )
        return found

    def look(self, file: Path) -> None:
        self.page.screenshot(path=file)

    def brush(self, label: str, places: Sequence[Place]) -> None:
        self._pick("brush", label)
        self._drag(places)

    def erase(self, region: int, places: Sequence[Place]) -> None:
        self.page.evaluate(f"(n) => {{ const a = {_SELECTED}; a.unselectAll(); a.selectArea(a.regions[n]); }}", region)
        self.page.locator("button[aria-label='eraser']").first.click()
        self._drag(places)

    def rectangle(self, label: str, corner: Place, opposite: Place) -> None:
        self._pick("rectangle", label)
        self._drag([corner, opposite])

    def submit(self) -> dict[str, Any]:
        return self._finish("Submit")

    def skip(self) -> dict[str, Any]:
        return self._finish("Skip")

    def _pick(self, control: str, label: str) -> None:
        self._unselect()
        place = [tuple(pair) for pair in self.page.evaluate(_LABELS)].index((control, label))
        self.page.locator(".lsf-label_clickable").nth(place).click()
        chosen = f"([c, l]) => {_SELECTED}.names.get(c).selectedValues().flat().includes(l)"
        assert self.page.evaluate(chosen, [control, label])

    def _drag(self, places: Sequence[Place]) -> None:
        first, *others = (self.page.evaluate(_ON_SCREEN, list(place)) for place in places)
        self.page.mouse.move(*first)
        self.page.mouse.down()
        for other in others:
            self.page.mouse.move(*other, steps=6)
        self.page.mouse.up()
        self.page.wait_for_timeout(200)
        self._unselect()

    def _unselect(self) -> None:
        self.page.keyboard.press("Escape")
        self.page.evaluate(f"() => {_SELECTED}.unselectAll()")

    def _finish(self, button: str) -> dict[str, Any]:
        with self.page.expect_response(
            lambda answer: (
                "/annotations" in answer.url and "/drafts" not in answer.url and answer.request.method == "POST"
            )
        ) as answered:
            self.page.locator("button").filter(has_text=button).first.click()
        assert answered.value.status < 300, answered.value.text()
        sent: dict[str, Any] = answered.value.json()
        return sent

    def _ready(self) -> int:
        self.page.wait_for_function(_READY)
        self.page.wait_for_timeout(800)  # the canvas is laid out twice
        return int(self.page.evaluate("() => window.Htx.task.id"))


def _stay_here(route: Route) -> None:
    url = route.request.url
    is_near = url.startswith(("data:", "blob:", "about:")) or "://127.0.0.1" in url
    if is_near and "/heidi-tips" not in url:
        route.continue_()
    else:
        route.abort()
