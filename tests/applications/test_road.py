"""The drawn roads are what their angles say."""

from __future__ import annotations

import numpy as np
import pytest

from applications.self_driving.road import FOCAL, HEIGHT, HORIZON, WIDTH, Scene, draw, random_scene, roads


def test_a_seed_gives_the_same_frames_however_many():
    few, many, other = roads(3, seed=5), roads(6, seed=5), roads(3, seed=6)
    for one, two in zip(few, many, strict=True):
        np.testing.assert_array_equal(one, two[:3])
    assert (few.frames != other.frames).mean() > 0.5


@pytest.mark.parametrize(
    ("scene", "angle"),
    [
        (Scene(0, 0, 0), 0.0),
        (Scene(0.8, 0, 0), -0.25),  # right of the middle: steer left
        (Scene(0, -0.08, 0), 0.3),  # turned to the left: steer right
        (Scene(0, 0, 0.02), 0.45),  # the lane bends to the right
        (Scene(-0.8, -0.08, 0.1), 1.0),
    ],
)
def test_the_angle_by_hand(scene, angle):
    assert scene.angle == pytest.approx(angle)


def test_left_and_right_are_equally_likely():
    angles = np.array([random_scene(np.random.default_rng(i)).angle for i in range(2000)])
    assert abs(angles.mean()) < 3 * angles.std() / np.sqrt(len(angles))
    assert angles.std() > 0.3


@pytest.mark.parametrize("scene", [Scene(0, 0, 0), Scene(0.5, 0.05, 0.01), Scene(-0.6, 0.0, -0.02)])
def test_the_mask_lies_where_projection_puts_the_lines(scene):
    """The mean column of the mask, in rows near the car, is that of the two lines: the middle of the lane."""
    middles = []
    for seed in range(60):
        _, mask = draw(scene, np.random.default_rng(seed))
        # Rows where both lines are in sight.
        for row in range(34, 46):
            columns = np.flatnonzero(mask[row])
            if len(columns) and columns[-1] - columns[0] > 40:
                distance = FOCAL * 1.25 / (row + 0.5 - HORIZON)
                at = WIDTH / 2 + scene.center(distance) * FOCAL / distance
                middles.append((columns[0] + columns[-1] + 1) / 2 - at)
    assert len(middles) > 100
    assert abs(np.median(middles)) < 1.0


def test_lines_are_the_brightest_part_of_the_road():
    brighter = []
    for seed in range(30):
        frame, mask = draw(Scene(0, 0, 0), np.random.default_rng(seed))
        lightness = frame.mean(axis=-1)
        lane = np.zeros_like(mask)
        for row in range(45, HEIGHT):
            columns = np.flatnonzero(mask[row])
            if len(columns):
                lane[row, columns[0] : columns[-1]] = True
        brighter.append(lightness[mask & lane].mean() - lightness[lane & ~mask].mean())
    assert np.min(brighter) > 5


def test_the_mask_is_small_and_only_on_the_ground():
    masks = roads(50).masks
    assert 0.03 < masks.mean() < 0.08
    assert not masks[:, : int(HORIZON)].any()
