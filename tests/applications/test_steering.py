"""The network that steers looks at the lane: measured on one trained here, on fewer roads than train.py draws."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from applications.self_driving import evaluation, explain, train
from applications.self_driving.model import build_model
from applications.self_driving.road import roads

FOLDER = Path(train.__file__).parent


@pytest.fixture(scope="module")
def model():
    examples = roads(2000)
    return train.train(build_model(), examples.frames, examples.angles, epochs=8)


@pytest.fixture(scope="module")
def held_out():
    return roads(100, seed=evaluation.HELD_OUT_SEED)


@pytest.fixture(scope="module")
def files(model, held_out, tmp_path_factory):
    folder = tmp_path_factory.mktemp("steering")
    model.save(folder / "steering.keras")
    Image.fromarray(held_out.frames[0]).save(folder / "frame.png")
    return folder


# The maps of a regressor may be blank on one side, which the library warns of.
ignore_blank = pytest.mark.filterwarnings("ignore:the class activation map of:vis.VisWarning")


@ignore_blank
def test_what_is_promised_of_the_network(model, held_out):
    measures = evaluation.measure(model, held_out)
    assert measures.error <= 0.05 * 2
    assert measures.lane_ratio >= 3
    assert measures.flip_saliency >= 0.5


def test_an_untrained_network_does_not_look_at_the_lane(held_out):
    """The measure measures something."""
    shares, areas = evaluation.lane_shares(build_model(), held_out.frames, held_out.masks)
    assert (shares / areas).mean() < 1.5


def test_left_is_negative_and_right_positive(model, held_out):
    angles = model.predict(held_out.frames, verbose=0)[:, 0]
    sharp = np.abs(held_out.angles) > 0.3
    assert sharp.sum() > 20
    assert (np.sign(angles[sharp]) == np.sign(held_out.angles[sharp])).all()


def test_each_frame_comes_with_its_mirror_image():
    examples = roads(50)
    seen = []
    for x, y in train.batches(examples.frames, examples.angles, seed=1).as_numpy_iterator():
        half = len(x) // 2
        np.testing.assert_array_equal(x[half:], x[:half, :, ::-1])
        np.testing.assert_array_equal(y[half:], -y[:half])
        seen += y[:half].tolist()
    assert len(seen) == 50
    assert sorted(seen) == sorted(examples.angles.tolist())


def test_training_is_the_same_from_the_same_seed():
    examples = roads(64)
    one, other = (train.train(build_model(3), examples.frames, examples.angles, epochs=1, seed=3) for _ in range(2))
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@ignore_blank
def test_the_three_panels(model, held_out):
    maps = explain.explain(model, held_out.frames[0])
    assert list(maps) == ["saliency", "Grad-CAM"]
    for method, panels in maps.items():
        assert list(panels) == ["steer right", "steer left", "keep course"]
        for heatmap in panels.values():
            assert heatmap.shape == (70, 180)
            assert 0 <= heatmap.min() <= heatmap.max() <= 1, method
    # One gradient with its sign and without: what speaks for right in all channels does not speak for left in all.
    right, left = maps["saliency"]["steer right"], maps["saliency"]["steer left"]
    assert np.corrcoef(right.ravel(), left.ravel())[0, 1] < 0.9
    # What keeps the course is where neither does anything.
    strong = np.maximum(right, left) > 0.5
    assert maps["saliency"]["keep course"][strong].mean() < 0.2 * maps["saliency"]["keep course"][~strong].mean()


@ignore_blank
def test_explain_writes_a_picture(files, capsys):
    explain.main(
        [f"--model={files / 'steering.keras'}", f"--image={files / 'frame.png'}", f"--output={files / 'out.png'}"]
    )
    with Image.open(files / "out.png") as picture:
        assert picture.width > 900
    assert "angle" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["-m", "applications.self_driving.explain"], [str(FOLDER / "explain.py")]])
def test_mistakes_in_one_line_both_ways_to_run(command, tmp_path):
    run = subprocess.run(
        [sys.executable, *command, "--image", "missing.png"],
        cwd=FOLDER.parents[1] if command[0] == "-m" else tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert "missing.png does not exist" in run.stderr.splitlines()[-1]


def test_train_saves_a_model_that_steers(tmp_path, capsys):
    train.main([f"--output={tmp_path / 'steering.keras'}", "--frames=64", "--epochs=1"])
    loaded = keras.models.load_model(tmp_path / "steering.keras")
    assert loaded.predict(np.zeros((2, 70, 180, 3), np.uint8), verbose=0).shape == (2, 1)
    assert "mean absolute error" in capsys.readouterr().out
