"""The rows of a survey: read them, explain them, and collect their outcomes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from vis import datasets, images
from vis.batch.plan import Outcome, Survey
from vis.files.paths import image_path
from vis.utils.errors import ArgumentError

if TYPE_CHECKING:
    from vis.batch.predictions import Prediction

# The most pixels of a batch's original images that are kept for drawing; larger ones are read again.
_PIXELS_KEPT = 2_000_000


class Explained(NamedTuple):
    """A row to be drawn: its outcome, its sample, its map, the map of a wrongly predicted class, and the numbers to
    save if requested.
    """

    outcome: Outcome
    sample: Sample
    heatmap: np.ndarray
    predicted_heatmap: np.ndarray | None
    numbers: np.ndarray | None


class Sample(NamedTuple):
    """A row that could be read: its image (None if it is large), the image's path, and the model's input."""

    image: Image.Image | None
    path: Path
    x: np.ndarray
    label: int | None


def columns(survey: Survey) -> list[int]:
    """Return the columns that a survey reads: that of the image, and those of the label."""
    labels = survey.table.positions(survey.label_variable) if survey.label_variable is not None else []
    return [*survey.table.positions(survey.input_variable), *labels]


def reader(survey: Survey, layout: images.InputLayout, size: int) -> Callable[[list[str]], Sample]:
    """Return a function that reads a `Sample` from a row's cells in `columns`, for batches of `size` rows."""

    def read(cells):
        cell, *labels = cells
        label = datasets.labels(labels) if labels else None
        path = image_path(survey.table.folder, cell)
        image = images.read_image(path)
        x = images.to_model_input(image, layout, survey.preprocess)
        return Sample(image if image.width * image.height * size <= _PIXELS_KEPT else None, path, x, label)

    return read


def explainer(survey: Survey, model) -> Callable:
    """Return a function that explains rows.

    It returns a list of `Explained` to be drawn, and the outcomes of the rows that failed.
    """
    from vis.batch.predictions import check_label, output_width, predictor
    from vis.losses import Labels
    from vis.visualization.attribution import NotFiniteError

    predict = predictor(model)
    layout = images.input_layout(model)
    width, is_regressor = None, False

    def explain_rows(rows):
        nonlocal width, is_regressor
        failed = []
        by_shape: dict[tuple, list] = {}
        for row in rows:
            if row.error:
                failed.append(Outcome(row.number, error=row.error))
                continue
            if width is None:
                outputs = output_width(model, row.value.x)
                if survey.class_index is not None:
                    is_regressor = outputs == 1 and not predict(row.value.x[None]).probabilities
                    _check_class(survey.class_index, 1 if is_regressor else max(outputs, 2))
                width = outputs  # last, as another thread goes on once it is known
            try:
                if row.value.label is not None:
                    check_label(row.value.label, width)
            except ValueError as error:
                failed.append(Outcome(row.number, error=str(error)))
            else:
                # They can have different shapes only if the model takes images of any size.
                by_shape.setdefault(row.value.x.shape, []).append(row)
        explained = []
        for alike in by_shape.values():
            some, wrong = attempt(alike)
            explained += some
            failed.extend(wrong)
        return explained, failed

    def attempt(rows):
        try:
            return explain(rows), []
        except NotFiniteError as error:
            if len(rows) == 1:
                return [], [Outcome(rows[0].number, error=str(error))]
            # Explain those that are finite without the others.
            alone = [attempt([row]) for row in rows]
            return [each for some, _ in alone for each in some], [each for _, wrong in alone for each in wrong]
        except ArgumentError as error:
            if error.kind != "computation" or None not in (layout.height, layout.width):
                raise
            # The layers of a model for images of any size can fail on a small one. TensorFlow's reason is left out, as
            # its words depend on what was computed before.
            shape = rows[0].value.x.shape
            height, width = shape[1:] if layout.channel_axis == 0 else shape[:2]
            reason = f"has a size that the model's layers cannot compute: {width} by {height} pixels"
            return [], [Outcome(row.number, error=f"{row.value.path} {reason}") for row in rows]

    def explain(rows):
        samples = [row.value for row in rows]
        x = np.stack([sample.x for sample in samples])
        outcomes = [Outcome(row.number, label=row.value.label) for row in rows]
        if survey.predict or survey.label_variable is None:
            prediction = predict(x)
            if not np.isfinite(prediction.scores).all():
                raise NotFiniteError("model", "must give finite numbers, but its output is NaN or infinite")
            outcomes = _predicted(outcomes, prediction)
        # For a regressor, the map shows what increases its output, as for label 1.
        classes = [each.predicted if each.label is None else each.label for each in outcomes]
        labels: np.ndarray = np.array([1 if label is None else label for label in classes])
        if survey.class_index is not None:
            # The only index of a regressor stands for its output, as for a single image.
            labels = np.full(len(rows), 1 if is_regressor else survey.class_index)
        heatmaps = survey.method.explain(model, Labels(labels), x, survey.options, to_draw=True)
        numbers = heatmaps if survey.save_maps else [None] * len(rows)
        if survey.save_maps and survey.method.is_enlarged:
            numbers = survey.method.explain(model, Labels(labels), x, survey.options)
        wrong = [place for place, each in enumerate(outcomes) if each.misclassified]
        of_predicted = {}
        if wrong:
            predicted = np.array([outcomes[place].predicted for place in wrong])
            maps = survey.method.explain(model, Labels(predicted), x[wrong], survey.options, to_draw=True)
            of_predicted = dict(zip(wrong, maps, strict=True))
        return [
            Explained(outcome, samples[place], heatmaps[place], of_predicted.get(place), numbers[place])
            for place, outcome in enumerate(outcomes)
        ]

    return explain_rows


def _check_class(index: int, count: int) -> None:
    if index < count:
        return
    if count == 1:
        raise ArgumentError("class_index", f"must be 0 for a model of one output without a sigmoid, not {index}")
    raise ArgumentError("class_index", f"must be one of the model's {count} classes, from 0, not {index}")


def _predicted(outcomes: list[Outcome], prediction: Prediction) -> list[Outcome]:
    """Return the outcomes with the predictions; without labels, a single output without sigmoid is a regressor's."""
    completed = []
    for outcome, index, score in zip(outcomes, prediction.classes, prediction.scores, strict=True):
        index, score = int(index), round(float(score), 6)
        if outcome.label is None and prediction.width == 1 and not prediction.probabilities:
            index, score = None, score if index else -score
        completed.append(outcome._replace(predicted=index, score=score, probability=prediction.probabilities))
    return completed
