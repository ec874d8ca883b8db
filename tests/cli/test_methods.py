"""What the commands that come from the table of methods share."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import keras
import pytest
from typer import BadParameter
from typer.main import get_command

from vis.cli import app, methods
from vis.cli.messages import UsageError
from vis.methods import METHODS


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise RuntimeError('boom')", "cannot be imported: RuntimeError: boom"),
        ("def f(:", "cannot be imported: SyntaxError"),
        ("import sys; sys.exit('usage: train.py')", "cannot be imported: SystemExit: usage: train.py"),
        ("Att = 3", "has 'Att', but it is 3"),
    ],
)
def test_modules_that_cannot_be_used(tmp_path, monkeypatch, code, message):
    monkeypatch.chdir(tmp_path)
    name = f"module_{abs(hash(code))}"
    Path(f"{name}.py").write_text(code)
    with pytest.raises(BadParameter, match=re.escape(message)) as caught:
        methods.objects_named([f"{name}:Att"])
    assert caught.value.param_hint == "--custom-objects"


def test_objects_come_from_modules_in_the_folder_where_one_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my_own_layers.py").write_text("class Att: pass\n\ndef act(x): return x\n")
    before = list(sys.path)
    found = methods.objects_named(["my_own_layers:Att", "my_own_layers:act"])
    assert sys.path == before
    assert {name: each.__name__ for name, each in found.items()} == {"Att": "Att", "act": "act"}
    for text in ("my_own_layers", ":Att", "my_own_layers:"):
        with pytest.raises(BadParameter, match=f"{text!r} is not of the form module:Name"):
            methods.objects_named([text])
    with pytest.raises(BadParameter, match="'my_own_layers' has no 'Other'"):
        methods.objects_named(["my_own_layers:Other"])


def test_each_row_of_the_table_has_two_commands_with_its_options():
    commands = get_command(app).commands
    for name, method in METHODS.items():
        flags = methods.flags(method)
        for command in (name, f"{name}-batch"):
            options = [flag for option in commands[command].params for flag in option.opts]
            assert set(flags.values()) <= set(options), command
            assert len(options) == len(set(options)), "a name that two options have"


def test_a_typed_value_is_that_of_the_option_or_refused():
    options = {each.name: each for each in METHODS["smoothgrad"].options}
    assert methods._value(options["num_samples"], 7) == 7
    assert methods._value(options["num_samples"], None) is None
    with pytest.raises(UsageError, match="^--num-samples must be at least 1, not 0"):
        methods._value(options["num_samples"], 0)


def test_the_scale_of_pixels_that_is_asked_for_wins_and_a_contradiction_is_told(tmp_path, capsys):
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(2, 3)]
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    model.save(tmp_path / "m.keras")
    said = methods.scale("auto", tmp_path / "m.keras", model)
    assert said.name == "raw"
    assert said.reason
    assert methods.chosen_scale("auto", said) == f"pixels as raw, because {said.reason}"
    assert capsys.readouterr().err == ""
    assert methods.scale("raw", tmp_path / "m.keras", model).name == "raw"
    assert capsys.readouterr().err == ""
    assert methods.scale("unit", tmp_path / "m.keras", model).name == "unit"
    warning = f"Warning: --preprocess unit is used, but the model asks for raw, because {said.reason}.\n"
    assert capsys.readouterr().err == warning
    assert methods.chosen_scale("unit", said) == ""
