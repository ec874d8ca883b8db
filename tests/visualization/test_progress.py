"""The methods that run a model many times tell how far they are, on standard error, and only then."""

import keras
import numpy as np
import pytest
from tqdm import tqdm

from vis import visualization
from vis.visualization import progress
from vis.visualization.cam import AblationCAM, ScoreCAM

SAMPLES = np.random.default_rng(0).random((2, 8, 8, 1)).astype("float32")

# What to call, and how many copies of the two samples the model is run on.
CALLS = {
    "smoothgrad": (lambda model, **options: visualization.smoothgrad(model, -1, 0, SAMPLES, **options), 2 * 25),
    "smoothgrad of integrated gradients": (
        lambda model, **options: visualization.smoothgrad(
            model, -1, 0, SAMPLES, of="integrated_gradients", num_samples=2, **options
        ),
        2 * 2 * 50,
    ),
    "smoothgrad with losses": (
        lambda model, **options: visualization.smoothgrad_with_losses(
            model, [(lambda output: output[:, 0], 1)], SAMPLES, **options
        ),
        2 * 25,
    ),
    "integrated gradients": (
        lambda model, **options: visualization.integrated_gradients(
            model, -1, 0, SAMPLES, baseline=[0.0, 1.0], steps=7, **options
        ),
        2 * 2 * 7,
    ),
    "expected gradients": (
        lambda model, **options: visualization.expected_gradients(
            model, -1, 0, SAMPLES, background=SAMPLES, num_samples=6, **options
        ),
        2 * 6,
    ),
    "Score-CAM": (
        lambda model, **options: visualization.visualize_cam(model, -1, 0, SAMPLES, method=ScoreCAM(3), **options),
        2 * 3,
    ),
    "Ablation-CAM": (
        lambda model, **options: visualization.visualize_guided_cam(
            model, -1, 0, SAMPLES, method=AblationCAM(), **options
        ),
        2 * 4,
    ),
    "occlusion": (
        lambda model, **options: visualization.occlusion(model, -1, 0, SAMPLES, window=4, stride=4, **options),
        2 * (1 + 4),  # the sample as it is, too
    ),
    "RISE": (lambda model, **options: visualization.rise(model, -1, 0, SAMPLES, num_masks=9, **options), 2 * (9 + 1)),
}


@pytest.fixture(scope="module")
def model():
    layers = [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten(), keras.layers.Dense(2)]
    return keras.Sequential([keras.Input((8, 8, 1)), *layers])


@pytest.mark.filterwarnings("ignore::vis.VisWarning")
@pytest.mark.parametrize("name", CALLS)
def test_the_bar_counts_every_copy_once(name, model, monkeypatch):
    bars = []

    class Kept(tqdm):
        def __init__(self, *given, **options):
            super().__init__(*given, **options)
            bars.append((self, self.disable))

    monkeypatch.setattr(progress, "tqdm", Kept)
    call, copies = CALLS[name]
    call(model)
    assert [(bar.total, bar.n, hidden) for bar, hidden in bars] == [(copies, copies, False)]
    bars.clear()
    call(model, progress=False)
    assert [hidden for _, hidden in bars] == [True]


def test_a_bar_is_seen_once_it_takes_long_and_leaves_nothing(capsys, monkeypatch):
    with progress.bar(4) as shown:
        shown.update(1)
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(shown, "_time", lambda: shown.start_t + 20)
        shown.update(1)
        text = capsys.readouterr().err
    assert "Explaining" in text
    assert "2/4" in text
    assert capsys.readouterr().err.strip() == ""
