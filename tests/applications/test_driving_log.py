"""Recordings of Udacity's simulator."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from applications.self_driving.data import read_frame, read_log, read_recording

STEERING = [0.0, -0.1, 0.95, 0.3, -0.95]


@pytest.fixture
def recording(tmp_path):
    """Five moments as the simulator on Windows writes them: its own absolute paths, a space after each comma."""
    (tmp_path / "IMG").mkdir()
    lines = []
    for row, steering in enumerate(STEERING):
        names = [f"{camera}_2017_02_08_22_13_46_{row:03d}.jpg" for camera in ("center", "left", "right")]
        for i, name in enumerate(names):
            Image.new("RGB", (320, 160), (10 * row, 80 * i, 0)).save(tmp_path / "IMG" / name, quality=100)
        paths = [rf"C:\Users\Jo Doe\recording\IMG\{name}" for name in names]
        lines.append(", ".join([*paths, str(steering), "0.5", "0", "30.19"]))
    (tmp_path / "driving_log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def test_a_log_is_read_and_its_pictures_are_found(recording):
    log = read_log(recording / "driving_log.csv")
    np.testing.assert_allclose(log.steering, STEERING, rtol=1e-6)
    np.testing.assert_allclose(log.speed, 30.19, rtol=1e-6)
    assert log.left[3] == str(recording / "IMG" / "left_2017_02_08_22_13_46_003.jpg")


def test_a_header_and_relative_paths_as_in_published_logs(recording):
    text = (
        (recording / "driving_log.csv")
        .read_text(encoding="utf-8")
        .replace("C:\\Users\\Jo Doe\\recording\\IMG\\", "IMG/")
    )
    published = recording / "published.csv"
    published.write_text("center,left,right,steering,throttle,brake,speed\n" + text, encoding="utf-8")
    log, plain = read_log(published), read_log(recording / "driving_log.csv")
    assert log.equals(plain)


def test_side_cameras_steer_back_to_the_middle(recording):
    (frames, angles), (test_frames, test_angles) = read_recording(read_log(recording / "driving_log.csv"))
    assert frames.shape == (12, 70, 180, 3)
    camera = np.round(frames[:, 35, 90, 1] / 80).astype(int)
    row = np.round(frames[:, 35, 90, 0] / 10).astype(int)
    correction = np.array([0.0, 0.2, -0.2])
    np.testing.assert_allclose(angles, np.clip(np.array(STEERING)[row] + correction[camera], -1, 1), rtol=1e-5)
    # What is tested with comes last, from the centre only, and as it was steered.
    np.testing.assert_allclose(test_angles, STEERING[-1:])
    assert test_frames.shape == (1, 70, 180, 3)
    assert np.abs(test_frames[0, 35, 90] - np.array([40, 0, 0])).max() <= 4


def test_sky_and_car_are_cut_off_but_a_frame_is_left_alone(tmp_path):
    rows = np.repeat(np.arange(160, dtype=np.uint8)[:, None], 320, axis=1)
    Image.fromarray(rows).save(tmp_path / "camera.png")
    frame = read_frame(tmp_path / "camera.png")[:, 0, 0].astype(float)
    np.testing.assert_allclose(frame, 60 + (np.arange(70) + 0.5) * 80 / 70 - 0.5, atol=1.1)
    pixels = np.random.default_rng(0).integers(0, 256, (70, 180, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "frame.png")
    np.testing.assert_array_equal(read_frame(tmp_path / "frame.png"), pixels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a driving log"),
        ("a.png, 0.5\n", "has 2 columns"),
        ("center,left,right,steering\n", "has no rows"),
        ("IMG/c.jpg, IMG/l.jpg, IMG/r.jpg, left, 0, 0, 0\n", "steering of row 1 is 'left', not a number"),
        ("IMG/c.jpg, IMG/l.jpg, IMG/r.jpg, 25.0, 0, 0, 0\n", "not from -1 to 1"),
        ("IMG/c.jpg, IMG/l.jpg, IMG/r.jpg, 0.5, 0, 0, 0\n", r"IMG/c.jpg of the log is not there"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    (tmp_path / "driving_log.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_log(tmp_path / "driving_log.csv")


def test_no_log(tmp_path):
    with pytest.raises(ValueError, match=r"driving_log.csv does not exist"):
        read_log(tmp_path / "driving_log.csv")


def test_too_few_rows(recording):
    with pytest.raises(ValueError, match="1 rows, too few"):
        read_recording(read_log(recording / "driving_log.csv").iloc[:1])
