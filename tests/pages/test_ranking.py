"""The page of ranked training images: its file, and what a person sees of it."""

from __future__ import annotations

import re

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vis.influence import rank
from vis.pages import ranking

#: Five trials of six images: two harmful and two helpful ones, of which one each is noise, a faint one, and none.
SCORES = np.array([[-0.02], [-0.05], [0.004], [0.03], [1e-5], [0.0]])
MARGINS = np.array([0.001, 0.06, 0.0039, 0.031, 9e-6, 0.0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranking")
    for number in range(6):
        Image.new("L", (8, 8), 40 * number).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def ranked(folder):
    cells = pd.DataFrame({"x:image": [f"{number}.png" for number in range(6)], "y": ["0", "1.0", "2", "0", "1", "2"]})
    return rank(SCORES[:, 0], cells)


def written(path, ranked, folder, **options):
    ranking.write(path, ranked, folder, "x:image", options.pop("label", "y"), **options)
    return path


@pytest.fixture
def page(browser, ranked, folder):
    order = ranked["datasource_index"].to_numpy()
    predicted = np.array([0, 2, 2, 0, 1, 0])[order]
    names = ["cat", "<b>dog</b>"]
    path = written(folder / "p.html", ranked, folder, names=names, predicted=predicted, margins=MARGINS[order])
    browser.get(path.as_uri())
    return browser


def texts(browser, selector):
    return [element.text for element in browser.find_elements("css selector", selector)]


def test_images_beyond_noise_stand_above_the_line_and_noise_below(page):
    assert texts(page, ".harmful:not(.noise) small") == ["row 0"]
    assert texts(page, ".harmful.noise small") == ["row 1"]
    assert texts(page, ".helpful:not(.noise) small") == ["row 2", "row 4"]
    assert texts(page, ".helpful.noise small") == ["row 3"]
    assert texts(page, "h3") == ["Scores below this line are noise"] * 2
    place = [element.rect["y"] for element in page.find_elements("css selector", "ol, h3")]
    assert place == sorted(place)
    words = page.find_element("tag name", "main").text
    assert "4 of the 6 scores are not noise by this rule" in words  # with that of no influence and no margin
    assert "lowers the validation loss: 2 images, 1 of them beyond noise; 2 are shown" in words
    assert "raises the validation loss: 3 images, 2 of them beyond noise; 3 are shown" in words


def test_all_scores_are_written_in_one_unit(page):
    assert "in units of 10−3" in page.find_element("css selector", "main > p").text
    told = dict(zip(texts(page, "small"), texts(page, ".score"), strict=True))
    assert told == {
        "row 0": "−20.00 ± 1.00",
        "row 1": "−50.00 ± 60.00",
        "row 2": "+4.00 ± 3.90",
        "row 4": "+0.01 ± 0.01",
        "row 3": "+30.00 ± 31.00",
    }


def test_each_bar_is_as_long_as_its_score_is_large(page):
    widths = page.execute_script(
        "return [...document.querySelectorAll('.bar')].map(e => e.firstChild.offsetWidth / e.offsetWidth)"
    )
    np.testing.assert_allclose(widths, [0.4, 1, 0.08, 0, 0.6], atol=0.01)


def test_the_predicted_class_stands_beside_the_label_by_name(page):
    labels = dict(zip(texts(page, "small"), texts(page, ".label"), strict=True))
    predicted = dict(zip(texts(page, "small"), texts(page, ".predicted"), strict=True))
    dog = "1 <b>dog</b>"
    assert labels == {"row 0": "0 cat", "row 1": dog, "row 2": "2", "row 4": dog, "row 3": "0 cat"}
    assert predicted == {**labels, "row 1": "2"}
    assert texts(page, ".otherwise") == ["2"]


def test_each_picture_links_to_its_file(page, folder):
    page.find_element("css selector", ".harmful a").click()
    assert page.current_url == (folder / "0.png").as_uri()


def test_a_single_run_tells_nothing_of_noise(browser, ranked, folder):
    for name, margins in (("a.html", None), ("b.html", np.full(6, np.nan))):
        browser.get(written(folder / name, ranked, folder, margins=margins).as_uri())
        assert texts(browser, "h3") == []
        assert "cannot show how much of them is noise" in browser.find_element("tag name", "main").text
        assert texts(browser, ".score") == ["−50.00", "−20.00", "+30.00", "+4.00", "+0.01"]
        assert texts(browser, ".predicted") == []


def test_those_beyond_noise_are_shown_first(browser, ranked, folder):
    order = ranked["datasource_index"].to_numpy()
    browser.get(written(folder / "few.html", ranked, folder, shown=1, margins=MARGINS[order]).as_uri())
    assert texts(browser, "small") == ["row 0", "row 2"]


def test_labels_of_several_columns_are_a_class_or_numbers(ranked, folder):
    two = ranked.assign(y__0=["0", "1", "0.5", "0", "0", "1"], y__1=["1", "0", "0.5", "1", "1", "0"])
    page = written(folder / "two.html", two, folder, label=["y__0", "y__1"]).read_text(encoding="utf-8")
    shown = dict(zip(re.findall(r"row (\d)<", page), re.findall(r'class="label">([^<]+)<', page), strict=True))
    expected = {
        str(row): "0.5, 0.5" if a == "0.5" else b
        for row, a, b in zip(two["datasource_index"], two["y__0"], two["y__1"], strict=True)
        if row != 5
    }
    assert shown == expected


@pytest.mark.parametrize(
    ("largest", "told"),
    [
        (1234.5, "−1.234"),
        (123.45, "−123.5"),
        (2.0, "−2.000"),
        (0.347, "−347.0"),
        (0.0208, "−20.80"),
        (9.9e-7, "−990.0"),
    ],
)
def test_the_largest_score_has_four_digits(ranked, folder, largest, told):
    scaled = ranked.assign(influence=ranked["influence"] * (largest / 0.05))
    page = written(folder / "n.html", scaled, folder).read_text(encoding="utf-8")
    assert re.search(r'class="score">([^<]+)<', page)[1] == told


def test_no_score_at_all(folder):
    nothing = rank([0.0], pd.DataFrame({"x:image": ["0.png"], "y": ["0"]}))
    page = written(folder / "none.html", nothing, folder, margins=np.zeros(1)).read_text(encoding="utf-8")
    assert page.count("the validation loss: 0 images") == 2


def test_the_command_s_page(browser, tmp_path):
    from typer.testing import CliRunner

    from vis.batch.compiled import Compiled, training_of
    from vis.batch.influence_trials import margins, score
    from vis.cli import app

    rng = np.random.default_rng(0)
    x = np.round(rng.random((20, 4, 4, 1)) * 255) / 255
    y = (x.mean(axis=(1, 2, 3)) > 0.5).astype(int)
    for number, pixels in enumerate(x):
        Image.fromarray(np.round(pixels[..., 0] * 255).astype(np.uint8)).save(tmp_path / f"{number}.png")
    # The second row cannot be read, so that rows and examples are numbered differently.
    rows = ["x:image,y:label", *(f"{number}.png,{label}" for number, label in enumerate(y))]
    (tmp_path / "train.csv").write_text("\n".join([*rows[:2], "none.png,0", *rows[2:]]))
    (tmp_path / "val.csv").write_text("\n".join(rows[:9]))
    output = keras.layers.Dense(2, "softmax", kernel_initializer=keras.initializers.HeNormal(seed=3))
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), output])
    model.save(tmp_path / "m.keras")
    arguments = ["--model", "m.keras", "--input-train", "train.csv", "--input-val", "val.csv", "--output", "i.csv"]
    arguments = [str(tmp_path / each) if not each.startswith("--") else each for each in arguments]
    settings = ["--n-trials", "3", "--batch-size", "4", "--html"]
    assert CliRunner().invoke(app, ["influence", *arguments, *settings]).exit_code == 1

    browser.get((tmp_path / "i.html").as_uri())
    rows = [int(text.removeprefix("row ")) for text in texts(browser, "small")]
    assert sorted(rows) == [0, *range(2, 21)]
    examples = [max(row - 1, 0) for row in rows]
    predicted = model.predict(x, verbose=0).argmax(axis=1)
    assert texts(browser, ".label") == [str(y[example]) for example in examples]
    assert texts(browser, ".predicted") == [str(predicted[example]) for example in examples]
    training = training_of(Compiled(), batch_size=4)
    scores = score(model, Compiled(), x, y, x[:8], y[:8], training=training, n_trials=3, progress=False)
    told = np.array([text.replace("−", "-").split(" ± ") for text in texts(browser, ".score")], float)
    unit = 10.0 ** int((texts(browser, "main > p sup") or ["0"])[0].replace("−", "-"))
    expected = np.stack([scores.influence.mean(axis=0), margins(scores.influence)], axis=1)[examples]
    np.testing.assert_allclose(told * unit, expected, rtol=0.02, atol=unit / 100)
