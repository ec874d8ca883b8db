"""Errors and warnings of the library as lines of the command."""

from __future__ import annotations

import ast
import threading
from pathlib import Path

import pytest
from typer.main import get_command

import vis
from vis.cli import activation, app, influence, label_errors
from vis.cli.messages import UsageError, gathered_messages, library_messages, option
from vis.utils.errors import ArgumentError, ArgumentTypeError, warn

OPTIONS = {"filter_indices": "--class-index", "model": "--model"}


def refused(error: Exception, *words) -> str:
    """The line in which a command refuses what an error is about."""
    with pytest.raises(UsageError) as caught, library_messages(*words):
        raise error
    assert caught.value.exit_code == 2
    return caught.value.format_message()


def test_an_argument_is_shown_as_its_option():
    error = ArgumentError("filter_indices", "must be from 0 to 9, not 12", "Give a class of the model")
    assert refused(error, OPTIONS) == "--class-index must be from 0 to 9, not 12. Give a class of the model."
    error = ArgumentTypeError("model", "must be a Keras model, not int")
    assert refused(error, OPTIONS) == "--model must be a Keras model, not int."


def test_an_argument_that_no_option_stands_for_is_shown_as_it_is():
    assert refused(ArgumentError("damping", "must be at least 0, not -1"), OPTIONS) == (
        "damping must be at least 0, not -1."
    )


def test_names_in_a_problem_are_left_alone():
    error = ArgumentError("filter_indices", "must suit the model: filter_indices=7 does not")
    assert refused(error, OPTIONS) == "--class-index must suit the model: filter_indices=7 does not."


def test_a_remedy_of_the_shell_is_chosen_by_argument_and_kind():
    remedies = {("model", "outputs"): "Save a model of one output"}
    for kind, remedy in (("outputs", "Save a model of one output"), ("dtype", "Give model.layers[0]"), ("", "Python")):
        error = ArgumentError("model", "must do", "Python" if not kind else "Give model.layers[0]", kind=kind)
        assert refused(error, OPTIONS, remedies) == f"--model must do. {remedy}."
    error = ArgumentError("x", "must do", "Python", kind="outputs")
    assert refused(error, OPTIONS, remedies) == "x must do. Python."


def test_an_error_without_an_argument_is_shown_as_it_is():
    assert refused(ValueError("model: filter_indices is bad"), OPTIONS) == "model: filter_indices is bad"


def test_an_option_stands_for_whatever_it_was_passed_as():
    with pytest.raises(UsageError) as caught, option("--input-train", {("path", "empty"): "Write some rows"}):
        raise ArgumentError("path", "must have rows, not none", "See Table", kind="empty")
    assert caught.value.format_message() == "--input-train must have rows, not none. Write some rows."
    with pytest.raises(UsageError) as caught, option("--colormap"):
        raise ValueError("no such colours")
    assert caught.value.format_message() == "Invalid value for --colormap: no such colours"


def test_warnings_are_grouped_by_code_and_counted(capsys):
    with gathered_messages({}, {"blank": "Choose an earlier --layer"}):
        for i in range(3):
            warn("blank", f"the map of row {i} is blank", "Choose another penultimate_layer_idx")
        warn("saturated", "the softmax is saturated")
        warn("saturated", "the sigmoid is saturated, too")
    assert capsys.readouterr().err.splitlines() == [
        "Warning: the map of row 0 is blank. Choose an earlier --layer. (repeated 2 more times)",
        "Warning: the softmax is saturated. (repeated 1 more time)",
    ]


def test_warnings_of_other_threads_count(capsys):
    with gathered_messages({}, {}):
        threads = [threading.Thread(target=warn, args=("blank", "the map is blank")) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert capsys.readouterr().err == "Warning: the map is blank. (repeated 3 more times)\n"


def test_a_remedy_of_the_shell_is_not_given_where_the_library_has_none(capsys):
    with library_messages({}, {"negative_map": "--grad-modifier negate shows it"}):
        warn("negative_map", "the map is negative")
        warn("negative_map", "the map is negative", "grad_modifier='negate' shows it")
    assert capsys.readouterr().err.splitlines() == [
        "Warning: the map is negative.",
        "Warning: the map is negative. --grad-modifier negate shows it.",
    ]


def test_warnings_are_shown_before_an_error_that_ends_many_calls(capsys):
    with pytest.raises(UsageError), gathered_messages({}, {}):
        _warn_and_fail()
    assert capsys.readouterr().err == "Warning: the map is blank.\n"


def test_a_model_of_integers_gets_advice_for_the_shell():
    error = ArgumentError("seed_input", "must be given, because the input 'x' takes integers", kind="missing")
    assert refused(error, activation._OPTIONS, activation._REMEDIES) == (
        "an image to start from must be given, because the input 'x' takes integers. "
        "Save the model with an input of real numbers."
    )


def _warn_and_fail():
    warn("blank", "the map is blank")
    raise ArgumentError("model", "must run")


@pytest.mark.parametrize("command", [activation, influence, label_errors])
def test_words_of_the_shell_name_options_that_there_are(command):
    known = {name for each in get_command(app).commands.values() for option in each.params for name in option.opts}
    words = [word for text in [*command._REMEDIES.values(), *command._OPTIONS.values()] for word in text.split()]
    assert {word.strip(".,") for word in words if word.startswith("--")} <= known


# Errors as data


def edited(source: str) -> list[int]:
    """The lines in which the text of an exception that was caught is edited."""
    tree = ast.parse(source)
    caught = {node.name for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.name}

    def is_text(node):
        return (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "str"
            and any(isinstance(argument, ast.Name) and argument.id in caught for argument in node.args)
        )

    editing = {"replace", "removeprefix", "removesuffix", "partition", "rpartition"}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr
            if (name in editing and is_text(node.func.value)) or (
                name in ("sub", "subn") and any(map(is_text, node.args))
            ):
                found.append(node.lineno)
    return found


def test_no_module_edits_the_message_of_an_error():
    folder = Path(vis.__file__).parent
    found = {str(path.relative_to(folder)): edited(path.read_text("utf-8")) for path in folder.rglob("*.py")}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("use", "is_edited"),
    [
        ("x = str(e).replace('a', 'b')", True),
        ("x = re.sub('a', 'b', str(e))", True),
        ("x = str(e).removeprefix('a')", True),
        ("x = ' '.join(str(e).split())", False),
        ("x = str(path).replace('a', 'b')", False),
    ],
)
def test_what_counts_as_editing(use, is_edited):
    assert bool(edited(f"try:\n    f()\nexcept ValueError as e:\n    {use}\n")) == is_edited
