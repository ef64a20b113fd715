"""The page's faces in a real browser: tags, linked cards, example, JSON, clipboard."""

from __future__ import annotations

import json
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

TOPMOST = """tag => {
  const { left, top, width, height } = tag.getBoundingClientRect();
  const at = document.elementFromPoint(left + width / 2, top + height / 2);
  return tag.contains(at);
}"""
IN_FRAME = """tag => {
  const one = tag.getBoundingClientRect();
  const frame = document.getElementById("frame").getBoundingClientRect();
  return one.left >= frame.left - 1 && one.right <= frame.right + 1
    && one.top >= frame.top - 1 && one.bottom <= frame.bottom + 1;
}"""
PASTE = """bytes => {
  const data = new DataTransfer();
  if (bytes) data.items.add(new File([new Uint8Array(bytes)], "pasted.png", {type: "image/png"}));
  else data.setData("text/plain", "words");
  document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));
}"""


def shown(page: Any) -> Any:
    """Waits until the page knows what the server runs."""
    expect(page.locator("#model")).to_be_visible()
    return page


@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize(
    ("picture", "faces"), [("multi_face.jpg", 5), ("oarriaga_solvay_conference.jpg", 6)]
)
def test_tags_lie_above_all_boxes_and_in_the_picture(
    visit: Any, detecting: str, width: int, picture: str, faces: int
) -> None:
    page = shown(visit(detecting, width=width))
    page.set_input_files("#file", SHARED / "images" / picture)
    expect(page.locator(".tag")).to_have_count(faces)
    page.locator("#frame").scroll_into_view_if_needed()
    for number, tag in enumerate(page.locator(".tag").all(), 1):
        assert tag.evaluate(IN_FRAME), number
        assert tag.evaluate(TOPMOST), number
        assert tag.inner_text().startswith(str(number))


def test_card_and_box_are_linked(visit: Any, detecting: str) -> None:
    page = shown(visit(detecting))
    page.set_input_files("#file", SHARED / "images" / "multi_face.jpg")
    boxes, cards = page.locator(".box"), page.locator(".face")
    expect(boxes).to_have_count(5)
    cards.nth(1).hover()
    expect(boxes.nth(1)).to_have_class(re.compile("lit"))
    boxes.nth(3).hover()
    expect(cards.nth(3)).to_have_class(re.compile("lit"))
    expect(page.locator(".lit")).to_have_count(2)
    boxes.nth(3).click()
    page.mouse.move(1, 1)
    expect(page.locator(".box.lit")).to_have_count(1)  # pinned
    expect(cards.nth(3).locator("button")).to_have_attribute("aria-pressed", "true")
    cards.nth(3).locator("button").focus()
    page.keyboard.press("Enter")  # unpins; the focus still lights it
    expect(cards.nth(3).locator("button")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Tab")
    expect(boxes.nth(4)).to_have_class(re.compile("lit"))
    expect(page.locator(".lit")).to_have_count(2)


@pytest.mark.parametrize("kind", ["plain", "detecting"])
def test_the_example_is_one_click(visit: Any, request: Any, kind: str) -> None:
    page = shown(visit(request.getfixturevalue(kind)))
    assert page.locator("#example-picture").evaluate("image => image.naturalWidth") > 100
    page.get_by_role("button", name="Try this example").click()
    count = 1 if kind == "plain" else 3
    expect(page.locator(".box")).to_have_count(count)
    expect(page.locator(".face h3").first).to_contain_text("Happiness")
    assert page.locator(".box.uncertain").count() == 0


def test_the_answer_is_copied_as_json(visit: Any, plain: str) -> None:
    page = shown(visit(plain, permissions=["clipboard-read", "clipboard-write"]))
    copy = page.get_by_role("button", name="Copy JSON")
    expect(copy).to_be_hidden()
    page.set_input_files("#file", HAPPY)
    copy.click()
    expect(page.locator("#copy")).to_have_text("Copied")
    answer = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert answer["faces"][0]["label"] == "happiness"
    assert answer["width_px"] == 48
    expect(copy).to_be_visible()  # its own words come back


def test_a_picture_is_pasted(visit: Any, plain: str) -> None:
    page = shown(visit(plain))
    page.evaluate(PASTE, None)
    expect(page.locator("[role=alert]")).to_have_text(re.compile("no picture"))
    page.evaluate(PASTE, list(HAPPY.read_bytes()))
    expect(page.locator(".box")).to_have_count(1)
    expect(page.locator("[role=alert]")).to_have_text("")


def test_the_page_of_live_starts_the_webcam_itself(visit: Any, plain: str) -> None:
    page = shown(visit(plain, "/#webcam", permissions=["camera"]))
    expect(page.locator("#webcam")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#latency")).to_have_text(re.compile("ms"))
