"""Draws what a car's camera sees of a road, with the steering angle that is right there.

A flat world seen by a pinhole camera: a row of the picture v pixels under the horizon shows the ground at the distance
z = f·h/v, a column u pixels right of the middle what lies u·z/f to the right. The middle of the lane at the distance z
is at c(z) = −offset − heading·z + curvature·z²/2, and the car steers for where it is 12 m ahead: angle = c(12)/3.2.

Only the two lines of the lane determine the angle exactly: the width of the road beyond them differs from frame to
frame and from side to side, and so do colours, light, shadows, noise, hills, trees and posts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 70, 180
HORIZON = 21.5
FOCAL = 120.0
CAMERA_HEIGHT = 1.25
LOOKAHEAD = 12.0
FULL_ANGLE = 3.2


class Scene(NamedTuple):
    """The position of the car in its lane, and the shape of the lane ahead.

    Attributes:
        offset: of the car from the middle of its lane, in m; positive to the right.
        heading: of the car against the lane, in radians; positive to the right.
        curvature: of the lane, in 1/m; positive to the right.
    """

    offset: float
    heading: float
    curvature: float

    def center(self, distance):
        """How far right of the car's axis the middle of the lane is at a distance, both in m."""
        return -self.offset - self.heading * distance + self.curvature * distance**2 / 2

    @property
    def angle(self) -> float:
        """The steering angle, from -1 (full left) to 1 (full right)."""
        return float(np.clip(self.center(LOOKAHEAD) / FULL_ANGLE, -1, 1))


class Roads(NamedTuple):
    """Frames uint8 (N, 70, 180, 3); angles float32 (N,); lane masks bool (N, 70, 180)."""

    frames: np.ndarray
    angles: np.ndarray
    masks: np.ndarray


def random_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene; left and right are equally likely.

    Args:
        rng: where the randomness comes from.

    Returns:
        A `Scene`.

    Example:
        >>> -1 <= random_scene(np.random.default_rng(0)).angle <= 1
        True
    """
    return Scene(rng.uniform(-0.8, 0.8), rng.uniform(-0.08, 0.08), rng.uniform(-0.02, 0.02))


def roads(count: int, seed: int = 0) -> Roads:
    """Draw frames of random scenes.

    Args:
        count: how many.
        seed: the same seed gives the same frames; frame i is the same however many there are.

    Returns:
        The `Roads`.

    Example:
        >>> roads(2).frames.shape
        (2, 70, 180, 3)
    """
    frames = np.empty((count, HEIGHT, WIDTH, 3), np.uint8)
    masks = np.empty((count, HEIGHT, WIDTH), bool)
    angles = np.empty(count, np.float32)
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        scene = random_scene(rng)
        frames[i], masks[i] = draw(scene, rng)
        angles[i] = scene.angle
    return Roads(frames, angles, masks)


def draw(scene: Scene, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw one frame.

    Args:
        scene: where the car stands.
        rng: for all that has nothing to do with the angle.

    Returns:
        The frame, uint8 (70, 180, 3), and its lane mask, bool (70, 180): the pixels of the two lines of the lane that
        are in sight, and those that touch them, since it is the edge of a line that tells where it is. It does not
        hold the lane between the lines, nor the edges of the road.

    Example:
        >>> frame, mask = draw(Scene(0, 0, 0), np.random.default_rng(0))
        >>> bool(0.02 < mask.mean() < 0.1)
        True
    """
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    below = np.maximum(rows + 0.5 - HORIZON, 0.3)
    distance = FOCAL * CAMERA_HEIGHT / below
    pixel = distance / FOCAL
    across = (columns + 0.5 - WIDTH / 2) * pixel - scene.center(distance)
    on_ground = rows + 0.5 > HORIZON + 0.5

    half_lane = rng.uniform(1.6, 2.0)
    frame = _ground(rng, on_ground, rows)
    left, right = half_lane + rng.uniform(0.4, 2.5, size=2)
    road = _covered(across, (right - left) / 2, (right + left) / 2, pixel) * on_ground
    asphalt = rng.uniform(0.25, 0.5) + rng.uniform(-0.03, 0.03, size=3)
    frame += road[..., None] * (asphalt * (1 + 0.12 * _cloud(rng, 35, 45))[..., None] - frame)

    lines = np.zeros((HEIGHT, WIDTH))
    paint = np.array([0.95, 0.95, 0.92]) if rng.random() < 0.7 else np.array([0.95, 0.8, 0.25])
    line_width = rng.uniform(0.12, 0.2)
    for side in (-half_lane, half_lane):
        line = _covered(across, side, line_width / 2, pixel) * on_ground
        if rng.random() < 0.4:
            # Dashes of 4 m, 3 m apart; far away they run into each other.
            dash = _covered((distance + rng.uniform(0, 7)) % 7, 2.0, 2.0, pixel * distance / CAMERA_HEIGHT)
            line *= np.where(distance < 40, dash, 0.55)
        lines = np.maximum(lines, line)
    frame += (lines * rng.uniform(0.75, 1.0))[..., None] * (paint - frame)

    frame *= _shadow(rng, distance, across, on_ground)[..., None]
    hidden = _clutter(rng, frame, scene, left, right)
    frame = frame * rng.uniform(0.7, 1.15) + rng.normal(0, rng.uniform(0.005, 0.03), frame.shape)
    mask = _touching((lines > 0.2) & ~hidden)
    return np.round(np.clip(frame, 0, 1) * 255).astype(np.uint8), mask


def _covered(position, middle, half_width, pixel):
    """The share of each pixel that a strip covers."""
    return np.clip(
        (half_width + pixel / 2 - np.abs(position - middle)) / pixel, 0, np.minimum(1, 2 * half_width / pixel)
    )


def _touching(mask: np.ndarray) -> np.ndarray:
    """A mask with all pixels that touch it, at a side or a corner."""
    padded = np.pad(mask, 1)
    return np.any([padded[y : y + HEIGHT, x : x + WIDTH] for y in range(3) for x in range(3)], axis=0)


def _cloud(rng, height, width) -> np.ndarray:
    """Smooth noise of standard deviation 1 from a coarse grid."""
    noise = Image.fromarray(rng.normal(size=(height, width)).astype(np.float32))
    return np.asarray(noise.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def _ground(rng, on_ground, rows) -> np.ndarray:
    """Sky, hills and the land beside the road."""
    sky = np.array([0.5, 0.65, 0.85]) + rng.uniform(-0.15, 0.15, size=3)
    sky = sky + (rows / HORIZON - 1)[..., None] * rng.uniform(-0.2, 0.0) + 0.04 * _cloud(rng, 6, 8)[..., None]
    land = np.array([[0.3, 0.42, 0.2], [0.55, 0.48, 0.33], [0.4, 0.4, 0.36]])[rng.integers(3)]
    land = (land + rng.uniform(-0.08, 0.08, size=3)) * (1 + 0.15 * _cloud(rng, 35, 60))[..., None]
    frame = np.where(on_ground[..., None], land, sky)
    skyline = HORIZON - 3 - 2.5 * _cloud(rng, 2, 7)[0]
    hills = ~on_ground & (rows > skyline)
    frame[hills] = np.array([0.3, 0.38, 0.35]) + rng.uniform(-0.1, 0.1, size=3)
    return frame


def _shadow(rng, distance, across, on_ground) -> np.ndarray:
    """Light on the ground: in half of the frames a shadow lies across the road."""
    if rng.random() < 0.5:
        return np.ones((HEIGHT, WIDTH))
    start, length, slant = rng.uniform(3, 20), rng.uniform(1, 6), rng.uniform(-1, 1)
    along = distance + slant * across
    return np.where(on_ground & (along > start) & (along < start + length), rng.uniform(0.5, 0.8), 1.0)


def _clutter(rng, frame, scene, left, right) -> np.ndarray:
    """Draw trees and posts beside the road, the far ones first; returns which pixels they hide."""
    hidden = np.zeros((HEIGHT, WIDTH), bool)
    for distance in np.sort(rng.uniform(6, 60, size=rng.integers(0, 12)))[::-1]:
        beside = right if rng.random() < 0.5 else -left
        at = scene.center(distance) + beside + np.sign(beside) * rng.uniform(0.6, 9)
        scale = FOCAL / distance
        foot = HORIZON + CAMERA_HEIGHT * scale
        column = WIDTH / 2 + at * scale
        if rng.random() < 0.5:
            tall, wide = rng.uniform(1, 2.5), 0.15
            color = rng.uniform(0.2, 0.95, size=3)
        else:
            tall, wide = rng.uniform(2.5, 6), rng.uniform(0.8, 2)
            color = np.array([0.15, 0.28, 0.12]) + rng.uniform(-0.08, 0.12, size=3)
        top, bottom = (max(round(y), 0) for y in (foot - tall * scale, foot))
        first, last = (max(round(x), 0) for x in (column - wide / 2 * scale, column + max(wide / 2 * scale, 1)))
        frame[top:bottom, first:last] = color
        hidden[top:bottom, first:last] = True
    return hidden
