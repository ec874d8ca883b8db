"""The gallery, as a person sees it: opened from disk in Chromium."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from vis.pages import gallery

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1400,1000"
).split()
in_chromium = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER), reason="needs Debian's packages chromium and chromium-driver"
)

COUNT = 450
NASTY = "</script><script>document.title = 'run'</script>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """450 cards, every ninth of which is misclassified; with two that are special."""
    folder = tmp_path_factory.mktemp("gallery")
    rng = np.random.default_rng(0)
    for name, size in (("small", 28), ("large", 300)):
        Image.fromarray(rng.integers(0, 255, (size, size), np.uint8)).save(folder / f"{name}.png")
    (folder / "gone.png").touch()
    scores = rng.permutation(np.linspace(0.2, 0.99, COUNT))
    cards = [
        gallery.Card(
            row,
            folder / ("gone.png" if row == 7 else "small.png"),
            folder / "large.png",
            row % 10,
            (row + (row % 9 == 0)) % 10,
            float(scores[row]),
        )
        for row in range(COUNT)
    ]
    path = folder / "gallery.html"
    assert sum(gallery.write(path, cards, title=NASTY, explained="What & why <b>.")) == COUNT
    return path, cards


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    driver.set_script_timeout(300)
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, page):
    browser.get(page[0].as_uri())
    return browser


def shown(browser, name):
    """The text of one field of every card, in order."""
    return browser.execute_script(f"return [...document.querySelectorAll('.card .{name}')].map(e => e.textContent)")


def click(browser, name):
    browser.find_element("id", name).click()


def test_everything_is_in_the_file(page):
    text = page[0].read_text()
    assert not re.search(r"https?:|src=[\"'](?!data:)|<link|@import|url\(", text)
    assert "default-src 'none'" in text
    assert [path.name for path in page[0].parent.glob("*.html*")] == ["gallery.html"]


def test_texts_are_escaped(page):
    text = page[0].read_text()
    assert NASTY not in text
    assert "What &amp; why &lt;b&gt;." in text


@in_chromium
def test_the_surest_come_first_on_pages_of_200(opened, page):
    surest = sorted(page[1], key=lambda card: -card.score)
    rows = []
    for number, count in enumerate((200, 200, 50), start=1):
        assert opened.find_element("id", "position").text == f"Page {number} of 3"
        assert len(shown(opened, "row")) == count
        rows += map(int, shown(opened, "row"))
        assert opened.find_element("id", "next").is_enabled() == (number < 3)
        if number < 3:
            click(opened, "next")
    assert rows == [card.row for card in surest]
    click(opened, "previous")
    assert shown(opened, "row") == [str(card.row) for card in surest[200:400]]


@in_chromium
def test_each_card_tells_of_its_own_image(opened, page):
    cards = sorted(page[1], key=lambda card: -card.score)[:200]
    assert shown(opened, "predicted") == [str(card.predicted) for card in cards]
    assert shown(opened, "label") == [str(card.label) for card in cards]
    assert shown(opened, "score") == [f"{card.score:.3f}" for card in cards]
    wrong = opened.execute_script("return [...document.querySelectorAll('.card')].map(e => e.className)")
    assert wrong == ["card wrong" if card.label != card.predicted else "card right" for card in cards]


@in_chromium
def test_the_pictures_are_drawn(opened, page):
    opened.execute_async_script(
        "Promise.all([...document.images].map(i => i.decode().catch(() => 0))).then(arguments[0])"
    )
    sizes = opened.execute_script("return [...document.images].map(i => [i.className, i.naturalWidth])")
    gone = [card.row for card in sorted(page[1], key=lambda card: -card.score)[:200]].index(7)
    expected = [["original small", 28], ["map", 160]] * 200
    expected[2 * gone] = ["original", 0]
    assert sizes == expected


@in_chromium
def test_only_the_misclassified(opened, page):
    wrong = sorted((card for card in page[1] if card.label != card.predicted), key=lambda card: -card.score)
    button = opened.find_element("id", "wrong")
    assert button.text == f"Misclassified {len(wrong)}"
    click(opened, "next")
    button.click()
    assert shown(opened, "row") == [str(card.row) for card in wrong]
    assert opened.find_element("id", "position").text == "Page 1 of 1"
    click(opened, "all")
    assert len(shown(opened, "row")) == 200


@in_chromium
@pytest.mark.parametrize(("order", "key"), [("unsurest", lambda c: c.score), ("row", lambda c: c.row)])
def test_other_orders(opened, page, order, key):
    opened.find_element("css selector", f"#order option[value={order}]").click()
    assert shown(opened, "row") == [str(card.row) for card in sorted(page[1], key=key)[:200]]


@in_chromium
def test_no_script_of_the_data_s_runs_and_nothing_fails(opened):
    assert opened.title == NASTY
    assert opened.find_element("tag name", "h1").text == NASTY
    assert opened.get_log("browser") == []
    assert (
        opened.execute_script(
            "return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:'))"
        )
        == []
    )


@in_chromium
def test_without_labels_there_is_nothing_to_misclassify(browser, page, tmp_path):
    cards = [card._replace(label=None) for card in page[1][:3]]
    sum(gallery.write(tmp_path / "g.html", cards, title="t", explained="e"))
    browser.get((tmp_path / "g.html").as_uri())
    assert len(shown(browser, "row")) == 3
    assert shown(browser, "label") == []
    assert browser.find_elements("id", "wrong") == []
    assert browser.get_log("browser") == []


@in_chromium
def test_a_regressor_has_scores_but_no_classes(browser, page, tmp_path):
    cards = [page[1][i]._replace(label=None, predicted=None, score=score) for i, score in enumerate((-12.25, 3.5))]
    sum(gallery.write(tmp_path / "g.html", cards, title="t", explained="e", probabilities=False))
    browser.get((tmp_path / "g.html").as_uri())
    assert shown(browser, "score") == ["3.500", "-12.25"]
    assert shown(browser, "predicted") == []


@in_chromium
def test_the_command_s_gallery(browser, digits, digit_model, tmp_path):
    from typer.testing import CliRunner

    from vis.cli import app

    digit_model.save(tmp_path / "m.keras")
    rows = ["x:image,y:label", "none.png,1"]
    for number, pixels in enumerate(digits.x_test[::200]):
        Image.fromarray(np.round(pixels[..., 0] * 255).astype(np.uint8)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{digits.y_test[200 * number]}")
    (tmp_path / "in.csv").write_text("\n".join([*rows, f"0.png,{(digits.y_test[0] + 1) % 10}"]))
    arguments = ["--model", "m.keras", "--input", "in.csv", "--output", "cam.csv"]
    arguments = [str(tmp_path / each) if not each.startswith("--") else each for each in arguments]
    result = CliRunner().invoke(app, ["gradcam-batch", *arguments, "--html"])
    assert result.exit_code == 1
    browser.get((tmp_path / "cam.html").as_uri())
    assert "1 row could not be explained: see cam.csv.errors.csv." in browser.page_source
    x = digits.x_test[[0, 200, 400, 600, 800, 0]]
    scores = digit_model.predict(x, verbose=0)
    fields = zip(*(shown(browser, name) for name in ("row", "predicted", "score")), strict=True)
    told = {int(row): rest for row, *rest in fields}
    assert sorted(told) == [1, 2, 3, 4, 5, 6]
    for row, of_row in zip(range(1, 7), scores, strict=True):
        assert told[row][0] == str(of_row.argmax())
        assert float(told[row][1]) == pytest.approx(of_row.max(), abs=1e-3)
    click(browser, "wrong")
    assert "6" in shown(browser, "row")
