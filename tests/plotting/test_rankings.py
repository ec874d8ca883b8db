"""The figure of a ranking."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pandas as pd
import pytest

from vis.influence import rank
from vis.plotting import plot_influence


@pytest.fixture
def ranked():
    """Ten images, each of one gray, whose scores fall with their number."""
    return rank(np.linspace(1, -1, 10)), [np.full((4, 4), number / 10) for number in range(10)]


def test_the_extremes_are_shown_with_their_labels(ranked, tmp_path):
    table, images = ranked
    figure = plot_influence(table, images, list("abcdefghij"), shown=3)
    figure.savefig(tmp_path / "figure.png")
    titles = [axes.get_title() for axes in figure.axes[:6]]
    assert titles == ["j\n-1", "i\n-0.78", "h\n-0.56", "a\n1", "b\n0.78", "c\n0.56"]
    grays = [int(np.asarray(axes.get_images()[0].get_array())[0, 0].flat[0]) for axes in figure.axes[:6]]
    assert grays == [round(255 * number / 10) for number in (9, 8, 7, 0, 1, 2)]


def test_the_histogram_counts_every_score(ranked):
    table, _ = ranked
    (axes,) = plot_influence(table).axes
    assert sum(bar.get_height() for bar in axes.patches) == 10
    colors = {bar.get_facecolor() for bar in axes.patches if bar.get_x() + bar.get_width() / 2 < -0.1}
    assert colors.isdisjoint({bar.get_facecolor() for bar in axes.patches if bar.get_x() > 0.1})


def test_the_cleansing_curve_stands_beside_random_removal(ranked):
    table, images = ranked
    curve = pd.DataFrame({"removed": [0, 5, 10], "error": [0.2, 0.1, 0.15], "random": [0.2, 0.21, 0.24]})
    axes = plot_influence(table, images, cleansing=curve, shown=2).axes[-1]
    ours, random = axes.get_lines()
    np.testing.assert_allclose(ours.get_ydata(), curve["error"])
    np.testing.assert_allclose(random.get_ydata(), curve["random"])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["the most harmful", "at random"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"table": pd.DataFrame({"influence": [1.0]})},
            "table must have the columns influence, datasource_index, not only influence",
        ),
        (
            {"table": np.arange(10.0)},
            r"table must be a table from vis.influence.rank, not ndarray. Give rank\(scores\)",
        ),
        (
            {"cleansing": pd.DataFrame({"removed": [1]})},
            "cleansing must have the columns removed, error, random, not only removed",
        ),
        ({"images": [np.eye(3)]}, "images must have at least 10 elements, as table has example 9, not 1"),
        ({"shown": 0}, "shown must be a whole number of at least 1, not 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(ranked, change, words):
    with pytest.raises(ValueError, match=words):
        plot_influence(**{"table": ranked[0], "images": ranked[1], **change})


def test_a_notebook_shows_it_without_pyplot():
    figure = plot_influence(rank([0.5, -1.0, 0.0]))
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_the_numbers_below_the_histogram_do_not_overlap():
    curve = pd.DataFrame({"removed": [0, 5], "error": [0.2, 0.1], "random": [0.2, 0.21]})
    figure = plot_influence(rank(np.linspace(-3e-4, 5e-4, 50)), cleansing=curve)
    figure.savefig(io.BytesIO(), format="png")
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert len(boxes) > 2
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
