"""A data set from files to pictures, beside the bare computation on arrays in memory; and its peak memory."""

import functools
import resource
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from benchmarks import lower_bounds
from benchmarks.harness import Row, benchmark, compare
from benchmarks.memory import in_fresh_process
from vis.batch.plan import Survey
from vis.batch.run import explain, journal_of
from vis.files.tables import Table
from vis.methods import METHODS

SIDE = 96
CLASS = 5
LIMIT = 1 / 0.9
MEMORY_LIMIT_MB = 50.0


@benchmark("batch")
def batch(quick):
    """Grad-CAM and SmoothGrad of every row of a CSV file of 96 x 96 images, at 90 % of the bare rate.

    The bare computation has the images in memory and throws the maps away. Reading a PNG file, drawing and writing its
    picture take 0.7 ms of a processor, so the ratio is larger where the map itself takes little.
    """
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2((SIDE, SIDE, 3), weights=None)
    mean = {"aggregate": "mean"}
    with tempfile.TemporaryDirectory() as folder:
        for name, suffix, method, options, count, bare in (
            ("Grad-CAM", "png", METHODS["gradcam"], {}, 1000, _bare_gradcam),
            ("Grad-CAM", "jpg", METHODS["gradcam"], {}, 1000, _bare_gradcam),
            ("SmoothGrad", "png", METHODS["smoothgrad"], mean, 32 if quick else 64, _bare_smoothgrad),
        ):
            table, images = _data_set(Path(folder), count, suffix)
            comparison = compare(
                functools.partial(_survey, model, method, options, table),
                bare(model, images),
                repeats=3 if quick else 11,
                seconds=90,
            )
            yield comparison.row(f"{name}, {count:,} rows, {suffix}", LIMIT)


@benchmark("batch-memory")
def batch_memory(quick):
    """Peak memory of Grad-CAM for 2,000 rows less that for 320.

    With fewer rows not all the batches that may be under way at one time are there: 100 rows take some 50 MB less. A
    peak is sometimes far higher, whatever the number of rows, where the threads meet: the least of several runs counts.
    """
    counts = (320, 640) if quick else (320, 2000)
    few, many = (min(in_fresh_process(_peak, count) for _ in range(3)) for count in counts)
    yield Row(
        f"{counts[1]:,} rows less {counts[0]}",
        f"{many:.0f} MB",
        f"{few:.0f} MB",
        many - few,
        MEMORY_LIMIT_MB,
        "MB",
    )


def _data_set(folder, count, suffix="png"):
    """A CSV file of images that are as hard to compress as photographs, and the images in memory."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(exist_ok=True)
    images = []
    for number in range(min(count, 1000)):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).resize((SIDE, SIDE), Image.BICUBIC)
        pixels = np.clip(np.asarray(coarse, int) + rng.integers(-6, 7, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.{suffix}", quality=90)
        images.append(pixels)
    rows = "".join(f"images/{number % 1000}.{suffix},{CLASS}\n" for number in range(count))
    (folder / "data.csv").write_text(f"x:image,y:label\n{rows}")
    return Table(folder / "data.csv"), np.stack(images).astype(np.float32) / 255


def _survey(model, method, options, table):
    survey = Survey(
        table=table,
        output=table.folder / "maps.csv",
        column="map",
        input_variable="x",
        label_variable="y",
        preprocess="unit",
        method=method,
        options=options,
        predict=False,
        settings={},
    )
    with journal_of(survey, model) as journal:
        for _ in explain(survey, model, journal):
            pass


def _bare_gradcam(model, images):
    maps = lower_bounds.gradcam(model)

    def all_maps(size, images=images):
        for start in range(0, len(images), size):
            maps(images[start : start + size], CLASS)

    return functools.partial(all_maps, _fastest(lambda size: all_maps(size, images[:128]), (8, 16, 32, 64)))


def _bare_smoothgrad(model, images):
    maps = functools.cache(lambda chunk: lower_bounds.smoothgrad(model, chunk))

    def all_maps(chunk, images=images):
        for start in range(0, len(images), 2):
            maps(chunk)(images[start : start + 2], CLASS, 0)

    return functools.partial(all_maps, _fastest(lambda chunk: all_maps(chunk, images[:4]), (1, 5, 25)))


def _fastest(call, choices):
    """The choice that takes least, of three tries each."""
    seconds = {}
    for choice in choices:
        call(choice)
        tries = []
        for _ in range(3):
            begin = time.perf_counter()
            call(choice)
            tries.append(time.perf_counter() - begin)
        seconds[choice] = min(tries)
    return min(seconds, key=seconds.get)


def _peak(count):
    model = keras.applications.MobileNetV2((SIDE, SIDE, 3), weights=None)
    with tempfile.TemporaryDirectory() as folder:
        table, images = _data_set(Path(folder), min(count, 200))
        del images
        rows = "".join(f"images/{number % 200}.png,{CLASS}\n" for number in range(count))
        (Path(folder) / "data.csv").write_text(f"x:image,y:label\n{rows}")
        _survey(model, METHODS["gradcam"], {}, table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, kilobytes elsewhere
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
