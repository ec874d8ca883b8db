"""The page of wrong labels: its file, and what a person sees of it."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vis.pages import label_errors

#: Five images, of which two are errors; and the cells of a table.
FOUND = pd.DataFrame(
    {
        "datasource_index": [4, 0, 7, 2, 1],
        "label": [1, 0, 1, 0, 2],
        "suggested_label": [0, 1, 1, 0, 2],
        "is_error": [True, True, False, False, False],
        "score": [0.9951, 0.75, 0.5, 0.25, 0.0],
        "confidence": [0.0001, 0.0314, 0.4, 0.9, 0.9999],
        "x:image": [f"{row}.png" for row in (4, 0, 7, 2, 1)],
        **{f"x__{column}": [f"{column}.{row}" for row in range(5)] for column in range(8)},
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("errors")
    for number in range(8):
        Image.new("L", (8, 8), 30 * number).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def page(browser, folder):
    label_errors.write(folder / "p.html", FOUND, folder, image="x:image", names=["cat", "<b>dog</b>"])
    browser.get((folder / "p.html").as_uri())
    return browser


def texts(browser, selector):
    return [element.text for element in browser.find_elements("css selector", selector)]


def test_the_errors_stand_above_the_line_and_the_others_below(page):
    assert texts(page, ".errors .facts") == ["row 4\nscore 0.995", "row 0\nscore 0.750"]
    assert texts(page, ".others .facts") == ["row 7\nscore 0.500", "row 2\nscore 0.250", "row 1\nscore 0.000"]
    place = [element.rect["y"] for element in page.find_elements("css selector", ".errors, .cutoff, .others")]
    assert place == sorted(place)
    line = page.execute_script("return getComputedStyle(document.querySelector('.cutoff')).borderTopStyle")
    assert line == "dashed"
    words = page.find_element("tag name", "main").text
    assert "About 2 of the 5 training images are estimated to have a wrong label" in words
    assert "2 of 2 are shown." in words
    assert (
        "The estimated errors end at this line. 3 images are below it; the 3 with the highest scores are shown."
        in words
    )


def test_a_card_shows_the_label_the_suggestion_and_the_probability(page):
    assert texts(page, ".label") == ["1 <b>dog</b>", "0 cat", "1 <b>dog</b>", "0 cat", "2"]
    assert texts(page, ".suggested") == ["0 cat", "1 <b>dog</b>", "1 <b>dog</b>", "0 cat", "2"]
    assert texts(page, ".probability") == ["< 0.1 %", "3.1 %", "40.0 %", "90.0 %", "> 99.9 %"]
    widths = page.execute_script(
        "return [...document.querySelectorAll('.bar')].map(e => e.firstChild.offsetWidth / e.offsetWidth)"
    )
    np.testing.assert_allclose(widths, FOUND["score"], atol=0.01)


def test_the_pairs_of_labels_are_counted(page):
    assert texts(page, "tbody td") == ["0 cat", "1 <b>dog</b>", "1", "1 <b>dog</b>", "0 cat", "1"]


def test_each_picture_links_to_its_file(page, folder):
    page.find_element("css selector", ".errors a").click()
    assert page.current_url == (folder / "4.png").as_uri()


def test_as_many_are_shown_as_asked_for(folder):
    label_errors.write(folder / "few.html", FOUND, folder, image="x:image", shown=1, below=2)
    text = (folder / "few.html").read_text(encoding="utf-8")
    assert re.findall(r"<span>row (\d)<", text) == ["4", "7", "2"]
    assert "1 of 2 is shown." in text


def test_rows_of_a_table_show_their_first_cells(browser, folder):
    columns = [f"x__{column}" for column in range(8)]
    label_errors.write(folder / "table.html", FOUND, folder, columns=columns)
    browser.get((folder / "table.html").as_uri())
    assert texts(browser, ".errors li:first-child .cells dt") == columns[:6]
    assert texts(browser, ".errors li:first-child .cells dd") == [f"{column}.0" for column in range(6)]
    assert texts(browser, "img") == []
    assert "Each card shows the first columns only." in browser.find_element("tag name", "main").text


def test_there_may_be_no_error(browser, folder):
    label_errors.write(folder / "none.html", FOUND.assign(is_error=False), folder, image="x:image")
    browser.get((folder / "none.html").as_uri())
    words = browser.find_element("tag name", "main").text
    assert "About 0 of the 5 training images are" in words
    assert "None." in words
    assert texts(browser, "table") == []
