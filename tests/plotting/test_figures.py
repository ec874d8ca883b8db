"""Figures: their colours, their scales, and that nothing lies on top of anything else."""

from __future__ import annotations

import io
import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from vis import plotting
from vis.plotting.pictures import diverging_colormap

POSITIVE = np.random.default_rng(0).random((20, 30)).astype("float32")
SIGNED = np.random.default_rng(1).normal(size=(20, 30)).astype("float32")
IMAGE = np.random.default_rng(2).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def pixels(figure, dpi=100) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return np.asarray(Image.open(buffer).convert("RGB"))


def pictures(figure) -> list:
    """The axes that are no colour bars."""
    return [axes for axes in figure.axes if axes.images]


def inside(figure, axes) -> np.ndarray:
    """The pixels of some axes, without their frame."""
    picture = pixels(figure, dpi=400)
    box = axes.get_position()
    height, width = picture.shape[:2]
    left, right = round(box.x0 * width) + 3, round(box.x1 * width) - 3
    top, bottom = round((1 - box.y1) * height) + 3, round((1 - box.y0) * height) - 3
    return picture[top:bottom, left:right].astype(float)


def bars(figure) -> list:
    return [axes for axes in figure.axes if not axes.images]


def luminance(colors):
    return np.asarray(colors)[..., :3] @ [0.2126, 0.7152, 0.0722]


def test_zero_is_white_in_a_signed_map():
    heatmap = np.zeros((20, 30))
    heatmap[:10, :15], heatmap[10:, 15:] = 3.0, -1.0
    picture = pixels(plotting.show(None, heatmap, percentile=100, colorbar=False))
    height, width = picture.shape[:2]
    quarter = [picture[height * y // 4, width * x // 4].astype(int) for y, x in [(1, 1), (1, 3), (3, 3), (3, 1)]]
    np.testing.assert_array_equal(quarter[1], [255, 255, 255])
    np.testing.assert_array_equal(quarter[3], [255, 255, 255])
    red, blue = quarter[0], quarter[2]
    assert red[0] > red[2] + 50
    assert blue[2] > blue[0] + 50
    # 3 is farther from 0 than -1, and so is its colour.
    assert luminance(red) < luminance(blue)


def test_both_signs_are_told_apart_by_hue_and_their_size_by_lightness():
    colors = diverging_colormap()
    steps = np.linspace(0, 0.5, 100)
    for side in (0.5 + steps, 0.5 - steps):
        assert (np.diff(luminance(colors(side))) <= 1e-9).all()
    assert tuple(colors(0.5)) == (1, 1, 1, 1)
    np.testing.assert_allclose(luminance(colors(0.5 + steps)), luminance(colors(0.5 - steps)), atol=0.15)


def test_the_scale_ends_at_the_percentile_of_all_values():
    values = np.arange(1, 1001, dtype=float)
    scale = plotting.color_scale([values[:500], -values[500:]])
    assert (scale.vmin, scale.vmax) == (-np.percentile(values, 99), np.percentile(values, 99))
    assert plotting.color_scale([values], 100).vmin == 0


def test_a_lone_point_and_a_blank_map_have_a_scale():
    lone = np.zeros((20, 20))
    lone[2, 3] = 0.25
    assert plotting.color_scale([lone]).vmax == 0.25
    assert plotting.color_scale([np.zeros((4, 4))]).vmax == 1


def test_compared_maps_have_one_scale_and_one_bar():
    maps = {"one": POSITIVE, "ten times": 10 * POSITIVE}
    figure = plotting.compare(maps, IMAGE, percentile=100)
    limits = {axes.images[-1].get_clim() for axes in pictures(figure)[1:]}
    assert limits == {(0.0, float(10 * POSITIVE.max()))}
    assert [axes.get_title() for axes in pictures(figure)] == ["image", "one", "ten times"]
    assert len(bars(figure)) == 1


def normalized(heatmap):
    return heatmap / np.abs(heatmap).max()


def test_normalized_maps_are_compared_each_on_its_own_scale():
    """A few large values leave the rest of a normalized map near 0."""
    sparse = POSITIVE / 10
    sparse[:2, :3] = 1
    maps = {"Grad-CAM": normalized(POSITIVE), "guided": normalized(sparse), "signed": normalized(SIGNED)}
    axes = pictures(figure := plotting.compare(maps))
    for each, heatmap in zip(axes, maps.values(), strict=True):
        limit = np.percentile(np.abs(heatmap), 99)
        assert each.images[-1].get_clim() == pytest.approx((-limit if heatmap.min() < 0 else 0, limit))
    assert not bars(figure)
    together = pictures(plotting.compare(maps, shared=True))
    assert len({each.images[-1].get_clim() for each in together}) == 1

    def lightness(figure):
        return luminance(inside(figure, pictures(figure)[1])).mean()

    two = {name: maps[name] for name in ("Grad-CAM", "guided")}
    assert lightness(plotting.compare(two)) > 3 * lightness(plotting.compare(two, shared=True))


@pytest.mark.parametrize(
    ("count", "rows"), [(1, [1]), (4, [4]), (5, [5]), (6, [3, 3]), (7, [4, 3]), (9, [5, 4]), (11, [4, 4, 3])]
)
@pytest.mark.parametrize("make", ["compare", "grid"])
def test_no_picture_is_left_alone_in_a_row(make, count, rows):
    if make == "compare":
        figure = plotting.compare({str(number): POSITIVE for number in range(count - 1)} or {"0": POSITIVE}, IMAGE)
    else:
        figure = plotting.grid([IMAGE] * count)
    tops = [round(axes.get_position().y1, 4) for axes in pictures(figure)]
    expected = rows if make == "grid" or count > 1 else [2]
    assert [tops.count(top) for top in sorted(set(tops), reverse=True)] == expected


def test_maps_in_rows_of_their_own_hide_their_images_unless_an_opacity_is_asked_for():
    alone = plotting.grid([IMAGE], {"a": [POSITIVE[:5, :7]]})
    assert [len(axes.images) for axes in pictures(alone)] == [1, 1]
    assert pictures(alone)[1].images[0].get_array().shape == (20, 30)
    assert [len(axes.images) for axes in pictures(plotting.grid([IMAGE], {"a": [POSITIVE]}, alpha=0.5))] == [1, 2]
    assert [len(axes.images) for axes in pictures(plotting.compare({"a": POSITIVE}, IMAGE))] == [1, 1]
    assert [len(axes.images) for axes in pictures(plotting.compare({"a": POSITIVE}, IMAGE, alpha=1.0))] == [1, 2]


def test_one_signed_map_makes_all_of_them_signed():
    figure = plotting.compare({"positive": POSITIVE, "signed": SIGNED}, percentile=100)
    limit = float(np.abs(SIGNED).max())
    for axes in pictures(figure):
        assert axes.images[-1].get_clim() == (-limit, limit)
        assert axes.images[-1].cmap is diverging_colormap()


def test_maps_of_a_grid_have_their_own_scales_unless_shared():
    images, maps = [IMAGE] * 3, [POSITIVE, 2 * POSITIVE, 4 * POSITIVE]

    def limits(**options):
        figure = plotting.grid(images, maps, percentile=100, **options)
        return [axes.images[-1].get_clim()[1] / POSITIVE.max() for axes in pictures(figure)], len(bars(figure))

    assert limits() == ([1, 2, 4], 0)
    assert limits(shared=True) == ([4, 4, 4], 1)


def test_a_grid_of_methods_is_a_row_of_images_and_a_row_a_method():
    figure = plotting.grid([IMAGE] * 3, {"a": [POSITIVE] * 3, "b": [SIGNED] * 3}, list("xyz"), shared=True)
    axes = pictures(figure)
    assert [each.get_title() for each in axes] == ["x", "y", "z", "", "", "", "", "", ""]
    assert [each.get_ylabel() for each in axes] == ["", "", "", "a", "", "", "b", "", ""]
    assert len(bars(figure)) == 2
    lefts, tops = ({round(getattr(each.get_position(), side), 6) for each in axes} for side in ("x0", "y1"))
    assert len(lefts) == 3
    assert len(tops) == 3


def test_a_grid_of_methods_goes_on_below_where_columns_end():
    figure = plotting.grid([IMAGE] * 3, {"a": [POSITIVE] * 3}, list("xyz"), columns=2)
    assert [axes.get_title() for axes in pictures(figure)] == ["x", "y", "", "", "z", ""]
    assert [axes.get_ylabel() for axes in pictures(figure)] == ["", "", "a", "", "", "a"]


LONG = "the gradient of the probability of 'Leonberger' and of a_very_long_identifier_without_any_space $x^2"


@pytest.mark.parametrize("make", ["grid", "methods", "compare", "show"])
def test_nothing_overlaps_and_nothing_is_cut_off(make):
    figure = {
        "grid": lambda: plotting.grid([IMAGE] * 7, [SIGNED] * 7, [LONG, "short"] * 3 + [LONG], columns=3, shared=True),
        "methods": lambda: plotting.grid([IMAGE] * 2, {LONG: [SIGNED] * 2, "b": [POSITIVE] * 2}, [LONG] * 2),
        "compare": lambda: plotting.compare({LONG + str(i): SIGNED * 1e-4 for i in range(5)}, IMAGE, width=1.5),
        "show": lambda: plotting.show(IMAGE, SIGNED * 12345, LONG, width=1.5),
    }[make]()
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    boxes = []
    for axes in figure.axes:
        boxes.append(axes.get_window_extent(renderer))
        low, high = sorted(axes.get_ylim())
        ticks = [
            label for at, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True) if low <= at <= high
        ]
        texts = [axes.title, axes.yaxis.label, *ticks]
        boxes += [text.get_window_extent(renderer) for text in texts if text.get_text()]
    for one, other in itertools.combinations(boxes, 2):
        apart = one.x1 <= other.x0 + 1 or other.x1 <= one.x0 + 1 or one.y1 <= other.y0 + 1 or other.y1 <= one.y0 + 1
        assert apart, (one, other)
    for box in boxes:
        assert figure.bbox.x0 - 1 <= box.x0 <= box.x1 <= figure.bbox.x1 + 1
        assert figure.bbox.y0 - 1 <= box.y0 <= box.y1 <= figure.bbox.y1 + 1


def test_under_a_map_of_both_signs_the_image_has_no_colours_of_its_own():
    under = pictures(plotting.show(IMAGE, SIGNED))[0].images[0].get_array()
    np.testing.assert_array_equal(under, np.repeat(np.asarray(Image.fromarray(IMAGE).convert("L"))[..., None], 3, -1))


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_the_map_s_share_over_an_image_follows_the_map(value):
    heatmap = np.full((20, 30), value)
    heatmap[0, 0] = 1.0
    figure = plotting.show(np.full((20, 30, 3), 255, np.uint8), heatmap, alpha=0.25, percentile=100, colorbar=False)
    picture = pixels(figure)
    middle = picture[picture.shape[0] // 2, picture.shape[1] // 2]
    share = 0.25 * value
    expected = (1 - share) * 255 + share * 255 * np.array(matplotlib.colormaps["inferno"](value)[:3])
    np.testing.assert_allclose(middle, expected, atol=2)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("grays", [(0, 0), (255, 255), (0, 255)])
def test_the_colours_of_the_picture_are_those_of_the_bar(grays, sign, alpha):
    """Column by column a value, row by row a gray: each is in the bar at the value's height."""
    values = np.linspace(0, 1, 5)
    image = np.linspace(*grays, 3).round().astype(np.uint8)[:, None].repeat(5, axis=1)
    heatmap = np.tile(values, (3, 1))
    heatmap[0] *= sign
    figure = plotting.show(image, heatmap, alpha=alpha, percentile=100)
    picture, bar = (inside(figure, axes) for axes in (pictures(figure)[0], bars(figure)[0]))
    height, width = picture.shape[:2]
    low, high = bars(figure)[0].get_ylim()
    for row in range(3):
        for column in range(5):
            shown = picture[height * (2 * row + 1) // 6, width * (2 * column + 1) // 10]
            at = (heatmap[row, column] - low) / (high - low)
            near = round((1 - at) * (len(bar) - 1))
            beside = bar[max(near - 3, 0) : near + 4]
            assert np.abs(beside - shown).max(axis=-1).min() < 20, (row, column)
    # Where nothing matters bar and picture show the image.
    nothing = bar[round((1 - (0 - low) / (high - low)) * (len(bar) - 1))]
    np.testing.assert_allclose(nothing[[0, -1]], np.array(grays)[:, None].repeat(3, axis=1), atol=20)


def test_without_an_image_the_bar_has_the_map_s_colours():
    figure = plotting.show(None, POSITIVE, percentile=100)
    bar = inside(figure, bars(figure)[0])
    expected = matplotlib.colormaps["inferno"](np.linspace(1, 0, len(bar)))[:, :3] * 255
    np.testing.assert_allclose(bar[:, 9], expected, atol=9)


def test_a_small_map_grows_to_the_image_and_stays_in_its_place():
    heatmap = np.zeros((2, 3))
    heatmap[0, 2] = 1
    drawn = pictures(plotting.show(IMAGE, heatmap))[0].images[-1]
    assert drawn.get_array().shape == (20, 30)
    assert np.unravel_index(drawn.get_array().argmax(), (20, 30))[0] < 10
    assert drawn.get_array()[:10, 20:].mean() > 5 * drawn.get_array()[10:, :10].mean() + 0.3
    cubic = np.asarray(Image.fromarray(heatmap.astype("float32")).resize((30, 20), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(drawn.get_array(), np.clip(cubic, 0, 1))


@pytest.mark.parametrize("image", [IMAGE, Image.fromarray(IMAGE), IMAGE / 255, IMAGE.astype("float32")])
def test_an_image_in_any_of_the_usual_units(image):
    np.testing.assert_array_equal(pictures(plotting.show(image))[0].images[0].get_array(), IMAGE)


def test_a_preprocessed_image_is_stretched():
    drawn = pictures(plotting.show(IMAGE / 127.5 - 1))[0].images[0].get_array()
    np.testing.assert_allclose(drawn.astype(float), np.round((IMAGE - IMAGE.min()) / np.ptp(IMAGE) * 255), atol=1)


def test_colours_on_request():
    assert pictures(plotting.show(IMAGE, POSITIVE, colormap="jet"))[0].images[-1].cmap.name == "jet"
    assert pictures(plotting.show(IMAGE, POSITIVE))[0].images[-1].cmap.name == "inferno"


def test_a_notebook_shows_a_figure_once():
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    figure = plotting.show(IMAGE, POSITIVE)
    assert pyplot.get_fignums() == before
    assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("size", [(224, 230), (480, 640), (224, 224)])
def test_a_map_of_about_the_image_s_proportions_is_drawn(size):
    assert plotting.show(np.zeros(size), np.eye(7)).axes


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plotting.show(None), "image must be given if heatmap is None"),
        (lambda: plotting.show(IMAGE, np.zeros((2, 4, 4))), r"heatmap must have the shape .*, not \(2, 4, 4\)"),
        (lambda: plotting.show(np.zeros((3, 20, 30))), r"image must have the shape .*, not \(3, 20, 30\)"),
        (lambda: plotting.show(IMAGE, np.full((4, 4), np.nan)), "heatmap must be finite, not NaN or infinite"),
        (lambda: plotting.show(IMAGE, POSITIVE, alpha=2), "alpha must be from 0 to 1, not 2"),
        (lambda: plotting.show(IMAGE, POSITIVE, colormap="rainbow9"), "rainbow9"),
        (lambda: plotting.show(IMAGE, POSITIVE, percentile=0), "percentile must be above 0 and at most 100, not 0"),
        (lambda: plotting.show(IMAGE, POSITIVE, width=0), "width must be above 0, not 0"),
        (lambda: plotting.grid([]), "images must hold at least one image"),
        (
            lambda: plotting.grid([IMAGE], [POSITIVE] * 2),
            "heatmaps must have as many elements as there are images, 1, not 2",
        ),
        (
            lambda: plotting.grid([IMAGE], {"a": []}),
            "heatmaps must have as many elements under 'a' as there are images, 1, not 0",
        ),
        (
            lambda: plotting.grid([IMAGE], titles=["a", "b"]),
            "titles must have as many elements as there are images, 1, not 2",
        ),
        (lambda: plotting.grid([IMAGE], columns=0), "columns must be a whole number of at least 1, not 0"),
        (lambda: plotting.show(IMAGE, np.zeros((4, 30))), r"heatmap must .* of the image, \(20, 30\), not \(4, 30\)"),
        (lambda: plotting.grid([IMAGE], [np.zeros((4, 30))]), r"heatmaps must .* not \(4, 30\)"),
        (lambda: plotting.compare({"a": np.zeros((4, 30))}, IMAGE), r"maps must .* not \(4, 30\)"),
        (lambda: plotting.compare({}), "maps must hold at least one map"),
        (
            lambda: plotting.compare(IMAGE, {"a": POSITIVE}),
            "maps must be a dict of names and maps, not ndarray. Give the dict first",
        ),
        (lambda: plotting.compare(IMAGE, [POSITIVE]), "maps must be a dict of names and maps, not ndarray"),
        (lambda: plotting.compare({"a": POSITIVE}, columns=0), "columns must be a whole number of at least 1, not 0"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
