"""Jobs on a Ray cluster of two nodes that loses a process and a node: the bytes are those of one process."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import vis.batch
from vis import ArgumentError, VisWarning
from vis.batch import label_errors, model_files, run, surveys
from vis.batch.compiled import Compiled, training_of
from vis.batch.executors import LOCAL, executor_named
from vis.batch.influence_trials import score
from vis.methods import METHODS

pytestmark = pytest.mark.ray
ROWS = 150
SIDE = 8


@pytest.fixture(scope="module")
def cluster():
    """A head that computes nothing, and two nodes of a processor each."""
    executor_named("ray")  # sets what Ray reads when it is imported
    from ray.cluster_utils import Cluster

    noticing = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300, "health_check_failure_threshold": 3}
    head = {
        "num_cpus": 0,
        "include_dashboard": False,
        "object_store_memory": 100 * 2**20,
        "_system_config": noticing,
    }
    started = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        started.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    started.wait_for_nodes()
    yield started
    started.shutdown()


@pytest.fixture(scope="module")
def joined(cluster):
    """The executor, connected once for all tests."""
    with executor_named("ray", cluster.address) as executor:
        yield executor


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    layers = [
        keras.layers.Conv2D(4, 3, activation="relu", name="features"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3, "softmax"),
    ]
    return keras.Sequential([keras.Input((SIDE, SIDE, 1)), *layers])


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of 150 images."""
    folder = tmp_path_factory.mktemp("images")
    pixels = np.random.default_rng(0).integers(0, 256, (ROWS, SIDE, SIDE), np.uint8)
    for number, each in enumerate(pixels):
        Image.fromarray(each).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def table(images, tmp_path, monkeypatch):
    """A table of the images, one of which is missing, in the folder to work in."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{os.path.relpath(images, tmp_path)}/{number}.png,{number % 3}" for number in range(ROWS)]
    rows[77] = "none.png,1"
    Path("in.csv").write_text("\n".join(["x,y", *rows, ""]))
    return Path("in.csv")


def survey_of(model, table, output, *, method="saliency", options=None, **more):
    method = METHODS[method]
    options = surveys.checked_options(method, options or {})
    survey = surveys.plan(
        model, table, Path(output), method=method, options=options, predict=True, save_map=True, **more
    )
    return surveys.for_model(survey, model, surveys.scale("unit", None, model))[0]


def explained(survey, model, executor, *, resume=False, most=None):
    """The outcomes of a run, or of its first batches."""
    found = []
    with run.journal_of(survey, model, resume=resume) as journal:
        batches = run.explain(survey, model, journal, executor)
        for number, some in enumerate(batches, start=1):
            found += some
            if number == most:
                break
        batches.close()
    return found


def contents(name: str) -> dict[str, bytes]:
    """What a run has written, by path; the name of the output is left out."""
    files = [path for path in Path().rglob("*") if path.is_file() and path.parts[0].partition(".")[0] == name]
    own = re.compile(rb"\b%s(?=/0|\.csv)" % name.encode())
    return {str(path).replace(name, "", 1): own.sub(b"", path.read_bytes()) for path in files}


def pid_that_reads(path: Path) -> int:
    """The process that has a pipe open, beside this one, as soon as its `open` has returned too."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for number in filter(str.isdigit, os.listdir("/proc")):
            folder = Path("/proc", number, "fd")
            try:
                if int(number) != os.getpid() and any(os.path.samefile(each, path) for each in folder.iterdir()):
                    return int(number)
            except OSError:
                continue
    raise AssertionError(f"no process reads {path}")


def parent(pid: int) -> int:
    return int(re.search(r"^PPid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1])


def raylet(node) -> int:
    (process,) = node.all_processes["raylet"]
    return process.process.pid


def test_a_killed_worker_and_a_lost_node_change_no_byte(cluster, joined, model, table, images):
    expected = explained(survey_of(model, table, "local.csv"), model, LOCAL)
    assert [each.row for each in expected if each.error] == [77]
    assert sum(each.misclassified for each in expected) > 10

    # Images that are pipes: whoever reads one is stopped in the middle of a shard, and waits for what happens to it.
    stops = {}
    for row in (20, 100):
        path = images / f"{row}.png"
        stops[row] = path.rename(images / f"{row}.image.png")
        os.mkfifo(path)
    killed = []

    def lose(row, end):
        path = images / f"{row}.png"
        with path.open("wb"):  # returns when a worker has opened it
            pid = pid_that_reads(path)
            os.replace(stops[row], path)
            end(pid)
            killed.append(pid)

    def lose_node(pid):
        (node,) = [node for node in cluster.worker_nodes if raylet(node) == parent(pid)]
        cluster.remove_node(node, allow_graceful=False)
        # A machine that is lost takes its workers with it, where here they end a moment after their raylet: before the
        # pipe is closed, which they would take for a damaged image.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def lose_both():
        lose(20, lambda pid: os.kill(pid, signal.SIGKILL))
        lose(100, lose_node)

    loser = threading.Thread(target=lose_both, daemon=True)
    loser.start()
    lost = joined.lost
    found = explained(survey_of(model, table, "ray.csv"), model, joined)
    loser.join(60)
    cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    assert len(set(killed)) == 2
    assert joined.lost >= lost + 2
    assert found == [each._replace(picture=each.picture and each.picture.replace("local", "ray")) for each in expected]
    local, remote = contents("local"), contents("ray")
    assert len(local) == 2 * (ROWS - 1) + sum(each.misclassified for each in expected) + 3
    assert remote == local


@pytest.mark.parametrize("first_is_local", [True, False])
def test_either_executor_continues_what_the_other_began(joined, model, table, first_is_local):
    explained(survey_of(model, table, "whole.csv"), model, LOCAL)
    first, second = (LOCAL, joined) if first_is_local else (joined, LOCAL)
    survey = survey_of(model, table, "parts.csv")
    assert len(explained(survey, model, first, most=2)) == 128 < ROWS
    assert not Path("parts.csv").exists()
    before = {path: path.stat().st_mtime_ns for path in Path("parts/0000").glob("?.png")}
    explained(survey, model, second, resume=True)
    assert contents("parts") == contents("whole")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_errors_and_warnings_come_back_as_they_are(joined, model, table):
    class_index_out_of_range = survey_of(model, table, "e.csv", class_index=7)
    with pytest.raises(ArgumentError, match="must be one of the model's 3 classes, from 0, not 7") as caught:
        explained(class_index_out_of_range, model, joined)
    assert caught.value.argument == "class_index"
    negative = keras.models.clone_model(model)
    negative.layers[-1].set_weights([-np.ones((4, 3)), np.zeros(3)])
    counts = []
    for executor in (LOCAL, joined):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", VisWarning)
            explained(survey_of(negative, table, "w.csv", method="gradcam"), negative, executor)
        counts.append([each.message.code for each in told])
    assert len(counts[0]) >= 5
    assert counts[0][0] == "negative_map"
    assert counts[0] == counts[1]


def end_this_process(shared, piece):
    if piece == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return shared * piece


def fail(shared, piece):
    raise OSError(28, "No space left on device")


def test_a_piece_that_ends_every_process_is_named(joined):
    modules = [sys.modules[__name__]]
    found = joined.map(end_this_process, 2, range(100), named=lambda piece: f"piece {piece}", modules=modules)
    assert [next(found) for _ in range(3)] == [0, 2, 4]
    with pytest.raises(ArgumentError, match="must finish piece 3, which ended its process 4 times"):
        list(found)


def test_no_more_pieces_are_drawn_than_are_worked_on(joined):
    drawn = []

    def pieces():
        for number in range(1000):
            drawn.append(number)
            yield number

    found = joined.map(end_this_process, 1, (4 for _ in pieces()), modules=[sys.modules[__name__]])
    next(found)
    found.close()
    assert 0 < len(drawn) <= 16


def test_a_full_disk_is_an_error_of_the_disk(joined):
    with pytest.raises(OSError, match="No space left on device") as caught:
        list(joined.map(fail, None, [1], modules=[sys.modules[__name__]]))
    assert caught.value.errno == 28


@keras.saving.register_keras_serializable("tests")
class Tripling(keras.layers.Layer):
    def call(self, x):
        return 3 * x


def test_the_user_s_own_layers_go_out_with_the_model(joined, table):
    layers = [Tripling(), keras.layers.Flatten(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((SIDE, SIDE, 1)), *layers])
    assert sys.modules[__name__] in model_files.packed(model).modules()
    explained(survey_of(model, table, "own.csv"), model, joined)
    explained(survey_of(model, table, "here.csv"), model, LOCAL)
    assert contents("own") == contents("here")


def test_the_function_and_the_command_on_a_cluster(cluster, joined, model, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog", "owl"):
        (tmp_path / "set" / name).mkdir(parents=True)
    for number in range(12):
        Image.open(images / f"{number}.png").save(f"set/{['cat', 'dog', 'owl'][number % 3]}/{number}.png")
    model.save("m.keras")
    found = vis.batch.explain(
        "m.keras", "set", "a.csv", method="saliency", executor="ray", address=cluster.address, html=True, progress=False
    )
    pd.testing.assert_frame_equal(
        found.assign(picture=found["picture"].str.replace("a/", "b/")),
        vis.batch.explain(model, "set", "b.csv", method="saliency", html=True, progress=False),
    )
    assert "2 owl" in Path("a.html").read_text()
    from typer.testing import CliRunner

    from vis.cli import app

    for output, more in (("c", ["--ray", cluster.address]), ("d", [])):
        line = ["saliency-batch", "--model", "m.keras", "--input", "set", "--output", f"{output}.csv", *more, "--html"]
        result = CliRunner().invoke(app, line)
        assert result.exit_code == 0, result.output
        assert f"{output}.csv: 12 of 12 rows explained" in result.stdout
    assert contents("c") == contents("d")
    assert Path("c.csv").read_text().replace("c/0", "a/0") == Path("a.csv").read_text()


def test_influence_trials_on_a_cluster_give_the_same_scores(joined):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 3)).astype(np.float32), rng.integers(0, 2, 12)
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softmax")])
    compiled = Compiled("sparse_categorical_crossentropy")
    training = training_of(compiled, learning_rate="auto", batch_size=4)
    asked = (network, compiled, x, y, x[:5], y[:5])
    found = score(*asked, training=training, n_trials=3, progress=False, executor=joined)
    expected = score(*asked, training=training, n_trials=3, progress=False)
    assert found.training == expected.training
    for name in ("influence", "loss", "self_influence"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_the_folds_of_label_errors_on_a_cluster_give_the_same_table(joined, tmp_path):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(60, 2)) + np.repeat([[-2, 0], [2, 0]], 30, axis=0)).astype(np.float32)
    y = np.repeat([0, 1], 30)
    y[[7, 40]] = 1 - y[[7, 40]]
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "softmax")])
    adam = {"class_name": "Adam", "config": {"learning_rate": 0.05}}
    options = {"optimizer": adam, "epochs": 4, "progress": False}
    told = label_errors.classifier_of(network, Compiled(), (2,))
    found = label_errors.find(network, Compiled(), told, x, y, executor=joined, directory=tmp_path, **options)
    expected = label_errors.find(network, Compiled(), told, x, y, **options)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert set(found["datasource_index"][:2]) == {7, 40}


def test_the_command_starts_ray_alone_is_interrupted_and_goes_on_without_it(model, table, images):
    explained(survey_of(model, table, "whole.csv"), model, LOCAL)
    model.save("m.keras")
    arguments = ["saliency-batch", "--model", "m.keras", "--input", "in.csv", "--output", "parts.csv", "--save-map"]
    arguments += ["--html", "--preprocess", "unit"]
    stop = images / "140.png"
    kept = stop.rename(images / "140.image.png")
    os.mkfifo(stop)
    root = Path(vis.__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    journal = Path("parts/journal.jsonl")
    with subprocess.Popen(
        [sys.executable, "-m", "vis", *arguments, "--ray"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            deadline = time.monotonic() + 200
            while not (journal.exists() and len(journal.read_bytes().splitlines()) == 3):  # all but the last batch
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
            os.replace(kept, stop)
    assert process.returncode == 130
    assert "The class of each row, in column 'y', is explained" in out + err
    *bar, last = [line for line in re.split(r"[\r\n]+", err) if line.strip()]
    assert last == "Interrupted after 128 of 150 rows. Continue with --resume."
    assert all(line.startswith("saliency:") for line in bar), err
    from typer.testing import CliRunner

    from vis.cli import app

    result = CliRunner().invoke(app, [*arguments, "--resume"])
    assert "parts.csv: 149 of 150 rows explained" in result.stdout, result.output
    whole, parts = contents("whole"), contents("parts")
    for name in ("/journal.jsonl", ".html"):  # the journal begins with the model's file
        whole.pop(name, None)
        parts.pop(name)
    assert parts == whole


def test_an_address_where_nothing_runs():
    code = (
        "from vis.batch.executors import executor_named\n"
        "try:\n    executor_named('ray', '127.0.0.1:1').__enter__()\n"
        "except ValueError as error:\n    print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "address must be the address of a running Ray cluster, not 127.0.0.1:1" in result.stdout, result.stderr
