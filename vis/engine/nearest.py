"""The default layer of a class activation map: the last feature map before the target."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from vis.engine import addressing, graphs
from vis.engine.layout import MADE
from vis.engine.types import Source
from vis.utils.errors import ArgumentError


def nearest(run, losses) -> list[tuple[Source, list]]:
    """Find, for each input, the last feature map of more than one position that the target was computed from.

    If the target also reads an input through a branch that bypasses its last feature map, that feature map would show
    only part of the truth: then the last one that all branches come from is used. If there is none, as in an average
    of several networks, the last one of each branch is used.

    Args:
        run: The `vis.engine.taps.Run`.
        losses: A list of `(loss, weight)`.

    Returns:
        A list of `(source, tensors)`: one per layer, with one tensor per call of the layer that counts.

    Raises:
        ArgumentError: There is no feature map.
    """
    targets: list = []
    own: list = []
    for loss, _ in losses:
        found = run.tensors(getattr(loss, "layer", None))
        # Not what lies between the logits and the output, such as a softmax before a reshape.
        read = [run.logits_of(tensor) for tensor in found] if getattr(loss, "logits", False) else found
        targets += read
        own += [*found, *read]
    candidates = _candidates(run, targets, own, lambda layout: layout.is_map)
    candidates = candidates or _candidates(run, targets, own, lambda layout: True)
    reading = [each for each in candidates if _reads_places(run, each[1], targets)]
    if not candidates:
        raise ArgumentError(
            "penultimate_layer_idx",
            f"must be a layer with a feature map (more than one position), which the model '{run.model.name}' does not "
            "have before the target",
            "Use saliency",
            kind="no_feature_map",
        )
    chosen: list = []
    for tensor in run.inputs:
        for each in _of_input(reading or candidates, tensor, targets):
            if not any(each[1] is other[1] for other in chosen):
                chosen.append(each)
    chosen = chosen or candidates[:1]
    return _as_sources(run, chosen)


def _candidates(run, targets, own, fits) -> list:
    """Return pairs of a layer and a tensor, the last first, each tensor with the innermost layer that returned it."""
    outputs = [tensor for tensor in own if all(tensor is not target for target in targets)]
    before = set().union(*(graphs.ancestors(target, outputs) for target in targets))
    first: dict[str, object] = {}
    for layer, outputs in run.calls:
        for tensor in outputs:
            first.setdefault(tensor.name, layer)
    found, seen = [], {tensor.name for tensor in own}
    for _, outputs in reversed(run.calls):
        for tensor in outputs:
            if tensor.name in seen or tensor.op.name not in before or not tensor.dtype.is_floating:
                continue
            seen.add(tensor.name)
            layout = run.layout(tensor)
            if fits(layout) and _positions(tensor, layout) > 1 and not _is_all_features(run, tensor):
                found.append((first[tensor.name], tensor))
    return found


def _of_input(candidates, tensor, targets) -> list:
    """Return the candidates that show what the targets read of one input: one, if any way from it passes that one."""
    computed = graphs.descendants(tensor)
    found = [each for each in candidates if each[1].op.name in computed]
    for each in found:
        if not _is_passed([each], tensor, targets):
            return [each]
    if not found:
        return []
    # No feature map covers it all: take the last ones of the branches, none of which hides another from the target.
    chosen = found[:1]
    for each in found[1:]:
        if not _is_passed(chosen, tensor, targets):
            break
        past = set().union(*(graphs.ancestors(target, [other[1] for other in chosen]) for target in targets))
        if each[1].op.name in past and not any(each[1].op.name in graphs.ancestors(other[1]) for other in chosen):
            chosen.append(each)
    return chosen


def _is_passed(chosen, tensor, targets) -> bool:
    """Return whether the targets read an input by a path that avoids all chosen tensors."""
    ends = [each[1] for each in chosen]
    return any(tensor.op.name in graphs.ancestors(target, ends) for target in targets)


def _positions(tensor, layout) -> float:
    rank = tensor.shape.rank
    if rank is None or rank < 3:
        return 0
    sizes = [size for i, size in enumerate(list(tensor.shape)[1:]) if i != layout.channel]
    return np.prod([np.inf if size is None else size for size in sizes])


def _is_all_features(run, tensor) -> bool:
    """Return whether a tensor has no axis of positions: heads of (classes, dimensions), capsules, prototypes."""
    axes = run.axes.of(tensor)
    if axes is None:
        return False
    atoms = [atom for axis in axes[1:] for atom in axis.atoms]
    return not any(atom.kind == MADE or run.axes.is_position(atom) for atom in atoms)


def _as_sources(run, chosen) -> list[tuple[Source, list]]:
    """Return the chosen tensors by their layers, in the order in which the layers were called."""
    order = [tensor.name for call in run.calls for tensor in call.outputs]
    chosen = sorted(chosen, key=lambda each: order.index(each[1].name))
    groups: list = []
    for layer, tensor in chosen:
        group = next((found for other, found in groups if other is layer), None)
        if group is None:
            groups.append((layer, [tensor]))
        else:
            group.append(tensor)
    several = len(groups) > 1
    names = ", ".join(repr(addressing.path_of(run.model, layer)) for layer, _ in groups)
    sources = []
    for layer, found in groups:
        layout = run.layout(found[0])
        inputs = {pair[0] for pair in layout.along if pair is not None}
        note = ("several_layers", f"no layer has a feature map that all branches come from: {names} are taken")
        sources.append(
            (
                Source(
                    addressing.path_of(run.model, layer),
                    len(found),
                    found[0].shape.rank,
                    layout,
                    min(inputs) if inputs else None,
                    note=note if several else None,
                ),
                found,
            )
        )
    return sources


def _reads_places(run, tensor, targets) -> bool:
    """Return whether the targets read more of a tensor's tokens than the extra ones.

    It follows the axis of the tokens through the operations after the tensor, until an operation mixes it, a slice
    takes tokens other than the extra ones, or the target itself has it.
    """
    axes = run.axes.of(tensor)
    tokens = [i for i, axis in enumerate(axes or ()) if axis.extra != (0, 0)]
    if not tokens:
        return True
    before = set().union(*(graphs.ancestors(target) for target in targets))
    ends = {target.name for target in targets}
    waiting, seen = [(tensor, tokens[0])], set()
    while waiting:
        value, axis = waiting.pop()
        if (value.name, axis) in seen:
            continue
        seen.add((value.name, axis))
        if value.name in ends:
            return True
        for op in value.consumers():
            if op.name not in before or op.type in ("Shape", "ShapeN", "Size", "Rank"):
                continue
            for output in op.outputs:
                found = _carried(run, op, value, axis, output)
                if found is None:
                    return True
                waiting += [(output, i) for i in found]
    return False


def _carried(run, op, value, axis: int, output) -> list[int] | None:
    """Return the axes of an output that hold the tokens of `axis` one by one, or None if they are mixed or read."""
    known, after = run.axes.of(value), run.axes.of(output)
    if known is None or after is None:
        return None
    if op.type in ("StridedSlice", "GatherV2"):
        taken = _taken(op, axis, value.shape[axis])
        leading, trailing = known[axis].extra
        size = value.shape[axis]
        if taken is not None and taken:
            inside = all(i < leading or (size is not None and i >= size - trailing) for i in taken)
            if inside:
                return []
            if len(taken) == 1:
                return None
    if op.type in ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"):
        first = op.inputs[0] is value
        names = ("transpose_a", "adj_x") if first else ("transpose_b", "adj_y")
        turned = any(op.get_attr(name) for name in names if name in op.node_def.attr)
        rank = value.shape.rank
        contracted = rank - 1 if first != turned else rank - 2
        if axis == contracted:
            return None
        if axis >= rank - 2:
            return [output.shape.rank - (2 if first else 1)]
    if op.type == "Einsum":
        terms, _, result = op.get_attr("equation").decode().partition("->")
        where = next(i for i, each in enumerate(op.inputs) if each is value)
        letter = _letter(terms.split(",")[where], value.shape.rank, axis)
        letters = [_letter(result, output.shape.rank, i) for i in range(output.shape.rank)]
        return [letters.index(letter)] if letter in letters else None
    found = [i for i, each in enumerate(after) if each.atoms == known[axis].atoms]
    return ([axis] if axis in found and len(found) > 1 else found[:1]) or None


def _letter(term: str, rank: int, axis: int) -> str:
    if "..." not in term:
        return term[axis]
    before, after = term.split("...")
    if axis < len(before):
        return before[axis]
    if axis >= rank - len(after):
        return after[axis - rank]
    return f"...{axis - rank + len(after)}"


def _taken(op, axis: int, size) -> list[int] | None:
    """Return the entries of an axis that an operation takes, or None if they are unknown."""
    if op.type == "GatherV2":
        indices, at = tf.get_static_value(op.inputs[1]), tf.get_static_value(op.inputs[2])
        if indices is None or at is None or int(at) != axis:
            return None
        return [int(i) if i >= 0 or size is None else int(i) + size for i in np.ravel(indices)]
    begin, end, step = (tf.get_static_value(each) for each in op.inputs[1:4])
    if begin is None or end is None or op.get_attr("ellipsis_mask") or op.get_attr("new_axis_mask"):
        return None
    if axis >= len(begin) or step[axis] != 1:
        return None
    first = 0 if op.get_attr("begin_mask") >> axis & 1 else int(begin[axis])
    if op.get_attr("shrink_axis_mask") >> axis & 1:
        return [first if first >= 0 or size is None else first + size]
    last = size if op.get_attr("end_mask") >> axis & 1 else int(end[axis])
    if last is None or (size is None and (first < 0 or last < 0)):
        return None
    first, last = (i + size if i < 0 else i for i in (first, last)) if size is not None else (first, last)
    return list(range(first, last if size is None else min(last, size)))
