"""The house: every import points down a floor, and none goes round in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import vis

FOLDER = Path(vis.__file__).parent

# Lowest first; what stands on one floor may import from it and from those below.
FLOORS: tuple = (
    ("utils", "engine"),
    "losses grad_modifiers backprop_modifiers input_modifiers regularizers files images datasets".split(),
    ("optimizer", "models"),
    ("visualization", "influence", "plotting", "methods"),
    ("metrics",),
    ("pages", "batch"),
    ("callbacks", "demo", "cli", "__main__"),
)
STRANGERS = {("visualization", "influence"), ("influence", "visualization")}


def modules() -> dict[str, Path]:
    """Every module of the package: its dotted name, and its file."""
    found = {}
    for path in FOLDER.rglob("*.py"):
        parts = path.relative_to(FOLDER).with_suffix("").parts
        found[".".join(("vis", *(parts[:-1] if parts[-1] == "__init__" else parts)))] = path
    return found


def imports(path: Path, known) -> set[str]:
    """The modules of the package that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in inner}
    return found & set(known)


def room(module: str) -> str:
    """The top-level name that a module belongs to."""
    return module.split(".")[1] if "." in module else "vis"


def arrows() -> dict[str, set[str]]:
    """What each module imports; the package's own `__init__`, which loads its parts lazily, is left out."""
    known = modules()
    return {name: imports(path, known) - {"vis", name} for name, path in known.items() if name != "vis"}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A circle in a graph, if there is one."""
    done: set[str] = set()

    def walk(node, way):
        if node in way:
            return way[way.index(node) :]
        if node in done:
            return []
        for child in sorted(graph.get(node, ())):
            if found := walk(child, [*way, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := walk(node, []))), [])


def test_the_top_level_is_what_users_import():
    names = {room(name) for name in modules()} - {"vis"}
    assert names <= {name for floor in FLOORS for name in floor}


def test_no_import_climbs_a_floor():
    floor = {name: level for level, names in enumerate(FLOORS) for name in names}
    climbing = [
        f"{name} -> {other}"
        for name, others in arrows().items()
        for other in sorted(others)
        if floor[room(other)] > floor[room(name)]
    ]
    assert climbing == []


def test_visualization_and_influence_do_not_know_each_other():
    met = [f"{name} -> {o}" for name, others in arrows().items() for o in others if (room(name), room(o)) in STRANGERS]
    assert met == []


def test_no_circle_of_modules_or_rooms():
    graph = {name: {other for other in others if not name.startswith(f"{other}.")} for name, others in arrows().items()}
    assert circle(graph) == []
    rooms: dict[str, set[str]] = {}
    for name, others in graph.items():
        rooms.setdefault(room(name), set()).update({room(other) for other in others} - {room(name)})
    assert circle(rooms) == []


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def test_function_local_and_type_checking_imports_count(tmp_path):
    (tmp_path / "m.py").write_text("if TYPE_CHECKING:\n    from vis import a\ndef f():\n    from vis.b import c\n")
    assert imports(tmp_path / "m.py", {"vis": 0, "vis.a": 0, "vis.b": 0}) == {"vis.a", "vis.b"}
