"""Records of runs, read again: whole, broken and damaged."""

from __future__ import annotations

import json
import warnings

import keras
import numpy as np
import pytest
from influence.networks import assert_same, image_network, record

from vis import VisWarning
from vis.influence import (
    load_training,
)


def test_a_saved_run_is_read_again(run, images, tmp_path):
    run.save(tmp_path / "run")
    again = load_training(tmp_path / "run", *images)
    for epoch in range(4):
        assert_same(again.state(epoch), run.state(epoch))
    *_, last = again.replay(2)
    assert_same(last, run.state(3))
    weights_only = load_training(tmp_path / "run")
    np.testing.assert_array_equal(weights_only.state(3).weights[0], run.state(3).weights[0])
    with pytest.raises(ValueError, match=r"load_training\(directory, x, y\)"):
        list(weights_only.replay(0))
    with pytest.raises(ValueError, match="x must be what the run was trained on"):
        load_training(tmp_path / "run", images[0] + 0.1, images[1])
    with pytest.raises(ValueError, match="directory must be a folder without a training run"):
        run.save(tmp_path / "run")


@pytest.mark.parametrize("compiled", [{"metrics": [lambda y, p: p]}, {"optimizer": keras.optimizers.SGD(lambda: 0.1)}])
def test_how_the_model_was_compiled_does_not_matter(compiled, images, tmp_path):
    x, y = images
    model = image_network()
    model.compile(**{"optimizer": "sgd", "loss": "sparse_categorical_crossentropy", **compiled})
    run = record(model, x, y, directory=tmp_path)
    assert_same(load_training(tmp_path, x, y).state(1), run.state(1))


def test_broken_records_are_named(images, tmp_path):
    with pytest.raises(ValueError, match="directory must be an existing folder, not "):
        load_training(tmp_path / "nothing")
    with pytest.raises(ValueError, match="directory must be a folder that a training run was saved to"):
        load_training(tmp_path)
    run = record(image_network(), *images, directory=tmp_path)
    (tmp_path / "epoch_0001.npz").write_bytes(b"half a")
    with pytest.raises(ValueError, match=r"epoch_0001\.npz cannot be read as the state .*\. Load the run again, which"):
        run.model()
    settings = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**settings, "format": 99}))
    with pytest.raises(ValueError, match="another version"):
        load_training(tmp_path)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 3
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [cut, flipped, lambda content: b""], ids=["cut", "flipped", "empty"])
@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_a_run_with_a_damaged_checkpoint_ends_before_it_and_goes_on_from_there(run, images, tmp_path, damage, epoch):
    run.save(tmp_path / "run")
    path = tmp_path / "run" / f"epoch_{epoch:04d}.npz"
    path.write_bytes(damage(path.read_bytes()))
    if epoch:
        words = (
            rf"{path.name} is damaged: the run ends after epoch {epoch - 1} of 3\. Call record_training with the same"
        )
        with pytest.warns(VisWarning, match=words):
            loaded = load_training(tmp_path / "run", *images)
        assert loaded.epochs == epoch - 1
        assert_same(loaded.state(epoch - 1), run.state(epoch - 1))
    else:
        with (
            pytest.warns(VisWarning, match=rf"{path.name} is damaged: the run has no sound beginning"),
            pytest.raises(ValueError, match=rf"{path.name} cannot be read"),
        ):
            load_training(tmp_path / "run", *images)
    with pytest.warns(VisWarning, match=f"{path.name} is damaged"):
        again = record(image_network(), *images, epochs=3, batch_size=32, directory=tmp_path / "run")
    assert_same(again.state(3), run.state(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_training(tmp_path / "run", *images).epochs == 3
