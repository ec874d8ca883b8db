"""The table of methods agrees with the functions it names, and with what is written about them."""

from __future__ import annotations

import inspect
import re
import runpy
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import vis
from vis import backprop_modifiers, grad_modifiers, methods
from vis.losses import Labels
from vis.methods import METHODS, Cost, Method, Option
from vis.plotting import styles
from vis.visualization import smoothgrad, visualize_cam, visualize_saliency

ROOT = Path(__file__).parent.parent
OPTIONS = [
    pytest.param(row, option, id=f"{row.name}-{option.name}") for row in METHODS.values() for option in row.options
]


def imported(code: str, cwd: Path = ROOT) -> set[str]:
    """The packages among those named here that a fresh interpreter has imported after running some code."""
    heavy = {"tensorflow", "keras", "numpy", "PIL", "matplotlib", "pandas"}
    code += f"\nimport sys; print(*({heavy!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_the_table_imports_nothing_heavy():
    assert imported("import vis.methods; vis.methods.METHODS") == set()
    assert imported("import numpy") == {"numpy"}


@pytest.mark.parametrize("row", METHODS.values(), ids=METHODS)
def test_a_row_names_a_public_function(row):
    function = methods.resolve(row.function)
    assert function.__name__ in vis.visualization.__all__
    assert list(inspect.signature(function).parameters)[:4] == ["model", "layer_idx", "filter_indices", "seed_input"]


@pytest.mark.parametrize(("row", "option"), OPTIONS)
def test_an_option_is_an_argument_with_the_same_default(row, option):
    function = styles.STYLES[row.draw] if option.draws else methods.resolve(row.function)
    default = inspect.signature(function).parameters[option.keyword].default
    assert option.default == default
    if option.default not in (None, methods.REQUIRED):
        option.check(option.default)


@pytest.mark.parametrize("row", METHODS.values(), ids=METHODS)
def test_maps_with_both_signs_are_drawn_so(row):
    assert row.kind in ("positive", "signed")
    assert (row.kind == "signed") == (row.draw == "signed")


@pytest.mark.parametrize(
    ("names", "module"),
    [(methods.GRAD_MODIFIERS, grad_modifiers), (methods.BACKPROP_MODIFIERS, backprop_modifiers)],
    ids=["grad", "backprop"],
)
def test_names_of_modifiers_are_those_of_their_modules(names, module):
    with pytest.raises(ValueError, match="must be one of") as refused:
        module.get("no such modifier")
    # The command spells `identity` as `none`.
    assert set(re.findall(r"'(\w+)'", str(refused.value))) - {"identity"} == {name for name in names if name}
    assert callable(module.get(None))


def test_names_of_class_activation_maps_are_the_function_s(model):
    with pytest.raises(ValueError, match="method must be one of") as refused:
        visualize_cam(model, -1, 0, images(1), method="no such method")
    assert tuple(re.findall(r"'([\w+]+)'", str(refused.value))) == methods.CAM_METHODS


@pytest.mark.parametrize("name", methods.CAM_METHODS)
def test_a_class_activation_map_by_its_name(model, name):
    model.set_weights([np.abs(weights) for weights in model.get_weights()])  # so that no map is negative
    x = images(2)
    np.testing.assert_array_equal(
        METHODS["gradcam"].explain(model, 1, x, {"method": name, "smoothing": "augment"}),
        visualize_cam(model, None, 1, x, method=name, smoothing="augment"),
    )


def test_a_forward_pass_per_channel_is_not_done_one_by_one(model):
    whole, copies = ({"method": name} for name in ("layercam", "scorecam"))
    assert METHODS["gradcam"].arguments(whole, images(1))["batch_size"] == 1
    assert "batch_size" not in METHODS["gradcam"].arguments(copies, images(1))
    assert "batch_size" not in METHODS["gradcam"].arguments({"smoothing": "augment"}, images(1))


def test_names_of_aggregates_are_the_function_s():
    (aggregate,) = [option for option in METHODS["smoothgrad"].options if option.name == "aggregate"]
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="aggregate") as refused:
        smoothgrad(model, -1, 0, np.ones(2), aggregate="median")
    assert set(re.findall(r"'(\w+)'", str(refused.value))) - {"median"} == set(aggregate.choices)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (Option("n", "", 1, int, minimum=1), 0, "n must be at least 1, not 0"),
        (Option("n", "", 1, int, maximum=3), 4, "n must be at most 3, not 4"),
        (Option("level", "", 0.1, float, minimum=0, maximum=1), 1.5, "level must be from 0 to 1, not 1.5"),
        (Option("level", "", 0.1, float, minimum=0, maximum=1), float("nan"), "level must be from 0 to 1, not nan"),
        (Option("kind", "", "a", choices=("a", None)), "b", "kind must be one of a, none, not 'b'"),
        (
            Option("colormap", "", "x", checked_by="vis.plotting:colormap_named"),
            "x",
            "must be the name of a matplotlib colormap, such as 'inferno' or 'viridis', not 'x'",
        ),
    ],
)
def test_an_option_refuses(option, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        option.check(value)


@pytest.mark.parametrize("value", [1, 3])
def test_an_option_takes_the_ends_of_its_range(value):
    Option("n", "", 1, int, minimum=1, maximum=3).check(value)


@pytest.fixture
def model():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(3, 3, activation="relu", name="c"),
            keras.layers.Conv2D(3, 3, activation="relu", name="d"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4),
        ]
    )


def images(count=3):
    return np.random.default_rng(0).random((count, 8, 8, 1), np.float32)


def test_explain_is_the_function_with_the_command_s_defaults(model):
    x = images()
    np.testing.assert_array_equal(
        METHODS["smoothgrad"].explain(model, 1, x, {"num_samples": 2}),
        smoothgrad(model, None, 1, x, num_samples=2),
    )
    np.testing.assert_array_equal(
        METHODS["gradcam"].explain(model, 1, x, {"layer": "c", "grad_modifier": "relu"}),
        visualize_cam(model, None, 1, x, "c", grad_modifier="relu"),
    )
    assert METHODS["saliency"].explain(model, 1, x[:1], {}).shape == (1, 8, 8)


def test_a_map_to_draw_keeps_the_size_of_its_feature_map(model):
    x = images()
    np.testing.assert_array_equal(
        METHODS["gradcam"].explain(model, 1, x, {"grad_modifier": "absolute"}, to_draw=True),
        visualize_cam(model, None, 1, x, grad_modifier="absolute", interpolation=None),
    )
    assert METHODS["saliency"].explain(model, 1, x, {}, to_draw=True).shape == (3, 8, 8)


def test_labels_of_several_outputs_are_each_sample_s_own(model):
    x, labels = images(), np.array([3, 0, 2])
    np.testing.assert_array_equal(
        METHODS["saliency"].explain(model, Labels(labels), x, {}),
        visualize_saliency(model, None, labels[:, None], x),
    )


def gradients(model, layer_idx, filter_indices, seed_input, *, factor=1.0, squeeze=True):
    """A method of three lines: signed gradients of a linear model's single output."""
    weights = model.layers[-1].get_weights()[0].reshape(*seed_input.shape[1:3], -1)
    labels = filter_indices.labels if isinstance(filter_indices, Labels) else np.ones(len(seed_input))
    return np.stack([factor * weights[..., 0] * (1 if label else -1) for label in labels]).astype(np.float32)


DUMMY = Method(
    name="dummy",
    function=f"{__name__}:gradients",
    line="Which weights are large",
    description="the weights, in colours of both signs",
    kind="signed",
    draw="signed",
    cost=Cost("gradient", "factor"),
    needs="a linear model",
    beware="it is a dummy",
    column="dummy",
    options=(Option("factor", "The factor", 1.0, float, minimum=0),),
)


@pytest.fixture
def linear(tmp_path):
    layers = [keras.layers.Flatten(), keras.layers.Dense(1, kernel_initializer="glorot_normal")]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    model.save(tmp_path / "linear.keras")
    return model


def test_label_0_of_a_single_output_is_minus_label_1_for_a_method_that_takes_a_function(linear):
    maps = DUMMY.explain(linear, Labels([0, 1, 0]), images(), {"factor": 2.0})
    weights = linear.layers[-1].get_weights()[0].reshape(8, 8)
    np.testing.assert_allclose(maps, [-2 * weights, 2 * weights, -2 * weights], rtol=1e-6)


def test_a_row_is_all_that_the_commands_need(linear, tmp_path, monkeypatch):
    """`vis dummy` and `vis dummy-batch` of a process in which the table has one row more."""
    Image.fromarray(np.uint8(255 * images(1)[0, ..., 0])).save(tmp_path / "a.png")
    (tmp_path / "output_result.csv").write_text("x:image,y:label\na.png,0\na.png,1\n")
    code = (
        "import sys; import vis.methods; import test_methods; vis.methods.METHODS['dummy'] = test_methods.DUMMY\n"
        "from vis.cli import app; app(sys.argv[1:])"
    )
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")

    def run(*arguments):
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    out = run("--help").stdout
    assert re.search(r"\n  dummy +Which weights are large\.\n  activation", out)
    assert "dummy for every row of a data set." in out
    assert run("dummy", "--model", "linear.keras", "--image", "a.png", "--size", "1").returncode == 0
    batch = run("dummy-batch", "--model", "linear.keras", "--factor", "3")
    assert batch.returncode == 0, batch.stderr
    assert (tmp_path / "dummy.csv").read_text().splitlines()[2] == "a.png,1,dummy,dummy/0000/1.png".replace(
        ",dummy,", ","
    )
    weights = linear.layers[-1].get_weights()[0].reshape(8, 8)
    with Image.open(tmp_path / "a.png") as image:
        for path, heatmap in (
            ("dummy.png", weights),
            ("dummy/0000/0.png", -weights),
            ("dummy/0000/1.png", weights),
        ):
            with Image.open(tmp_path / path) as picture:
                np.testing.assert_array_equal(np.asarray(picture), styles.signed(image, heatmap))


def test_a_signed_map_is_white_at_0_and_red_above():
    heatmap = np.array([[-1.0, 0.0, 0.5, 1.0]])
    blue, white, middle, red = styles.signed(Image.new("L", (4, 1)), heatmap)[0].astype(int)
    assert blue[2] > blue[0]
    assert red[0] > red[2]
    assert white.tolist() == [255, 255, 255]
    assert middle[0] > middle[2] > red[2]
    np.testing.assert_array_equal(styles.signed(Image.new("L", (4, 1)), 7 * heatmap)[0], [blue, white, middle, red])
    other = styles.signed(Image.new("L", (4, 1)), heatmap, "gray")[0, :, 0]
    assert other[0] < other[1] < other[2] < other[3]


# What is written about the methods


def hooks() -> dict:
    """What `docs/hooks.py` defines."""
    return runpy.run_path(str(ROOT / "docs" / "hooks.py"))


def test_the_page_gets_a_row_for_each_method():
    page = (ROOT / "docs" / "choose.md").read_text("utf-8")
    assert hooks()["METHOD_ROWS"] in page.splitlines()
    rows = hooks()["with_methods"](page).splitlines()
    assert hooks()["METHOD_ROWS"] not in rows
    assert (
        "| which pixels change the score, averaged over noise "
        "| [`smoothgrad`](api/visualization.md#vis.visualization.smoothgrad) | about 2.6 × `num_samples` "
        "| a gradient with respect to the input | a smooth map is not necessarily a faithful one |"
    ) in rows
    functions = [method.function.rpartition(":")[2] for method in METHODS.values()]
    assert [re.match(r"\| [^|]+ \| \[`(\w+)`\]", row)[1] for row in rows if "#vis.visualization." in row] == functions
    columns = {row.count("|") for row in rows if row.startswith("|")}
    assert columns == {6}


def test_the_table_by_what_one_has_says_the_costs_of_the_methods():
    row_of = {method.function.rpartition(":")[2]: hooks()["method_row"](method) for method in METHODS.values()}
    page = (ROOT / "docs" / "choose.md").read_text("utf-8").split("## By what you have")[1]
    found = re.findall(r"^\|[^|]*\|[^|]+\| \[`(\w+)`\][^|]+\| (about [^|]+) \|", page, re.MULTILINE)
    assert {name for name, _ in found} >= {"visualize_cam", "visualize_saliency", "integrated_gradients", "occlusion"}
    for name, cost in found:
        assert f" | {cost} | " in row_of[name]


def test_the_api_gets_an_entry_for_each_method():
    page = hooks()["with_methods"]((ROOT / "docs" / "api" / "visualization.md").read_text("utf-8"))
    for method in METHODS.values():
        assert f"::: {method.function.replace(':', '.')}" in page.splitlines()


def test_the_readme_has_the_table_of_the_page():
    readme, choose = ((ROOT / name).read_text("utf-8") for name in ("README.md", "docs/choose.md"))
    with_table = hooks()["with_table"]
    assert with_table(readme, choose) == readme, "run `python docs/hooks.py` to rewrite the README's table"
    rows = readme.split("<!-- made from vis.methods")[1].split("<!-- end of the table")[0].splitlines()
    for method in METHODS.values():
        line, function = method.line[0].lower() + method.line[1:], method.function.rpartition(":")[2]
        assert f"| {line} | `{function}` | {method.beware} |" in rows
    assert "| why this class and not that one | `Difference` | what both classes share does not show |" in rows
    outdated = readme.replace(METHODS["saliency"].beware, "never misleads")
    assert outdated != readme
    assert with_table(outdated, choose) == readme
