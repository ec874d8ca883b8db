"""The default layer of a class activation map."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import zoo

from vis.visualization import visualize_cam


def test_the_nearest_feature_map_is_on_the_way_to_the_target():
    # A second branch, called later, has a feature map too; the first output does not depend on it.
    inputs = keras.Input(zoo.SHAPE)
    near = keras.layers.Conv2D(4, 3, name="near")(inputs)
    first = keras.layers.Dense(2, name="first")(keras.layers.GlobalAveragePooling2D()(near))
    far = keras.layers.Conv2D(4, 5, name="far")(inputs)
    second = keras.layers.Dense(2, name="second")(keras.layers.GlobalAveragePooling2D()(far))
    model = keras.Model(inputs, [first, second])
    x = zoo.images(2)
    for target, layer in (("first", "near"), ("second", "far")):
        expected = visualize_cam(model, target, 0, x, layer, normalize=False)
        assert np.abs(expected).max() > 0
        np.testing.assert_array_equal(visualize_cam(model, target, 0, x, normalize=False), expected)


def test_a_filter_of_a_convolution_is_explained_by_the_map_before_it(plain, reference):
    x = zoo.images(2)
    expected = visualize_cam(plain, "conv2", 4, x, "relu1", normalize=False)
    np.testing.assert_array_equal(visualize_cam(plain, "conv2", 4, x, normalize=False), expected)


def test_no_feature_map():
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="does not have before the target"):
        visualize_cam(model, -1, 0, np.ones((8, 8, 1)))


def test_the_nearest_feature_map_is_one_that_all_branches_come_from():
    inputs = keras.Input((6, 6, 1))
    features = keras.layers.Conv2D(3, 3, name="features")(inputs)
    beside = keras.layers.GlobalMaxPooling2D()(features)
    late = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 2, name="late")(features))
    joined = keras.layers.Concatenate()([beside, late])
    model = keras.Model(inputs, keras.layers.Dense(2)(joined))
    x = zoo.images(2, (6, 6, 1))
    found = visualize_cam(model, -1, 1, x, normalize=False)
    np.testing.assert_array_equal(found, visualize_cam(model, -1, 1, x, "features", normalize=False))
    assert np.abs(found - visualize_cam(model, -1, 1, x, "late", normalize=False)).max() > 0


def test_branches_of_different_inputs_do_not_pass_each_other():
    left, right = keras.Input((6, 6, 1)), keras.Input((4,))
    features = keras.layers.Conv2D(3, 3, name="features")(left)
    joined = keras.layers.Concatenate()([keras.layers.GlobalAveragePooling2D()(features), right])
    model = keras.Model([left, right], keras.layers.Dense(2)(joined))
    x = [zoo.images(2, (6, 6, 1)), np.ones((2, 4))]
    np.testing.assert_array_equal(
        visualize_cam(model, -1, 1, x, normalize=False), visualize_cam(model, -1, 1, x, "features", normalize=False)
    )


@pytest.mark.parametrize("last", [keras.layers.Reshape((36, 3)), keras.layers.Permute((3, 1, 2))])
@pytest.mark.parametrize("target", [1, lambda output: keras.ops.max(keras.ops.reshape(output, (-1, 108)), axis=1)])
def test_the_nearest_feature_map_is_before_a_softmax_that_is_reshaped(last, target):
    features = keras.layers.Conv2D(4, 3, padding="same", name="features")
    model = keras.Sequential([keras.Input((6, 6, 2)), features, keras.layers.Conv2D(3, 1, activation="softmax"), last])
    x, options = zoo.images(2, (6, 6, 2)), {"normalize": False, "relu": False}
    found = visualize_cam(model, -1, target, x, **options)
    np.testing.assert_array_equal(found, visualize_cam(model, -1, target, x, "features", **options))
    assert np.abs(found).max() > 0
