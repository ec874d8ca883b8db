from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from vis.input_modifiers import InputModifier, Jitter, Rotate, Scale, Transform, in_graph

SEEDS = [tf.constant([0, seed], tf.int32) for seed in range(40)]


def shifts(images, jitter, data_format="channels_last") -> set:
    """The shifts that a jitter makes of a single bright pixel at the origin, by many seeds."""
    found = set()
    for seed in SEEDS:
        out = jitter.transform(tf.constant(images), seed, data_format).numpy()
        assert out.sum() == images.sum()
        where = np.argwhere(out)[0]
        found.add(tuple(((where + np.array(images.shape) // 2) % images.shape - np.array(images.shape) // 2).tolist()))
    return found


@pytest.mark.parametrize("jitter", [0.2, 2], ids=["a share", "pixels"])
def test_jitter_shifts_every_axis_by_up_to_so_many_pixels(jitter):
    image = np.zeros((1, 10, 10, 1), "float32")
    image[0, 0, 0, 0] = 1
    found = shifts(image, Jitter(jitter))
    assert {row for _, row, _, _ in found} == {-2, -1, 0, 1, 2} == {column for _, _, column, _ in found}


def test_jitter_has_its_own_size_for_each_axis_and_knows_the_axes():
    image = np.zeros((1, 1, 12, 10), "float32")
    image[0, 0, 0, 0] = 1
    found = shifts(image, Jitter([0, 0.1]), "channels_first")
    assert found == {(0, 0, 0, -1), (0, 0, 0, 0), (0, 0, 0, 1)}


def test_jitter_of_signals_and_volumes():
    for shape in [(1, 9, 1), (1, 9, 5, 5, 1)]:
        image = np.zeros(shape, "float32")
        image.flat[0] = 1
        assert len({shift[1] for shift in shifts(image, Jitter(1))}) == 3


def test_rotations_are_about_the_middle():
    image = np.random.default_rng(0).random((2, 6, 6, 3)).astype("float32")
    for degrees in (90, 180, 270, 0):
        turned = Rotate((degrees, degrees)).transform(tf.constant(image), SEEDS[0], "channels_last")
        np.testing.assert_allclose(turned, np.rot90(image, degrees // 90, axes=(1, 2)), atol=1e-4)


def test_rotation_and_scale_are_those_of_a_plane():
    """A linear ramp stays a linear ramp, turned and stretched, away from the mirrored border."""
    rows, columns = np.meshgrid(np.arange(41.0) - 20, np.arange(41.0) - 20, indexing="ij")
    image = tf.constant((2 * rows - columns)[None, :, :, None], tf.float32)
    inner = np.s_[0, 12:29, 12:29, 0]
    angle = np.deg2rad(25)
    turned = Rotate((25, 25)).transform(image, SEEDS[0], "channels_last").numpy()
    there = 2 * (np.cos(angle) * rows + np.sin(angle) * columns) - (-np.sin(angle) * rows + np.cos(angle) * columns)
    np.testing.assert_allclose(turned[inner], there[None, :, :, None][inner], atol=1e-3)
    scaled = Scale((1.25, 1.25)).transform(image, SEEDS[0], "channels_last").numpy()
    np.testing.assert_allclose(scaled[inner], (2 * rows - columns)[None, :, :, None][inner] / 1.25, atol=1e-3)


def test_channels_first_is_the_same_image():
    image = np.random.default_rng(1).random((2, 5, 7, 3)).astype("float32")
    for transform in (Jitter(2), Rotate(30), Scale(0.2)):
        last = transform.transform(tf.constant(image), SEEDS[3], "channels_last").numpy()
        first = transform.transform(tf.constant(np.moveaxis(image, -1, 1)), SEEDS[3], "channels_first").numpy()
        np.testing.assert_allclose(first, np.moveaxis(last, -1, 1), atol=1e-6)


@pytest.mark.parametrize("transform", [Jitter(2), Rotate(30), Scale(0.3)])
def test_the_gradient_is_the_adjoint(transform):
    """⟨T x, y⟩ = ⟨x, Tᵀ y⟩ for the linear map T, whatever x and y."""
    rng = np.random.default_rng(2)
    x, y = (tf.constant(rng.normal(size=(1, 6, 7, 2)), tf.float32) for _ in range(2))
    with tf.GradientTape() as tape:
        tape.watch(x)
        transformed = transform.transform(x, SEEDS[5], "channels_last")
    adjoint = tape.gradient(transformed, x, output_gradients=y)
    np.testing.assert_allclose(tf.reduce_sum(transformed * y), tf.reduce_sum(x * adjoint), rtol=1e-4)


def test_the_border_is_mirrored():
    image = tf.reshape(tf.range(5.0), [1, 1, 5, 1])
    half = Scale((0.5, 0.5)).transform(image, SEEDS[0], "channels_last").numpy().ravel()
    np.testing.assert_allclose(half, [2, 0, 2, 4, 2])


def test_random_values_are_within_their_interval_and_differ():
    matrices = [Scale((0.8, 1.1)).matrix(tf.random.stateless_uniform([], seed, 0.8, 1.1)).numpy() for seed in SEEDS]
    scales = {round(1 / matrix[0, 0], 5) for matrix in matrices}
    assert len(scales) == len(SEEDS)
    assert 0.8 <= min(scales) < max(scales) <= 1.1
    image = np.random.default_rng(4).random((1, 8, 8, 1)).astype("float32")
    assert (Rotate(20).pre(image) != Rotate(20).pre(image)).any()


def test_what_is_part_of_the_compiled_loop():
    class Old(InputModifier):
        def pre(self, img):
            return img + 1

    class OldJitter(Jitter):
        def pre(self, img):
            return img

    assert [in_graph(modifier) for modifier in (Jitter(), Rotate(), Scale(), Old(), OldJitter())] == [1, 1, 1, 0, 0]
    assert Old().post(3) == 3


def test_bad_arguments():
    with pytest.raises(ValueError, match="jitter must be at least 0, not -1"):
        Jitter(-1)
    with pytest.raises(
        ValueError, match="jitter must be one number, or one for each of the 2 axes of the images, not 3"
    ):
        Jitter([1, 2, 3]).pre(np.zeros((1, 4, 4, 1)))
    with pytest.raises(ValueError, match=r"degrees must go from a smaller to a larger number, not \(5, -5\)"):
        Rotate((5, -5))
    with pytest.raises(ValueError, match="factors must be above 0"):
        Scale((0, 1))
    with pytest.raises(ValueError, match=r"must not hold Scale for an input of shape \(1, 4, 1\)"):
        Scale().pre(np.zeros((1, 4, 1)))
    with pytest.raises(TypeError, match=r"must override transform\(\)"):
        Transform().pre(np.zeros((1, 4, 1)))
