"""What `help()` shows: every parameter of every public function, method and class is documented, and nothing else."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import textwrap
from typing import NamedTuple

import pytest

# What users import. Everything here has an example that runs (`pytest --doctest-modules` runs them).
DOCUMENTED = """
    vis.visualization vis.losses vis.regularizers vis.grad_modifiers vis.backprop_modifiers vis.input_modifiers
    vis.callbacks vis.optimizer vis.influence vis.plotting vis.datasets vis.images vis.models vis.utils.utils
    vis.optimizer.callbacks vis.utils.arrays vis.utils.checks vis.files.journal vis.files.outputs vis.pages.ranking
    vis.pages.rendering vis.pages.label_errors vis.batch.label_errors vis.plotting.sheets vis.batch
""".split()

# What those are made of.
INTERNAL = """
    vis.optimizer.host_calls vis.optimizer.loop vis.optimizer.parameterizations vis.optimizer.starts
    vis.optimizer.updates vis.plotting.canvas vis.plotting.pictures vis.utils.errors
    vis.influence.adjoint vis.influence.checkpoints vis.influence.checks vis.influence.classes
    vis.influence.confident_learning
    vis.influence.counterfactual vis.influence.examples vis.influence.first_order vis.influence.fold_files
    vis.influence.folds vis.influence.order vis.influence.probe vis.influence.replayable vis.influence.runs
    vis.influence.self_influence vis.influence.sgd vis.influence.sources vis.influence.watching
    vis.influence.storage vis.influence.tracin vis.influence.training vis.influence.update_rules
    vis.influence.validation vis.files.columns vis.files.image_folders vis.files.inputs vis.files.parquet
    vis.batch.model_files vis.files.savedmodels vis.files.tables vis.pages.gallery
""".split()

# Docstrings that are still to be completed. The set shrinks to nothing: a name whose docstring is complete must go.
NOT_YET: set[str] = set()

SECTIONS = "Args Attributes Returns Yields Raises Warns Example".split()
_SECTION = re.compile(rf"^({'|'.join(SECTIONS)}):$")
_ENTRY = re.compile(r"^ {4}(\*{0,2}[\w.]+)(?: \([^)]*\))?: ")
# Words that begin a noun phrase or a clause, where a verb in the imperative is wanted; and verbs in another mood.
_NO_VERB = re.compile(r"(?:The|A|An|What|How|Whether|Where|When|Which|If|As|Of|One|Called|To|\w+ing|\w*[^su]s)\b")


class Public(NamedTuple):
    """A public function, method, property or class: where it is imported from, and the class it is a member of."""

    name: str
    thing: object
    owner: type | None = None
    needs_example: bool = True


def exported(module) -> dict[str, object]:
    """The public functions and classes of a module: those of `__all__`, or else those that it defines."""
    names = getattr(module, "__all__", None)
    found = {name: getattr(module, name) for name in names or vars(module) if not name.startswith("_")}
    return {
        name: thing
        for name, thing in found.items()
        if (inspect.isclass(thing) or inspect.isroutine(thing)) and (names or thing.__module__ == module.__name__)
    }


def members(owner: type) -> dict[str, object]:
    """The methods and properties that a class of this library defines."""
    found = {}
    for name, member in vars(owner).items():
        member = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
        function = member.fget if isinstance(member, property) else member
        if not name.startswith("_") and inspect.isfunction(function) and function.__module__.startswith("vis."):
            found[name] = member
    return found


@functools.cache
def public() -> tuple[Public, ...]:
    """All public functions, classes and their methods and properties, each once."""
    found = {}
    for path in [*DOCUMENTED, *INTERNAL]:
        for name, thing in exported(importlib.import_module(path)).items():
            if id(thing) in found:
                continue
            found[id(thing)] = Public(f"{path}.{name}", thing, None, path in DOCUMENTED)
            if inspect.isclass(thing):
                for own, member in members(thing).items():
                    found[id(member)] = Public(f"{path}.{name}.{own}", member, thing, False)
    return tuple(found.values())


def docstring(item: Public) -> str:
    """The docstring; of an overriding method without one, that of what it overrides."""
    if item.owner is None:
        return inspect.cleandoc(item.thing.__doc__ or "")
    return inspect.getdoc(getattr(item.owner, item.name.rpartition(".")[2])) or ""


def sections(text: str) -> dict[str, list[str]]:
    """The lines of each section of a Google-style docstring."""
    found: dict[str, list[str]] = {}
    lines = None
    for line in text.splitlines():
        if match := _SECTION.match(line):
            lines = found.setdefault(match[1], [])
        elif line and not line.startswith(" "):
            lines = None
        elif lines is not None:
            lines.append(line)
    return found


def entries(lines: list[str]) -> list[str]:
    """The names that a section explains."""
    return [match[1].lstrip("*") for match in map(_ENTRY.match, lines) if match]


def parameters(item: Public) -> list[str]:
    """The names of the parameters, those of a class being its constructor's."""
    thing = item.thing
    if isinstance(thing, property):
        return []
    if inspect.isclass(thing) and thing.__init__ is object.__init__ and thing.__new__ is object.__new__:
        return []
    if inspect.isclass(thing) and not {"__init__", "__new__"} & set(vars(thing)):
        return []  # the base class's docstring has them
    names = list(inspect.signature(thing).parameters)
    return names[1:] if item.owner is not None and names[:1] in (["self"], ["cls"]) else names


def source(item: Public) -> ast.FunctionDef | None:
    """The syntax tree of a function, of a property's getter or of a class's own constructor."""
    thing = item.thing.fget if isinstance(item.thing, property) else item.thing
    if inspect.isclass(thing):
        thing = vars(thing).get("__init__")
        if not inspect.isfunction(thing):
            return None
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(thing)))).body
    return node if isinstance(node, ast.FunctionDef) else None  # a lambda's line


def own_nodes(function) -> list[ast.AST]:
    """The nodes of a function that are not in a function inside it."""
    found, waiting = [], list(function.body)
    while waiting:
        node = waiting.pop()
        found.append(node)
        if not isinstance(node, (ast.FunctionDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)
    return found


def problems(item: Public) -> list[str]:
    """What is wrong with a docstring."""
    text = docstring(item)
    if not text:
        return ["has no docstring"]
    wrong = []
    parts = sections(text)
    wanted = parameters(item)
    documented = entries(parts.get("Args", []))
    if inspect.isclass(item.thing) and hasattr(item.thing, "_fields"):
        documented += entries(parts.get("Attributes", []))
    wrong += [f"does not document the parameter {name}" for name in wanted if name not in documented]
    wrong += [f"documents {name}, which is no parameter" for name in documented if name not in wanted]
    wrong += [f"documents {name} twice" for name in set(documented) if documented.count(name) > 1]
    if "{{" in text:
        wrong.append("has a placeholder that was not filled")
    if re.search(r"\b[Aa]s in `|\bAs `", text):
        wrong.append("sends the reader to another docstring")
    if "What is wrong with" in text:
        wrong.append("does not say what is refused")
    if not inspect.isclass(item.thing) and _NO_VERB.match(text):
        wrong.append(f"does not begin with a verb in the imperative, but with {text.split()[0]!r}")
    if item.needs_example and "Example" not in parts:
        wrong.append("has no example")
    if (tree := source(item)) is not None:
        nodes = own_nodes(tree)
        returning = any(isinstance(node, ast.Return) and node.value is not None for node in nodes)
        yielding = any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in nodes)
        raising = any(isinstance(node, ast.Raise) and node.exc is not None for node in nodes)
        if returning and not {"Returns", "Yields"} & set(parts) and (wanted or not text.startswith("Return")):
            wrong.append("does not say what it returns")
        if yielding and "Yields" not in parts:
            wrong.append("does not say what it yields")
        if raising and "Raises" not in parts:
            wrong.append("does not say what it raises")
    return wrong


def report(items) -> str:
    return "\n".join(f"{item.name} {problem}" for item in items for problem in problems(item))


def test_the_public_names_are_found():
    names = {item.name for item in public()}
    assert {
        "vis.visualization.visualize_saliency",
        "vis.optimizer.Optimizer.minimize",
        "vis.influence.TrainingRun.steps_per_epoch",
        "vis.regularizers.TotalVariation.of",
        "vis.backprop_modifiers.guided",
        "vis.plotting.show",
    } <= names
    # What a module without `__all__` imports is not its own.
    assert "Table" not in exported(importlib.import_module("vis.datasets"))


def test_docstrings_are_complete():
    assert report(item for item in public() if item.name not in NOT_YET) == ""


def test_what_is_still_to_be_completed_is_listed_no_longer_than_it_is():
    assert {item.name for item in public() if item.name in NOT_YET and problems(item)} == NOT_YET


def documented(a, *b, c=1):
    """Add.

    Args:
        a: One.
        *b: More.
        c: Another.

    Returns:
        The sum.

    Raises:
        ValueError: It is negative.

    Example:
        >>> documented(1)
        2
    """
    if a < 0:
        raise ValueError(a)
    return a + sum(b) + c


def test_a_complete_docstring_passes():
    assert problems(Public("documented", documented)) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("    c: Another.\n", "", "does not document the parameter c"),
        ("    c: Another.", "    d: Another.", "documents d, which is no parameter"),
        ("    c: Another.", "    c: Another.\n    c: Again.", "documents c twice"),
        ("Another.", "{{another}}", "has a placeholder that was not filled"),
        ("Another.", "As in `other`.", "sends the reader to another docstring"),
        ("It is negative.", "What is wrong with an argument.", "does not say what is refused"),
        ("Add.", "Adds.", "does not begin with a verb in the imperative, but with 'Adds.'"),
        ("Add.", "The sum.", "does not begin with a verb in the imperative, but with 'The'"),
        ("Example:", "Note:", "has no example"),
        ("Returns:", "Results:", "does not say what it returns"),
        ("Raises:", "Refuses:", "does not say what it raises"),
    ],
)
def test_each_fault_is_found(old, new, problem, monkeypatch):
    changed = inspect.cleandoc(documented.__doc__).replace(old, new)
    assert changed != inspect.cleandoc(documented.__doc__)
    monkeypatch.setattr(documented, "__doc__", changed)
    assert problem in problems(Public("documented", documented))
