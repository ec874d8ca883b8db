import subprocess
import sys

import numpy as np
import pytest

from vis import ArgumentError, grad_modifiers

GRADIENTS = np.array([[-2.0, -1e-3, 0.0], [1e-3, 0.5, 4.0]], np.float32)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("negate", [[2.0, 1e-3, 0.0], [-1e-3, -0.5, -4.0]]),
        ("absolute", [[2.0, 1e-3, 0.0], [1e-3, 0.5, 4.0]]),
        ("relu", [[0.0, 0.0, 0.0], [1e-3, 0.5, 4.0]]),
        ("invert", [[-0.5, -1000.1, 1e7], [999.9, 2.0, 0.25]]),
        ("small_values", [[0.5, 1000.1, 1e7], [999.9, 2.0, 0.25]]),
        (None, GRADIENTS),
    ],
)
def test_modifier_follows_its_formula(name, expected):
    modified = grad_modifiers.get(name)(GRADIENTS)
    assert modified.dtype == np.float32
    np.testing.assert_allclose(modified, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["negate", "absolute", "relu", "invert", "small_values"])
def test_modifier_leaves_its_argument_alone(name):
    gradients = GRADIENTS.copy()
    modified = grad_modifiers.get(name)(gradients)
    np.testing.assert_array_equal(gradients, GRADIENTS)
    assert not np.shares_memory(modified, gradients)


def test_epsilon_is_that_of_keras():
    import keras

    assert keras.config.epsilon() == grad_modifiers.EPSILON


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_inverses_are_finite_around_the_zero_of_the_denominator(dtype):
    zero = dtype(-grad_modifiers.EPSILON)
    gradients = np.array([np.nextafter(zero, dtype(-1)), zero, np.nextafter(zero, dtype(1)), 0.0, -0.0], dtype)
    with np.errstate(all="raise"):
        inverted, small = grad_modifiers.invert(gradients), grad_modifiers.small_values(gradients)
    assert np.isfinite(inverted.astype(np.float32)).all()
    np.testing.assert_array_equal(small, np.abs(inverted))


def test_invert_keeps_the_sign_and_the_formula_beside_the_zero_of_the_denominator():
    gradients = np.array([-3e-7, -1.5e-7, -0.5e-7, 0.0, 1e-7])
    np.testing.assert_allclose(grad_modifiers.invert(gradients), 1 / (gradients + 1e-7), rtol=1e-6)
    assert (np.sign(grad_modifiers.invert(gradients)) == [-1, -1, 1, 1, 1]).all()


def test_small_values_is_greatest_where_the_gradient_is_smallest():
    gradients = np.array([3.0, -0.2, 1e-6, -40.0])
    np.testing.assert_array_equal(np.argsort(grad_modifiers.small_values(gradients)), [3, 0, 1, 2])


def test_get_takes_a_function_as_it_is():
    assert grad_modifiers.get(np.square) is np.square


def test_get_of_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ArgumentError) as error:
        grad_modifiers.get("abs")
    assert str(error.value) == (
        "grad_modifier must be one of 'absolute', 'identity', 'invert', 'negate', 'relu', 'small_values' "
        "or a function, not 'abs'."
    )


@pytest.mark.parametrize("name", ["np", "get", "as_floating", "get_identifier", "_away_from_zero"])
def test_get_does_not_find_what_is_no_modifier(name):
    with pytest.raises(ValueError, match=f"grad_modifier must be one of .* not '{name}'"):
        grad_modifiers.get(name)


def test_get_of_another_type_names_it():
    with pytest.raises(TypeError, match="grad_modifier must be a name or a function, not int"):
        grad_modifiers.get(3)


def test_import_does_not_import_keras():
    code = "import sys, vis.grad_modifiers; assert not {'keras', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
