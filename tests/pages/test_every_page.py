"""What every page promises: readable on a phone, with a keyboard, with poor sight, and on paper."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vis import demo
from vis.influence import rank
from vis.pages import gallery, label_errors, ranking

#: The contrast of each visible text with what is behind it, by WCAG 2.1 (1.4.3).
CONTRASTS = """
const channels = (color) => {
  const [r, g, b, a = 1] = color.match(/[\\d.]+/g).map(Number);
  return [r, g, b, a];
};
const behind = (element) => {
  const layers = [];
  for (let e = element; e; e = e.parentElement) layers.push(channels(getComputedStyle(e).backgroundColor));
  return layers.reverse().reduce((under, [r, g, b, a]) => [r, g, b].map((c, i) => a * c + (1 - a) * under[i]),
    [255, 255, 255]);
};
const luminance = (rgb) => {
  const [r, g, b] = rgb.map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const found = [];
for (const element of document.body.querySelectorAll("*")) {
  const text = element.tagName === "IMG" ? element.alt
    : [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.textContent.trim()).join("");
  if (!text || !element.getClientRects().length || element.tagName === "OPTION") continue;
  for (let e = element; e; e = e.parentElement) if (getComputedStyle(e).opacity !== "1") found.push([0, "opacity"]);
  const [dark, light] = [luminance(channels(getComputedStyle(element).color).slice(0, 3)), luminance(behind(element))]
    .sort((a, b) => a - b);
  found.push([(light + 0.05) / (dark + 0.05), `${element.tagName} ${element.className}: ${text.slice(0, 30)}`]);
}
return found;
"""

#: The elements whose content is wider than they are: cut off, or upon what is beside it.
TOO_WIDE = """
return [...document.body.querySelectorAll("td, th, dd, dt, li, a, p, small, .score")]
  .filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 1).map(e => e.outerHTML)
"""


@pytest.fixture(scope="module")
def pages(digits, tmp_path_factory):
    """One of each kind, with long names where a page shows any."""
    folder = tmp_path_factory.mktemp("pages")
    long = "a_rather_long_name_of_a_photograph_taken_somewhere_2026-11-26"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)).save(folder / f"{long}.png")
    names = [f"the class of number {index}, incomprehensibilities" for index in range(4)]
    cards = [
        gallery.Card(row, folder / f"{long}.png", folder / f"{long}.png", row % 4, predicted, 0.05 + row / 20, second)
        for row in range(18)
        for predicted in [(row + (row % 3 == 0)) % 4]
        for second in [folder / f"{long}.png" if row % 3 == 0 else None]
    ]
    explained = "Each map explains the score of the true label."
    sum(gallery.write(folder / "gallery.html", cards, title=f"{long}.csv", explained=explained, names=names))

    scores = np.linspace(-0.4, 0.3, 40)
    ranked = rank(scores, pd.DataFrame({"x": [f"{long}.png"] * 40, "y": [str(row % 4) for row in range(40)]}))
    ranking.write(
        folder / "influence.html",
        ranked,
        folder,
        "x",
        "y",
        names=names,
        predicted=np.arange(40) % 3,
        margins=np.full(40, 0.2),
    )

    found = pd.DataFrame(
        {
            "datasource_index": np.arange(40),
            "label": np.arange(40) % 4,
            "suggested_label": (np.arange(40) + 1) % 4,
            "is_error": np.arange(40) < 22,
            "score": np.linspace(1, 0, 40),
            "confidence": np.linspace(0, 1, 40),
            "x": [f"{long}.png"] * 40,
        }
    )
    label_errors.write(folder / "label_errors.html", found, folder, image="x", names=names)

    rows = [{"label": digit, "predicted": digit - digit % 3 % 2, "probability": 0.9} for digit in range(10)]
    (folder / "demo.html").write_text(demo._render(rows, 0.97, digits), encoding="utf-8")
    for digit in range(10):
        for name in ("digit", "saliency", "smoothgrad", "guided", "gradcam"):
            Image.new("L", (224, 224), 25 * digit).save(folder / f"{digit}_{name}.png")
    return folder


each_page = pytest.mark.parametrize("name", ["demo", "gallery", "influence", "label_errors"])


def show(browser, pages, name, width=1400, scheme="light"):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get((pages / f"{name}.html").as_uri())


@each_page
@pytest.mark.parametrize("width", [320, 400, 800, 1400])
def test_nothing_is_beyond_the_right_edge_or_too_small(browser, pages, name, width):
    show(browser, pages, name, width)
    assert browser.execute_script("return innerWidth") == width
    assert browser.execute_script("return document.scrollingElement.scrollWidth") <= width
    boxes = browser.execute_script(
        """return [...document.body.querySelectorAll("main *")].filter(e => e.getClientRects().length).map(e => {
             const box = e.getBoundingClientRect();
             return [e.tagName, box.left, box.right];
           })"""
    )
    assert [box for box in boxes if box[1] < -0.5 or box[2] > width + 0.5] == []
    assert min(right - left for tag, left, right in boxes if tag == "IMG") >= 60
    assert browser.execute_script(TOO_WIDE) == []


def test_the_demo_on_a_phone_shows_every_picture_under_its_title(browser, pages):
    show(browser, pages, "demo", 400)
    cells = browser.execute_script(
        """return [...document.querySelectorAll("tbody tr:nth-child(2) > *")].map(e => [
             getComputedStyle(e, "::before").content.slice(1, -1), e.querySelector("img")?.offsetWidth ?? 0])"""
    )
    titles = ["Predicted", "Image", "Saliency", "SmoothGrad", "Guided saliency", "Grad-CAM"]
    assert [title for title, _ in cells] == titles
    assert min(width for _, width in cells[1:]) >= 140
    # For a screen reader it is a table still.
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = [node["role"]["value"] for node in tree]
    assert [roles.count(role) for role in ("table", "row", "rowheader", "cell")] == [1, 11, 10, 50]


@each_page
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_of_every_text(browser, pages, name, scheme):
    show(browser, pages, name, scheme=scheme)
    contrasts = browser.execute_script(CONTRASTS)
    assert len(contrasts) > 40
    assert [(round(ratio, 2), what) for ratio, what in contrasts if ratio < 4.5] == []
    page = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", page))) < 200) == (scheme == "dark")


@each_page
def test_every_picture_has_a_text_and_every_control_a_name(browser, pages, name):
    show(browser, pages, name)
    texts = browser.execute_script("return [...document.images].map(i => i.alt)")
    assert all(texts)
    assert len(set(texts)) >= 10
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    controls = [node for node in tree if node["role"]["value"] in ("link", "button", "combobox", "image")]
    assert all(node["name"]["value"].strip() for node in controls)
    assert browser.find_element("tag name", "html").get_attribute("lang") == "en"


@each_page
def test_the_keyboard_reaches_what_the_mouse_does_and_shows_where_it_is(browser, pages, name):
    from selenium.webdriver import ActionChains, Keys

    show(browser, pages, name)
    clickable = browser.execute_script("return document.querySelectorAll('a, button:enabled, select').length")
    assert clickable >= 1
    for number in range(min(clickable, 12)):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        place, outline = browser.execute_script(
            """const e = document.activeElement;
               return [[...document.querySelectorAll("a, button:enabled, select")].indexOf(e),
                       getComputedStyle(e).outlineStyle]"""
        )
        assert (place, outline) == (number, "solid")


@each_page
def test_prints(browser, pages, name):
    show(browser, pages, name, scheme="dark")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    paper = {"width": 700, "height": 1000, "deviceScaleFactor": 1, "mobile": False}  # of A4 between its margins
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", paper)
    state = browser.execute_script(
        """const style = (selector) => getComputedStyle(document.querySelector(selector));
           return [style("body").backgroundColor, document.scrollingElement.scrollWidth,
                   style(".bar i").printColorAdjust, style("main li, main tr").breakInside,
                   [...document.querySelectorAll("nav, button, select")].some(e => e.getClientRects().length)]"""
    )
    assert state[0] == "rgb(255, 255, 255)"
    assert state[1] <= 700
    assert state[2:] == ["exact", "avoid", False]
    assert [what for what in browser.execute_script(CONTRASTS) if what[0] < 4.5] == []
    assert browser.execute_script(TOO_WIDE) == []
