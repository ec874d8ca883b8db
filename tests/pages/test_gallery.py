"""The gallery: its file, and what a person sees of it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from vis.pages import gallery

COUNT = 450
SMALL = "no. 1 # <i>&ö'?.png"
NASTY = "</script><script>document.title = 'run'</script>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """450 cards, every ninth of which is misclassified and has a map of the predicted class; with one special image."""
    folder = tmp_path_factory.mktemp("gallery")
    rng = np.random.default_rng(0)
    (folder / "maps").mkdir()
    for name, size in ((SMALL, 28), ("maps/large.png", 300), ("maps/large.predicted.png", 200)):
        Image.fromarray(rng.integers(0, 255, (size, size), np.uint8)).save(folder / name)
    (folder / "gone.png").touch()
    scores = rng.permutation(np.linspace(0.2, 0.99, COUNT))
    cards = [
        gallery.Card(
            row,
            folder / ("gone.png" if row == 9 else SMALL),
            folder / "maps" / "large.png",
            row % 10,
            (row + (row % 9 == 0)) % 10,
            float(scores[row]),
            folder / "maps" / "large.predicted.png" if row % 9 == 0 else None,
        )
        for row in range(COUNT)
    ]
    path = folder / "gallery.html"
    assert sum(gallery.write(path, cards, title=NASTY, explained="What & why <b>.")) == COUNT
    return path, cards


@pytest.fixture
def opened(browser, page):
    browser.get(page[0].as_uri())
    return browser


def shown(browser, name):
    """The text of one field of every card, in order."""
    return browser.execute_script(f"return [...document.querySelectorAll('.card .{name}')].map(e => e.textContent)")


def wrongest(cards):
    """The order that a page begins with: from confidently wrong over unsure to confidently right."""
    wrong = sorted((card for card in cards if card.label != card.predicted), key=lambda card: -card.score)
    return wrong + sorted((card for card in cards if card.label == card.predicted), key=lambda card: card.score)


def choose(browser, name, value):
    browser.find_element("css selector", f"#{name} option[value='{value}']").click()


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


def test_the_confidently_wrong_come_first_on_pages_of_200(opened, page):
    rows = []
    for number, place in enumerate(("1–200 of 450", "201–400 of 450", "401–450 of 450")):
        assert opened.find_element("id", "position").text == place
        rows += map(int, shown(opened, "row"))
        assert opened.find_element("id", "next").is_enabled() == (number < 2)
        if number < 2:
            click(opened, "next")
    assert rows == [card.row for card in wrongest(page[1])]
    click(opened, "previous")
    assert shown(opened, "row") == [str(card.row) for card in wrongest(page[1])[200:400]]


def test_each_card_tells_of_its_own_image(opened, page):
    cards = wrongest(page[1])[:200]
    assert shown(opened, "predicted") == [str(card.predicted) for card in cards]
    assert shown(opened, "label") == [str(card.label) for card in cards]
    assert shown(opened, "number") == [f"{card.score:.3f}" for card in cards]
    wrong = opened.execute_script("return [...document.querySelectorAll('.card')].map(e => e.className)")
    assert wrong == ["card wrong" if card.label != card.predicted else "card right" for card in cards]


def test_the_pictures_are_drawn(opened, page):
    opened.execute_async_script(
        "Promise.all([...document.images].map(i => i.decode().catch(() => 0))).then(arguments[0])"
    )
    sizes = opened.execute_script("return [...document.images].map(i => [i.className, i.naturalWidth])")
    expected = []
    for card in wrongest(page[1])[:200]:
        expected.append(["original", 0] if card.row == 9 else ["original small", 28])
        expected += [["map", 160]] * (2 if card.predicted_picture else 1)
    assert ["original", 0] in expected
    assert sizes == expected


def test_a_misclassified_card_has_the_maps_of_both_classes_and_links_to_every_file(opened, page):
    first, last = opened.find_elements("class name", "card")[0], opened.find_elements("class name", "card")[-1]
    card = wrongest(page[1])[0]
    files = [card.original, card.picture, card.predicted_picture]
    links = first.find_elements("tag name", "a")
    captions = ["image", f"map of {card.label} (true)", f"map of {card.predicted} (predicted)"]
    assert [link.text for link in links] == captions
    assert [link.get_property("href") for link in links] == [file.as_uri().replace("'", "%27") for file in files]
    assert [link.text for link in last.find_elements("tag name", "a")] == ["image", "map"]
    assert not re.search(re.escape(str(page[0].parent)), page[0].read_text()), "links are relative"
    assert first.find_element("class name", "file").text == SMALL
    links[0].click()
    assert opened.execute_script("return [document.contentType, document.images[0].naturalWidth]") == ["image/png", 28]


def test_only_the_misclassified(opened, page):
    wrong = [card for card in wrongest(page[1]) if card.label != card.predicted]
    button = opened.find_element("id", "wrong")
    assert button.text == f"Misclassified {len(wrong)}"
    click(opened, "next")
    button.click()
    assert shown(opened, "row") == [str(card.row) for card in wrong]
    assert opened.find_element("id", "position").text == "1–50 of 50"
    click(opened, "all")
    assert len(shown(opened, "row")) == 200


def rows_where(page, **fields):
    return [str(card.row) for card in wrongest(page[1]) if all(getattr(card, name) == fields[name] for name in fields)][
        :200
    ]


def test_only_a_class(opened, page):
    options = [option.text for option in opened.find_elements("css selector", "#label option")]
    assert options == ["any", *(f"{label} (45)" for label in range(10))]
    choose(opened, "label", 3)
    assert shown(opened, "row") == rows_where(page, label=3)
    choose(opened, "predicted", 4)
    assert shown(opened, "row") == rows_where(page, label=3, predicted=4)
    assert opened.find_element("id", "confusion").get_property("value") == "3 4"
    choose(opened, "label", "")
    assert shown(opened, "row") == rows_where(page, predicted=4)
    choose(opened, "label", 9)
    assert shown(opened, "row") == []
    assert opened.find_element("id", "none").is_displayed()
    assert opened.find_element("id", "position").text == "0 images"


def test_only_a_pair_of_classes_that_are_confused(opened, page):
    pairs = [option.get_property("value") for option in opened.find_elements("css selector", "#confusion option")]
    assert sorted(pairs) == sorted(["", *(f"{label} {(label + 1) % 10}" for label in range(10))])
    assert opened.find_element("css selector", "#confusion option[value='9 0']").text == "9 as 0 (5)"
    choose(opened, "confusion", "9 0")
    assert shown(opened, "row") == rows_where(page, label=9, predicted=0)
    values = [opened.find_element("id", name).get_property("value") for name in ("label", "predicted")]
    assert values == ["9", "0"]
    click(opened, "all")
    assert opened.find_element("id", "confusion").get_property("value") == ""
    assert len(shown(opened, "row")) == 200


def test_the_most_frequent_confusion_is_listed_first(browser, page, tmp_path):
    pairs = [(1, 2), (3, 4), (3, 4), (3, 4), (5, 6), (5, 6), (7, 7)]
    cards = [page[1][0]._replace(row=row, label=a, predicted=b) for row, (a, b) in enumerate(pairs)]
    sum(gallery.write(tmp_path / "g.html", cards, title="t", explained="e"))
    browser.get((tmp_path / "g.html").as_uri())
    options = [option.text for option in browser.find_elements("css selector", "#confusion option")]
    assert options == ["any", "3 as 4 (3)", "5 as 6 (2)", "1 as 2 (1)"]


def test_classes_by_name(browser, page, tmp_path):
    cards = [page[1][9], page[1][0], page[1][8]]  # 9 predicted as 0, 0 as 1, 8 as 8
    names = ["cat", NASTY, *"cdefgh", "i"]
    sum(gallery.write(tmp_path / "g.html", cards, title="t", explained="e", names=names))
    browser.get((tmp_path / "g.html").as_uri())
    choose(browser, "order", "row")
    assert shown(browser, "label") == ["0 cat", "8 i", "9"]
    assert shown(browser, "predicted") == [f"1 {NASTY}", "8 i", "0 cat"]
    assert [option.text for option in browser.find_elements("css selector", "#label option")] == [
        "any", "0 cat (1)", "8 i (1)", "9 (1)",
    ]  # fmt: skip
    assert "map of 0 cat (true)" in browser.find_element("class name", "pictures").text
    assert browser.get_log("browser") == []


def test_by_keyboard_alone(opened, page):
    from selenium.webdriver import ActionChains, Keys

    def press(*keys):
        ActionChains(opened).send_keys(*keys).perform()
        return opened.execute_script("return document.activeElement.id || document.activeElement.textContent")

    reached = [press(Keys.TAB) for _ in range(7)]
    # The button of the previous page cannot be pressed on the first one.
    assert reached == ["all", "wrong", "label", "predicted", "confusion", "order", "next"]
    assert press(Keys.ENTER) == "next"
    assert press(Keys.SPACE) == "previous", "a button that cannot be pressed any more hands the focus on"
    assert opened.find_element("id", "position").text == "401–450 of 450"
    assert press(Keys.TAB) == "image"
    assert press(Keys.TAB) == "map"
    outline = opened.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


@pytest.mark.parametrize(
    ("order", "key"),
    [("surest", lambda c: -c.score), ("unsurest", lambda c: c.score), ("row", lambda c: c.row)],
)
def test_other_orders(opened, page, order, key):
    choose(opened, "order", order)
    assert shown(opened, "row") == [str(card.row) for card in sorted(page[1], key=key)[:200]]


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


def test_without_labels_there_is_nothing_to_misclassify(browser, page, tmp_path):
    cards = [card._replace(label=None) for card in page[1][:3]]
    sum(gallery.write(tmp_path / "g.html", cards, title="t", explained="e"))
    browser.get((tmp_path / "g.html").as_uri())
    assert len(shown(browser, "row")) == 3
    assert shown(browser, "label") == []
    assert browser.find_elements("css selector", "#wrong, #label, #confusion, [value=wrongest]") == []
    choose(browser, "predicted", cards[2].predicted)
    assert shown(browser, "row") == ["2"]
    assert browser.get_log("browser") == []


def test_a_regressor_has_scores_but_no_classes(browser, page, tmp_path):
    cards = [page[1][i]._replace(label=None, predicted=None, score=score) for i, score in enumerate((-12.25, 3.5))]
    sum(gallery.write(tmp_path / "g.html", cards, title="t", explained="e", probabilities=False))
    browser.get((tmp_path / "g.html").as_uri())
    assert shown(browser, "number") == ["3.500", "-12.25"]
    assert shown(browser, "predicted") == []
    assert browser.find_elements("id", "predicted") == []


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
    fields = zip(*(shown(browser, name) for name in ("row", "predicted", "number")), strict=True)
    told = {int(row): rest for row, *rest in fields}
    assert sorted(told) == [1, 2, 3, 4, 5, 6]
    for row, of_row in zip(range(1, 7), scores, strict=True):
        assert told[row][0] == str(of_row.argmax())
        assert float(told[row][1]) == pytest.approx(of_row.max(), abs=1e-3)
    click(browser, "wrong")
    place = shown(browser, "row").index("6")
    links = browser.find_elements("class name", "card")[place].find_elements("tag name", "a")
    names = [link.get_property("href").rpartition("cam/")[2] for link in links]
    assert names[1:] == ["0000/6.png", "0000/6.predicted.png"]
    # Its image is that of row 1, whose map explains the class that is predicted for both.
    assert (
        (tmp_path / "cam" / "0000" / "6.predicted.png").read_bytes()
        == (tmp_path / "cam" / "0000" / "1.png").read_bytes()
        != (tmp_path / "cam" / "0000" / "6.png").read_bytes()
    )
    assert not (tmp_path / "cam" / "0000" / "1.predicted.png").exists()


@pytest.fixture
def parts(page, tmp_path, monkeypatch):
    """The same cards in files of 200: three of them, the first of which is the page."""
    monkeypatch.setattr(gallery, "CARDS_PER_FILE", 200)
    path = tmp_path / "cam.html"
    assert sum(gallery.write(path, iter(page[1]), title="Parts", explained="e")) == COUNT
    return path, page[1]


def test_many_cards_are_several_linked_files_in_one_order(browser, parts):
    path, cards = parts
    rows, visited = [], []
    browser.get(path.as_uri())
    for part in range(1, 4):
        visited.append(browser.current_url)
        assert browser.find_element("css selector", "#parts b").text == str(part)
        assert "450 images, 88.9 % of them predicted correctly" in browser.find_element("tag name", "main").text
        rows += map(int, shown(browser, "row"))
        links = browser.find_elements("css selector", "#parts a")
        assert [link.text for link in links] == [number for number in "123" if number != str(part)]
        picture = browser.find_element("css selector", ".pictures a")
        picture = browser.execute_async_script(
            "const done = arguments[1]; arguments[0].querySelector('img').decode().then(() => done(arguments[0].href))",
            picture,
        )
        assert picture.startswith(cards[0].original.parent.as_uri())
        if part < 3:
            next(link for link in links if link.text == str(part + 1)).click()
    assert rows == [card.row for card in wrongest(cards)]
    assert visited == [each.as_uri() for each in (path, *(path.parent / "cam" / f"page-{n}.html" for n in (2, 3)))]
    assert browser.get_log("browser") == []


def test_files_of_an_earlier_page_of_more_cards_go(parts):
    path, cards = parts
    (path.parent / "cam" / "page-notes.html").touch()
    sum(gallery.write(path, cards[:250], title="Parts", explained="e"))
    assert sorted(file.name for file in (path.parent / "cam").iterdir()) == ["page-2.html", "page-notes.html"]
    sum(gallery.write(path, cards[:10], title="Parts", explained="e"))
    assert [file.name for file in (path.parent / "cam").iterdir()] == ["page-notes.html"]
    assert "Part 1 of" not in path.read_text()


def test_a_file_of_a_thousand_links_to_a_few():
    files = [f"{number}.html" for number in range(1000)]
    assert [number for number, _ in gallery._linked(files, 499)] == [1, 497, 498, 499, 500, 501, 502, 503, 1000]
    assert [number for number, _ in gallery._linked(files, 0)] == [1, 2, 3, 4, 1000]
