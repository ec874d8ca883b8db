"""A data set on Ray: rows per second with one and two processes, and what a row and a piece cost the driver."""

import pickle
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from benchmarks.batch import LIMIT, SIDE, _bare_gradcam, _data_set
from benchmarks.harness import Row, benchmark
from vis.batch import model_files, run, shards, surveys
from vis.batch.executors import executor_named
from vis.batch.plan import Outcome
from vis.methods import METHODS

BYTES_PER_ROW = 250
SECONDS_PER_MILLION_ROWS = 60


@benchmark("ray")
def on_ray(quick):
    """Rows per second of Grad-CAM of 96 x 96 images in a CSV file, once the model runs: at 90 % of the bare rate."""
    import ray

    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2((SIDE, SIDE, 3), weights=None)
    count = 1000 if quick else 4000
    with tempfile.TemporaryDirectory() as folder:
        table, images = _data_set(Path(folder), count)
        bare = _bare_gradcam(model, images)
        for name, cpus in (("local", 0), ("ray, 1 process", 1), ("ray, 2 processes", 2)):
            executor = executor_named("ray" if cpus else "local")
            if cpus:
                ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
            rates, bare_rates = [], []
            for _ in range(3):
                begin = time.perf_counter()
                bare()
                bare_rates.append(len(images) / (time.perf_counter() - begin))
                rates.append(_rate(model, table, executor))
            if cpus:
                ray.shutdown()
            ours, reference = np.median(rates), np.median(bare_rates)
            yield Row(f"{name}, {count:,} rows", f"{ours:.0f}/s", f"{reference:.0f}/s", reference / ours, LIMIT)


@benchmark("ray-driver")
def driver(quick):
    """What the driver of a cluster does and sends for each row, without a model: constants of docs/clusters.md."""
    count = 20_000 if quick else 200_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data.csv")
        rows = (f"photographs/{row // 1000:04d}/{row}.jpg,{row % 1000}\n" for row in range(count))
        path.write_text("x:image,y:label\n" + "".join(rows))
        options = surveys.checked_options(METHODS["gradcam"], {})
        model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(1000)])
        begin = time.perf_counter()
        survey = surveys.plan(model, path, Path(folder, "out.csv"), method=METHODS["gradcam"], options=options)
        checked = time.perf_counter() - begin
        with run.journal_of(survey, model) as journal:
            sent = received = 0
            begin = time.perf_counter()
            for shard in shards.Cells(survey).shards(256):
                outcomes = [
                    Outcome(shard.start + row, f"out/{shard.start // 1000:04d}/{shard.start + row}.png", None, 7)
                    for row in range(len(shard.cells))
                ]
                sent += len(pickle.dumps(shard))
                received += len(pickle.dumps(outcomes))
                for at in range(0, len(outcomes), 32):
                    journal.append(outcomes[at : at + 32])
            handed_out = time.perf_counter() - begin
            begin = time.perf_counter()
            survey.table.write(survey.output, {survey.column: (each.picture for each in run.outcomes(journal))})
            written = time.perf_counter() - begin
            size = survey.journal.stat().st_size
    for name, value, limit in (
        ("sent per row", sent / count, BYTES_PER_ROW),
        ("received per row", received / count, BYTES_PER_ROW),
        ("journal per row", size / count, BYTES_PER_ROW),
    ):
        yield Row(name, f"{value:.0f} B", "", value, limit, "B")
    for name, seconds in (("checking", checked), ("handing out", handed_out), ("writing the table", written)):
        million = 1e6 * seconds / count
        yield Row(f"{name}, 1M rows", f"{million:.1f} s", "", million, SECONDS_PER_MILLION_ROWS, "s")


@benchmark("ray-pieces")
def pieces(quick):
    """The time that a piece without work takes on its way to a process and back, two processes."""
    count = 200 if quick else 2000
    with executor_named("ray") as executor:
        list(executor.map(divmod, 7, range(1, 20)))
        begin = time.perf_counter()
        for _ in executor.map(divmod, 7, range(1, count)):
            pass
        milliseconds = 1e3 * (time.perf_counter() - begin) / count
    yield Row(f"{count} pieces", f"{milliseconds:.2f} ms", "", milliseconds, 20, "ms")


def _rate(model, table, executor):
    """Rows per second from the fourth part of the rows on: before that workers load the model."""
    method = METHODS["gradcam"]
    options = surveys.checked_options(method, {})
    survey = surveys.plan(model, table.path, table.folder / "maps.csv", method=method, options=options)
    survey, _ = surveys.for_model(survey, model, surveys.scale("unit", None, model))
    file = model_files.packed(model) if executor.is_remote else None
    count, done, begin, before = table.count(), 0, None, 0
    with executor, run.journal_of(survey, model) as journal:
        for some in run.explain(survey, model, journal, executor, file):
            done += len(some)
            if begin is None and done >= count / 4:
                begin, before = time.perf_counter(), done
            end = time.perf_counter()
    return (done - before) / (end - begin)
