"""Where the positions of a feature map lie in the model's inputs, and maps brought to their size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vis.engine.inputs import ModelInputs
from vis.engine.layout import Layout
from vis.engine.types import Source
from vis.utils.errors import ArgumentError, warn


class Folding(NamedTuple):
    """How the caller says that tokens fold into a picture.

    Attributes:
        grid: (rows, columns), or None.
        extra: How many tokens stand before and after the patches, or None.
    """

    grid: tuple | None = None
    extra: tuple | None = None


class Placed(NamedTuple):
    """Maps along axes of an input.

    Attributes:
        maps: (samples, *positions), in the order of the input's axes.
        size: The size to bring them to.
        along: The position of the input and its axis, counted within one sample, for each axis of the maps; empty
            where they do not lie along an input.
    """

    maps: np.ndarray
    size: tuple
    along: tuple = ()


def place(maps: np.ndarray, source: Source, inputs: ModelInputs, folding: Folding, noted: set) -> Placed:
    """Lay maps along the axes of the inputs that their positions come from.

    Args:
        maps: (samples, *positions of the feature map).
        source: What gave the feature map.
        inputs: The samples.
        folding: How the caller says that tokens fold, if he does.
        noted: The codes of warnings that were given already; new ones are added.

    Returns:
        The `Placed` maps: folded, with the input's order of axes, and constant along an axis that was folded into the
        channels.
    """
    layout = source.layout
    if folding != Folding():
        maps, layout = _folded_as_told(maps, layout, inputs, folding)
    elif layout.grid is not None and maps.ndim == 2:
        maps = _folded(maps, layout, inputs)
    along = list(layout.along)
    if len(along) != maps.ndim - 1 or not along:
        along = [None] * (maps.ndim - 1)
    if None in along:
        return _made_inside(maps, source, inputs, layout, along, noted)
    if len({position for position, _ in along}) > 1:
        _note(
            noted,
            "unknown_axes",
            f"the positions of {source.name!r} lie along several inputs, so its map is not resized",
        )
        return Placed(maps, maps.shape[1:])
    position = along[0][0]
    shape = inputs.arrays[position].shape[1:]
    # An axis that was folded into the channels is one of the picture all the same.
    for missing in [axis for i, axis in layout.melted if i == position and (i, axis) not in along]:
        maps = maps[..., None]
        along.append((position, missing))
    order = sorted(range(len(along)), key=lambda i: along[i][1])
    maps = np.transpose(maps, [0, *(i + 1 for i in order)])
    return Placed(maps, tuple(shape[along[i][1]] for i in order), tuple(along[i] for i in order))


def with_axes(inputs: ModelInputs, along: tuple) -> list[int]:
    """Return the positions of the inputs that have the axes that maps lie along, in the same sizes.

    Args:
        inputs: The samples.
        along: Of a `Placed`.
    """
    shape = inputs.arrays[along[0][0]].shape[1:]
    axes = [axis for _, axis in along]
    return [
        i
        for i, array in enumerate(inputs.arrays)
        if array.ndim > 1 + max(axes) and all(array.shape[1 + axis] == shape[axis] for axis in axes)
    ]


def joined(part, maps: list):
    """Return a part and its maps, those of several layers over one input added up: parts of one sum."""
    inputs = [source.input for source in part.sources]
    if len(part.sources) < 2 or part.sources[0].note is None or len(set(inputs)) == len(inputs):
        return part, maps
    kept = [i for i, position in enumerate(inputs) if position not in inputs[:i]]
    added = []
    for i in kept:
        same = [calls for calls, position in zip(maps, inputs, strict=True) if position == inputs[i]]
        flat = [call for calls in same for call in calls]
        if len({call.shape for call in flat}) == 1:
            added.append([np.sum(flat, axis=0)])
        else:
            added.append(flat)
    return part._replace(
        sources=[part.sources[i] for i in kept],
        gradients=[part.gradients[i] for i in kept],
        values=[part.values[i] for i in kept],
    ), added


def _folded(maps: np.ndarray, layout: Layout, inputs: ModelInputs) -> np.ndarray:
    before, after = layout.extra
    patches = maps[:, before : maps.shape[1] - after]
    grid: list | None = list(layout.grid or ())
    if grid and None in grid:
        grid = _sizes(grid, patches.shape[1], layout, inputs)
    return patches.reshape(len(maps), *grid) if grid and np.prod(grid) == patches.shape[1] else patches


def _sizes(grid: list, count: int, layout: Layout, inputs: ModelInputs) -> list | None:
    """Return the sizes of a grid of which the trace knows some or none, in the proportion of the input's axes."""
    known = int(np.prod([size for size in grid if size is not None]))
    unknown = [i for i, size in enumerate(grid) if size is None]
    if len(unknown) == 1 and count % known == 0:
        grid[unknown[0]] = count // known
        return grid
    if len(unknown) == 2 and None not in layout.along:
        height, width = (inputs.arrays[i].shape[1 + axis] for i, axis in (layout.along[j] for j in unknown))
        rows = round(np.sqrt(count / known * height / width))
        if rows and count // known % rows == 0:
            grid[unknown[0]], grid[unknown[1]] = rows, count // known // rows
            return grid
    return None


def _folded_as_told(maps, layout: Layout, inputs: ModelInputs, folding: Folding):
    if maps.ndim != 2:
        raise ArgumentError(
            "token_grid", f"must be left out for a feature map of positions {maps.shape[1:]}, which has no tokens"
        )
    before, after = folding.extra if folding.extra is not None else layout.extra
    patches = maps[:, before : maps.shape[1] - after]
    grid = folding.grid
    pictures = [i for i, array in enumerate(inputs.arrays) if array.ndim >= 3]
    position = layout.along[0][0] if layout.along and layout.along[0] else pictures[0] if pictures else 0
    if grid is None:
        side = round(np.sqrt(patches.shape[1]))
        grid = layout.grid if layout.grid and None not in layout.grid else (side, side)
    if np.prod(grid) != patches.shape[1]:
        raise ArgumentError(
            "token_grid",
            f"must have as many places as there are tokens ({patches.shape[1]} beside {before} before and {after} "
            f"after them), not {tuple(grid)}",
            "Give extra_tokens=(before, after) where some are no places",
        )
    along = layout.along if layout.grid else tuple((position, axis) for axis in _places(inputs, position, len(grid)))
    return patches.reshape(len(maps), *grid), layout._replace(along=along, melted=())


def _places(inputs: ModelInputs, position: int, count: int) -> range:
    """Return the first axes of an input, or the last ones where the first has the size of colours."""
    shape = inputs.arrays[position].shape[1:]
    first = 1 if len(shape) > count and shape[0] in (1, 3) and shape[-1] not in (1, 3) else 0
    return range(first, first + count)


def _made_inside(maps, source: Source, inputs: ModelInputs, layout: Layout, along: list, noted: set) -> Placed:
    """Return maps whose positions are not those of an input, in the size of the first tensor that has them."""
    name = source.name
    pictures = any(array.ndim >= 4 for array in inputs.arrays)
    if maps.ndim == 2 and pictures:
        _note(
            noted,
            "not_places",
            f"the {maps.shape[1]} rows of {name!r} are not known to be places of the picture, so the map is given "
            "along them",
            "Give token_grid=(rows, columns), and extra_tokens=(before, after), to have them folded",
        )
        return Placed(maps, maps.shape[1:])
    size = []
    for i, pair in enumerate(along):
        wanted = layout.sizes[i] if i < len(layout.sizes) else None
        if pair is not None:
            wanted = inputs.arrays[pair[0]].shape[1 + pair[1]]
        size.append(wanted or maps.shape[1 + i])
    _note(
        noted,
        "made_inside",
        f"the positions of {name!r} are made inside the model, so its map has the size of the first tensor that has "
        f"them, {tuple(size)}, not the input's",
    )
    return Placed(maps, tuple(size))


def _note(noted: set, code: str, problem: str, remedy: str = "") -> None:
    if code not in noted:
        noted.add(code)
        warn(code, problem, remedy)
