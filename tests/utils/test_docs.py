"""Texts that docstrings share: how they are filled in, and where."""

from __future__ import annotations

import doctest
import functools
import inspect
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import vis
from vis.utils import docs
from vis.utils.docs import TEXTS, fill, shared_docs

ROOT = Path(vis.__file__).parent.parent


@pytest.fixture
def texts(monkeypatch):
    """Short texts in place of the real ones."""
    short = {
        "one": "one: The first.",
        "long": "long: " + "word " * 30 + "end.",
        "both": ["one", "group"],
        "group": ["two"],
        "two": "two: The second.",
        "result": "An array " + "of numbers " * 12 + "and no more.",
    }
    monkeypatch.setattr(docs, "TEXTS", short)
    return short


def test_a_placeholder_becomes_its_text_at_its_own_indentation(texts):
    assert fill("Sum.\n\n    Args:\n        {{one}}\n        other: Mine.\n") == (
        "Sum.\n\n    Args:\n        one: The first.\n        other: Mine.\n"
    )


def test_long_texts_are_wrapped_and_hang_below_the_argument_name(texts):
    lines = fill("    {{long}}").splitlines()
    assert len(lines) > 1
    assert lines[0].startswith("    long: word")
    assert all(line.startswith("        word") for line in lines[1:])
    assert max(map(len, lines)) <= 120
    assert " ".join(" ".join(lines).split()) == texts["long"]


def test_a_result_has_no_name_and_does_not_hang(texts):
    lines = fill("    {{result}}").splitlines()
    assert len(lines) > 1
    assert all(re.match(r" {4}\S", line) for line in lines)


def test_what_follows_a_placeholder_is_appended_to_its_text(texts):
    filled = fill("    {{one}} It is\n        positive.\n    two: Mine.\n")
    assert filled == "    one: The first. It is positive.\n    two: Mine.\n"


def test_a_paragraph_after_a_placeholder_stays_one(texts):
    assert fill("{{one}}\n\nMore.\n") == "one: The first.\n\nMore.\n"


def test_a_group_gives_its_texts_in_order(texts):
    assert fill("    {{both}}\n") == "    one: The first.\n    two: The second.\n"


def test_only_a_placeholder_that_begins_a_line_is_one(texts):
    assert fill("Of {{one}}, {one} and {{ one }}.") == "Of {{one}}, {one} and {{ one }}."


def test_an_unknown_placeholder_is_refused_by_its_name(texts):
    with pytest.raises(KeyError, match=r"\{\{three\}\} is no shared text"):
        fill("    {{three}}")


def test_every_group_names_texts_that_exist():
    for name in TEXTS:
        assert "{{" not in fill(f"{{{{{name}}}}}")


def test_every_text_is_a_sentence():
    for name, text in TEXTS.items():
        if isinstance(text, str):
            assert text.endswith("."), name
            assert "  " not in text, name


def test_functions_classes_methods_and_properties_are_filled(texts):
    @shared_docs
    class Thing:
        """{{one}} More."""

        @classmethod
        @shared_docs
        def make(cls):
            """{{one}} More."""

        @property
        @shared_docs
        def inner(self):
            """{{one}} More."""

        @shared_docs
        @property
        def outer(self):
            """{{one}} More."""

    for thing in (Thing, Thing.make, Thing.inner, Thing.outer):
        assert thing.__doc__ == "one: The first. More."


def test_the_function_itself_is_returned(texts):
    def plain():
        """{{one}} More."""

    assert shared_docs(plain) is plain


@pytest.mark.parametrize("inside", [True, False])
def test_a_wrapper_has_the_filled_text_whichever_decorator_comes_first(texts, inside):
    def wrapping(function):
        @functools.wraps(function)
        def wrapper(one):
            return function(one)

        return wrapper

    def plain(one):
        """{{one}} More."""

    wrapped = wrapping(shared_docs(plain)) if inside else shared_docs(wrapping(plain))
    assert inspect.getdoc(wrapped) == "one: The first. More."
    assert list(inspect.signature(wrapped).parameters) == ["one"]


def test_doctests_are_collected_from_a_filled_docstring(texts):
    module = types.ModuleType("module")
    source = '''
@shared_docs
def double(one):
    """Double.

    Args:
        {{both}}

    Example:
        >>> double(2)
        4
    """
    return 2 * one
'''
    exec(source, vars(module) | {"shared_docs": shared_docs}, vars(module))
    module.double.__module__ = "module"
    (test,) = doctest.DocTestFinder().find(module.double, "double", globs={"double": module.double})
    assert "two: The second." in test.docstring
    assert [(example.source, example.want) for example in test.examples] == [("double(2)\n", "4\n")]
    assert doctest.DocTestRunner().run(test).failed == 0


def test_without_docstrings_nothing_happens():
    code = (
        "from vis.utils.docs import shared_docs\n"
        "@shared_docs\ndef f():\n    '''{{model}}'''\n"
        "import vis.utils.arrays\n"
        "print(f.__doc__, vis.utils.arrays.Slicer.__doc__)"
    )
    run = subprocess.run([sys.executable, "-OO", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.stdout.split() == ["None", "None"], run.stderr


def test_the_texts_are_importable_without_tensorflow():
    code = "import sys, vis.utils.docs; print({'tensorflow', 'keras', 'numpy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "set()", run.stderr


def test_a_module_that_uses_a_placeholder_fills_it():
    """A docstring with a placeholder but without the decorator would show it to users."""
    import ast

    for path in (ROOT / "vis").rglob("*.py"):
        if path.name == "docs.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or "{{" not in (ast.get_docstring(node) or ""):
                continue
            names = [decorator.id for decorator in node.decorator_list if isinstance(decorator, ast.Name)]
            assert "shared_docs" in names, f"{path.name}: {node.name}"


def test_the_api_pages_are_filled():
    griffe = pytest.importorskip("griffe")
    extensions = griffe.load_extensions(str(ROOT / "docs" / "shared_texts.py"))
    package = griffe.load("vis", search_paths=[str(ROOT)], extensions=extensions)
    docstring = package["plotting.figures.show"].docstring.value
    assert "{{" not in docstring
    assert "colormap: The name of a matplotlib colour map" in docstring
