"""The page in a real browser: pictures, webcam, keyboard, phone, light and dark, no other host."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fer_edge.shipped import FACES

pytestmark = pytest.mark.slow

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect

SHARED = Path(__file__).parents[3] / "shared" / "data"
HAPPY = FACES / "happiness.png"

CONTRASTS = """() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = channels(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] > 0.8) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const [one, other] = [light(channels(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    found.push([element.textContent.trim().slice(0, 40), Math.round(100 * ratio) / 100]);
  }
  return found;
}"""


def shown(page: Any) -> Any:
    """Waits until the page knows what the server runs."""
    expect(page.locator("#model")).to_be_visible()
    return page


def no_sideways_scroll(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_a_chosen_picture_gets_a_box_and_bars(visit: Any, plain: str) -> None:
    page = shown(visit(plain))
    page.set_input_files("#file", HAPPY)
    expect(page.locator(".box")).to_have_count(1)
    expect(page.locator(".face h3")).to_contain_text("Happiness")
    bars = page.locator(".face .bars li")
    expect(bars).to_have_count(7)
    expect(page.locator(".face .bars .top")).to_contain_text("Happiness")
    widths = page.locator(".bar span").evaluate_all("bars => bars.map((b) => b.offsetWidth)")
    assert max(widths) == widths[3] > 100  # happiness is the fourth label
    expect(page.locator("[role=status]")).to_have_text(re.compile("^1 face. 1: Happiness [0-9]+ %"))
    expect(page.locator("#note")).to_contain_text("no face detector")
    # The picture is the browser's own, and is forgotten by the server.
    assert page.locator("#picture").get_attribute("src").startswith("blob:")


def test_a_dropped_picture_is_answered(visit: Any, plain: str) -> None:
    page = shown(visit(plain))
    files = page.evaluate_handle(
        "bytes => { const data = new DataTransfer(); data.items.add(new File("
        "[new Uint8Array(bytes)], 'face.png', {type: 'image/png'})); return data; }",
        list(HAPPY.read_bytes()),
    )
    page.dispatch_event("#stage", "dragover", {"dataTransfer": files})
    expect(page.locator("#stage")).to_have_class(re.compile("over"))
    page.dispatch_event("#stage", "drop", {"dataTransfer": files})
    expect(page.locator(".box")).to_have_count(1)
    expect(page.locator("#stage")).not_to_have_class(re.compile("over"))


def test_each_face_of_a_picture_is_in_its_box(visit: Any, detecting: str) -> None:
    page = shown(visit(detecting))
    page.set_input_files("#file", SHARED / "images" / "multi_face.jpg")
    expect(page.locator(".box")).to_have_count(5)
    expect(page.locator(".face")).to_have_count(5)
    expect(page.locator("#note")).to_be_hidden()
    picture = page.locator("#picture").bounding_box()
    lefts = []
    for box in page.locator(".box").all():
        place = box.bounding_box()
        assert place["x"] >= picture["x"] - 1
        assert place["x"] + place["width"] <= picture["x"] + picture["width"] + 1
        lefts.append(place["x"])
    assert lefts == sorted(lefts)
    tags = [tag.bounding_box() for tag in page.locator(".tag").all()]
    for number, one in enumerate(tags):
        for other in tags[:number]:
            assert (
                one["x"] >= other["x"] + other["width"]
                or other["x"] >= one["x"] + one["width"]
                or one["y"] >= other["y"] + other["height"]
                or other["y"] >= one["y"] + one["height"]
            )
    # The next picture takes their place.
    page.set_input_files("#file", SHARED / "images" / "coral_cat_720p.jpg")
    expect(page.locator("#nobody")).to_have_text("No face found.")
    expect(page.locator(".box")).to_have_count(0)
    expect(page.locator(".face")).to_have_count(0)


def test_what_is_no_picture_is_told(visit: Any, plain: str, tmp_path: Path) -> None:
    visit.expected.append("422")  # the browser's own note
    page = shown(visit(plain))
    text = tmp_path / "notes.png"
    text.write_text("not a picture")
    page.set_input_files("#file", HAPPY)
    expect(page.locator(".box")).to_have_count(1)
    page.set_input_files("#file", text)
    expect(page.locator("[role=alert]")).to_have_text(re.compile("^Expected a JPEG, PNG, BMP or"))
    expect(page.locator("#empty")).to_be_visible()
    for gone in (".box", ".face"):
        expect(page.locator(gone)).to_have_count(0)


def test_the_webcam_shows_states_that_change(visit: Any, detecting: str) -> None:
    page = shown(visit(detecting, permissions=["camera"]))
    page.click("#webcam")
    expect(page.locator("#webcam")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".box")).to_have_count(1)
    # In the clip one man goes from neutral to a broad smile, again and again.
    for state in ("happiness", "neutral"):
        expect(page.locator(f".strip .{state}").first).to_be_attached()
    expect(page.locator("#latency")).to_have_text(re.compile("^[0-9]+ ms$"))
    expect(page.locator("#sparkline path")).to_be_attached()
    expect(page.locator("[role=status]")).to_contain_text("1 face.")
    assert page.locator(".face").count() == 1
    page.click("#webcam")
    expect(page.locator("#webcam")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#empty")).to_be_visible()
    expect(page.locator(".box")).to_have_count(0)


def test_a_paused_webcam_sends_nothing_and_goes_on(visit: Any, detecting: str) -> None:
    page = shown(visit(detecting, permissions=["camera"]))
    pause = page.locator("#pause")
    expect(pause).to_be_hidden()
    sockets: list[Any] = []
    frames: list[int] = []
    page.on("websocket", lambda one: sockets.append(one))
    page.on("websocket", lambda one: one.on("framesent", lambda _: frames.append(1)))
    page.click("#webcam")
    expect(page.locator(".box")).to_have_count(1)
    pause.click()
    expect(pause).to_have_text("Continue")
    expect(page.locator("#summary")).to_have_text("Paused")
    assert page.evaluate("document.getElementById('video').paused")
    sent = len(frames)
    page.evaluate("() => new Promise((resume) => setTimeout(resume, 500))")
    assert len(frames) == sent
    for _ in range(100):
        if sockets[0].is_closed():
            break
        page.wait_for_timeout(100)
    assert sockets[0].is_closed(), "the server would end an idle connection"
    expect(page.locator(".face")).to_have_count(1)
    pause.click()
    expect(pause).to_have_text("Pause")
    expect(page.locator("#summary")).not_to_have_text("Paused")
    page.wait_for_function("() => document.querySelectorAll('.box').length === 1")
    assert len(sockets) == 2
    page.click("#webcam")
    expect(pause).to_be_hidden()
    expect(page.locator("#empty")).to_be_visible()


def test_the_keyboard_is_enough(visit: Any, plain: str) -> None:
    page = shown(visit(plain, permissions=["camera"]))
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        reached.append(page.evaluate("document.activeElement.textContent.trim()"))
    assert reached == ["Skip to the picture", "API", "Choose a picture", "Use the webcam"]
    page.keyboard.press("Space")
    expect(page.locator("#webcam")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Space")
    expect(page.locator("#webcam")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Shift+Tab")
    choose_by_key(page)
    expect(page.locator(".box")).to_have_count(1)


def choose_by_key(page: Any, tries: int = 3) -> None:
    """A browser that is short of time takes a key and opens nothing: then it is pressed again."""
    for left in reversed(range(tries)):
        try:
            with page.expect_file_chooser(timeout=8000) as chooser:
                page.keyboard.press("Enter")
            chooser.value.set_files(HAPPY)
            return
        except playwright.TimeoutError:
            if not left:
                raise


def test_a_phone_needs_no_sideways_scroll(visit: Any, plain: str) -> None:
    page = shown(visit(plain, width=375, permissions=["camera"]))
    no_sideways_scroll(page)
    page.set_input_files("#file", HAPPY)
    expect(page.locator(".box")).to_have_count(1)
    no_sideways_scroll(page)
    page.click("#webcam")
    expect(page.locator("#latency")).to_have_text(re.compile("ms"))
    no_sideways_scroll(page)
    heights = page.locator("button:visible").evaluate_all("all => all.map((b) => b.offsetHeight)")
    assert min(heights) >= 44  # a finger's
    page.goto(f"{plain}/docs")
    expect(page.locator("section").first).to_be_visible()
    no_sideways_scroll(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(visit: Any, plain: str, scheme: str) -> None:
    page = shown(visit(plain, color_scheme=scheme))
    page.set_input_files("#file", HAPPY)
    expect(page.locator(".box")).to_have_count(1)
    found = page.evaluate(CONTRASTS)
    page.goto(f"{plain}/docs")
    expect(page.locator("section")).to_have_count(5)
    found += page.evaluate(CONTRASTS)
    assert len(found) > 60
    assert [text for text in found if text[1] < 4.5] == []  # WCAG 2.2, 1.4.3
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) > 380) == (scheme == "light")


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_everything_has_a_name(visit: Any, plain: str, path: str) -> None:
    page = visit(plain, path)
    assert page.locator("html").get_attribute("lang") == "en"
    expect(page.locator("h1")).to_have_count(1)
    assert page.title()
    for control in page.locator("button, input:not([hidden]), a").all():
        name = control.evaluate(
            "one => one.ariaLabel || one.labels?.[0]?.textContent || one.textContent.trim()"
        )
        assert name, control
    for image in page.locator("img").all():
        assert image.get_attribute("alt") is not None
    if path == "/":
        assert page.locator("[role=status]").count() == page.locator("[role=alert]").count() == 1


def test_the_page_of_the_api_shows_every_path(visit: Any, plain: str) -> None:
    page = visit(plain, "/docs")
    expect(page.locator("section")).to_have_count(5)
    paths = page.locator("section h2 code").all_text_contents()
    assert paths == ["/predict", "/live", "/info", "/healthz", "/metrics"]
    for field in ("confidence", "uncertain", "reason", "since_s"):
        expect(page.locator("section th", has_text=field).first).to_be_visible()


def test_a_server_with_a_token_asks_for_it(visit: Any, launch: Any) -> None:
    visit.expected.append("401")  # the browser's own note
    options = ["--port", "0", "--threads", "1", "--crop", "--token", "open~sesame"]
    with launch(["-m", "fer_edge.cli", "serve", *options]) as server:
        page = visit(server.base, permissions=["camera"])
        token = page.get_by_label("This server requires a token")
        expect(token).to_be_focused()
        token.fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("[role=alert]")).to_have_text("Wrong token. Try again.")
        token.fill("open~sesame")
        page.keyboard.press("Enter")
        shown(page)
        expect(token).to_be_hidden()
        page.set_input_files("#file", HAPPY)
        expect(page.locator(".box")).to_have_count(1)
        page.click("#webcam")
        expect(page.locator("#latency")).to_have_text(re.compile("ms"))
    expect(page.locator("[role=alert]")).to_contain_text("The live connection ended.")
