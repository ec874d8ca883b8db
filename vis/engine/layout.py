"""The meaning of the axes of a tensor: its channels, and the input axis that each of its positions comes from.

It is derived from the traced graph. Each axis of an input is an `Atom`; one walk over the operations of the graph
follows the atoms through transposes, reshapes, convolutions, contractions and concatenations to every tensor. An axis
that merges others, such as the tokens of a vision transformer, keeps them and their sizes. A new axis is a feature if a
contraction with weights created it, and otherwise one made inside the model.

Nothing is guessed from the sizes of tensors, except for unknown operations: an axis of the same size as in the input of
the operation (or layer) counts as the same axis, and any other as a new one.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import tensorflow as tf

FEATURE, MADE = "feature", "made"


class Atom(NamedTuple):
    """An axis at its first appearance.

    Attributes:
        origin: The position of an input, or the name of the tensor in which it appeared.
        axis: Its axis there, the sample axis being 0.
        kind: `"input"`, `"feature"` or `"made"`.
        part: Its index among the parts, if reshapes split it: a pair (index, count) per split.
    """

    origin: Any
    axis: int
    kind: str = "input"
    part: tuple = ()


class Axis(NamedTuple):
    """An axis of a tensor: the atoms that were merged into it, outermost first, and their sizes here.

    Attributes:
        atoms: The atoms; a single one for an axis that was never merged.
        sizes: Their sizes in this tensor, None if the trace does not know.
        extra: The numbers of extra tokens before and after them.
    """

    atoms: tuple
    sizes: tuple
    extra: tuple = (0, 0)


class Layout(NamedTuple):
    """The meaning of the axes of one sample of a tensor.

    Attributes:
        channel: The axis of the channels, counted without the sample axis; None if there is none.
        along: For each position (for tokens that are folded, of the folded ones) the pair (input, axis), counted
            without the sample axis, that it lies along; None for a position that is made inside the model.
        sizes: For each position the size of the first tensor that has it; None if the trace does not know.
        grid: The positions that the tokens fold into, or None if there is nothing to fold.
        extra: The numbers of tokens before and after those.
        melted: The axes of inputs that were folded into the channels, as pairs (input, axis).
        is_guess: Whether the channel axis is a guess.
        is_map: Whether it is a feature map: channels at positions of an input, or of a tensor derived from it.
    """

    channel: int | None
    along: tuple
    sizes: tuple
    grid: tuple | None = None
    extra: tuple = (0, 0)
    melted: tuple = ()
    is_guess: bool = False
    is_map: bool = True


BATCH = Atom("batch", 0)


class Axes:
    """The axes of all tensors of a traced graph.

    Args:
        graph: The graph.
        inputs: The tensors of the model's inputs.
        calls: For each tensor that a layer returned, by name, the first tensor that the layer was called with.
    """

    def __init__(self, graph, inputs, calls: dict | None = None):
        self.inputs = inputs
        self.calls = calls or {}
        self.known: dict[str, list[Axis]] = {}
        self.roles: dict[Atom, set[str]] = {}
        self.melted: dict[Atom, frozenset] = {}
        self.first_size: dict[Atom, int | None] = {}
        self.lists: dict[str, list[Axis] | None] = {}
        for i, tensor in enumerate(inputs):
            if tensor.shape.rank is not None:
                atoms = [BATCH, *(Atom(i, axis) for axis in range(1, tensor.shape.rank))]
                self._set(tensor, [Axis((atom,), (size,)) for atom, size in zip(atoms, tensor.shape, strict=True)])
        for op in graph.get_operations():
            self._visit(op)

    def of(self, tensor) -> list[Axis] | None:
        """Return the axes of a tensor, or None if nothing of it comes from the inputs."""
        return self.known.get(tensor.name)

    # -- What axes are used for ---------------------------------------------------------------------------------------

    def _use(self, axis: Axis, role: str):
        for atom in axis.atoms:
            self.roles.setdefault(atom, set()).add(role)

    def is_position(self, atom: Atom) -> bool:
        """Return whether an atom is a position: of an input, not its channels, or a new one that is convolved over."""
        roles = self.roles.get(_whole(atom), set()) | self.roles.get(atom, set())
        if atom.kind == "input":
            return atom != BATCH and atom != self.channel_atom(atom.origin)
        return "position" in roles

    def channel_atom(self, position: int) -> Atom | None:
        """Return the atom of an input's channels, or None if it has none."""
        rank = self.inputs[position].shape.rank
        channel = self.input_channel(position)[0]
        return None if rank is None or channel is None else Atom(position, channel + 1)

    def input_channel(self, position: int) -> tuple[int | None, bool]:
        """Return the channel axis of an input, without the sample axis, and whether it is a guess."""
        shape = self.inputs[position].shape
        atoms = [Atom(position, axis) for axis in range(1, shape.rank or 1)]
        return self._channel([self.roles.get(atom, set()) for atom in atoms], list(shape)[1:])

    def _channel(self, roles: list[set], sizes: list) -> tuple[int | None, bool]:
        if len(roles) < 2:
            return None, False
        # A position folded into the channels later is used as both; an axis used only as channels is the channel.
        found = [i for i, used in enumerate(roles) if "channel" in used and "position" not in used]
        if found:
            return found[-1], len(found) > 1
        if all("position" in used for used in roles):
            return None, False
        left = [i for i, used in enumerate(roles) if "position" not in used]
        if len(roles) > 2 and left == [len(roles) - 1]:
            return left[0], False
        left = [i for i in left if "reduced" not in roles[i]]
        if len(left) == 1:
            return left[0], False
        if len(roles) > 2 and sizes[-1] in (1, 2, 3, 4):  # a picture's colours
            return len(roles) - 1, False
        if any("flat" in used for used in roles):
            return None, len(roles) > 2
        return len(roles) - 1, True

    def layout(self, tensor) -> Layout:
        """Return the `Layout` of a tensor."""
        axes = self.of(tensor)
        rank = tensor.shape.rank or 1
        if axes is None:
            return Layout(rank - 2 if rank > 2 else None, (None,) * (rank - 2), (None,) * (rank - 2), is_map=False)
        sizes = list(tensor.shape)[1:]
        inputs = [i for i, each in enumerate(self.inputs) if each is tensor]
        if inputs:
            channel, guess = self.input_channel(inputs[0])
        else:
            channel, guess = self._channel_of(axes[1:], sizes)
        positions = [i for i in range(rank - 1) if i != channel]
        is_map = bool(positions) and channel is not None
        along: list = []
        wanted: list = []
        grid, extra = None, (0, 0)
        wholes = [_whole(atom) for i in positions for atom in axes[i + 1].atoms]
        for i in positions:
            axis = _without_ones(axes[i + 1])
            if len(axis.atoms) == 1 and axis.atoms[0].part and wholes.count(_whole(axis.atoms[0])) > 1:
                # An axis that was cut into several positions, such as a row of numbers into a picture.
                along.append(None)
                wanted.append(self.first_size.get(axis.atoms[0]))
            elif len(axis.atoms) > 1 and len(positions) == 1 and all(self._is_along(atom) for atom in axis.atoms):
                grid, extra = axis.sizes, axis.extra
                along += [self._along(atom) for atom in axis.atoms]
                wanted += [self.first_size.get(_whole(atom)) for atom in axis.atoms]
            elif len(axis.atoms) == 1 and self._is_along(axis.atoms[0]):
                along.append(self._along(axis.atoms[0]))
                wanted.append(self.first_size.get(_whole(axis.atoms[0])))
                if axis.extra != (0, 0) and len(positions) == 1:
                    grid, extra = axis.sizes, axis.extra
            else:
                along.append(None)
                wanted.append(None)
                is_map = is_map and all(atom.kind == "input" for atom in axis.atoms)
        atoms = self._melted(axes[channel + 1]) if channel is not None else frozenset()
        kept = {atom for i in positions for atom in map(_whole, axes[i + 1].atoms)}
        melted = tuple(
            sorted((a.origin, a.axis - 1) for a in atoms if a.kind == "input" and a not in kept and a != BATCH)
        )
        return Layout(channel, tuple(along), tuple(wanted), grid, extra, melted, guess, is_map)

    def _channel_of(self, axes: list[Axis], sizes: list) -> tuple[int | None, bool]:
        if len(axes) < 2:
            return None, False
        features = [i for i, axis in enumerate(axes) if all(atom.kind == FEATURE for atom in axis.atoms)]
        features = [i for i in features if not any(self.is_position(atom) for atom in axes[i].atoms)]
        if features:
            return features[-1], False
        inputs = {atom.origin for axis in axes for atom in axis.atoms if atom.kind == "input"}
        channels = {self.channel_atom(i) for i in inputs}
        found = [i for i, axis in enumerate(axes) if channels & set(axis.atoms)]
        if found:
            return found[-1], False
        roles = [set().union(*(self.roles.get(atom, set()) for atom in axis.atoms)) for axis in axes]
        channel, guess = self._channel(roles, sizes)
        if channel is not None and guess and inputs:
            left = [i for i, axis in enumerate(axes) if not any(atom.kind == "input" for atom in axis.atoms)]
            channel = left[-1] if left else None if channels == {None} else channel
        return channel, guess

    def _is_along(self, atom: Atom) -> bool:
        return self.is_position(atom) and all(index == 0 for index, _ in atom.part)

    def _along(self, atom: Atom):
        return (atom.origin, atom.axis - 1) if atom.kind == "input" else None

    def _melted(self, axis: Axis) -> frozenset:
        found: set = set()
        for atom in axis.atoms:
            found |= self.melted.get(atom, frozenset()) | ({_whole(atom)} if atom.kind == "input" else set())
        return frozenset(atom for atom in found if self.is_position(atom))

    # -- The walk -----------------------------------------------------------------------------------------------------

    def _set(self, tensor, axes: list[Axis]):
        self.known[tensor.name] = axes
        for axis in axes:
            for atom, size in zip(axis.atoms, axis.sizes, strict=True):
                self.first_size.setdefault(atom, size)

    def _visit(self, op):
        given = [self.of(tensor) for tensor in op.inputs]
        if op.type in ("While", "StatelessWhile"):
            self._loop(op, given)
            return
        if all(axes is None for axes in given) and not any(tensor.name in self.lists for tensor in op.inputs):
            return
        rule = _RULES.get(op.type, Axes.alike)
        for tensor in op.outputs:
            rank = tensor.shape.rank
            if tensor.dtype == tf.variant:
                if op.type == "TensorListFromTensor":
                    self.lists[tensor.name] = given[0]
                continue
            if rank is None or rank == 0 or tensor.name in self.known:
                continue
            axes = rule(self, op, given, tensor)
            if axes is None or len(axes) != rank:
                axes = self.alike(op, given, tensor)
            self._set(tensor, self._as_called(tensor, axes))

    def _as_called(self, tensor, axes: list[Axis]) -> list[Axis]:
        """Identify axes that seem new in a layer with those of its input, if all sizes but the last agree."""
        source = self.calls.get(tensor.name)
        before = None if source is None else self.of(source)
        if source is None or before is None or source is tensor:
            return axes
        if len(before) != len(axes):  # frames, which a layer treats differently
            same = len(axes) > 1 < len(before) and None is not tensor.shape[1] == source.shape[1]
            return [axes[0], before[1], *axes[2:]] if same and _is_made(axes[1], tensor) else axes
        return [
            old if _is_made(new, tensor) and size == old_size and i < len(axes) - 1 else new
            for i, (new, old, size, old_size) in enumerate(zip(axes, before, tensor.shape, source.shape, strict=True))
        ]

    def _new(self, tensor, axis: int, kind: str = MADE, melted=()) -> Axis:
        atom = Atom(tensor.name, axis, kind)
        if melted:
            self.melted[atom] = frozenset(melted)
        return Axis((atom,), (tensor.shape[axis],))

    def _sized(self, axis: Axis, size) -> Axis:
        return axis._replace(sizes=(size,)) if len(axis.atoms) == 1 and axis.extra == (0, 0) else axis

    def _contracted(self, axis: Axis) -> frozenset:
        """Return what remains of an axis in the features that it is contracted to."""
        found: set = set()
        for atom in axis.atoms:
            found |= self.melted.get(atom, frozenset()) | {_whole(atom)}
        return frozenset(found)

    def _use_contracted(self, axis: Axis):
        self._use(axis, "channel" if len(axis.atoms) == 1 else "flat")

    def alike(self, op, given, tensor) -> list[Axis]:
        """Return, for each axis, the axis of an operand that broadcasts to it, or a new one."""
        rank = tensor.shape.rank
        axes = []
        for i in range(rank):
            found = None
            for operand, known in zip(op.inputs, given, strict=True):
                at = i - rank + operand.shape.rank if operand.shape.rank is not None else -1
                if known is None or at < 0 or operand.shape[at] != tensor.shape[i]:
                    continue
                if found is None or _rank_of(known[at]) > _rank_of(found):
                    found = known[at]
            axes.append(self._new(tensor, i) if found is None else self._sized(found, tensor.shape[i]))
        return axes

    def same(self, op, given, tensor):
        """Return the axes of the first operand, regardless of their sizes."""
        known = next((each for each in given if each is not None), None)
        if known is None or len(known) != tensor.shape.rank:
            return None
        return [self._sized(axis, size) for axis, size in zip(known, tensor.shape, strict=True)]

    def spatial(self, op, given, tensor):
        image = given[2] if op.type.endswith(("BackpropInput", "BackpropInputV2")) else given[0]
        if image is None or len(image) != tensor.shape.rank:
            return None
        rank = len(image)
        names = set(op.node_def.attr)
        data_format = op.get_attr("data_format").decode() if "data_format" in names else "NHWC"
        channel = 1 if data_format.startswith("NC") else rank - 1
        axes = []
        for i in range(rank):
            if i in (0, channel):
                continue
            self._use(image[i], "position")
        self._use(image[channel], "channel")
        contracts = op.type.startswith("Conv")
        for i in range(rank):
            multiplied = op.type.startswith("Depthwise") and image[i].sizes != (tensor.shape[i],)
            if i == channel and (contracts or multiplied):
                axes.append(self._new(tensor, i, FEATURE, self._contracted(image[channel])))
            else:
                axes.append(self._sized(image[i], tensor.shape[i]))
        return axes

    def matmul(self, op, given, tensor):
        names = set(op.node_def.attr)
        turned = [
            any(op.get_attr(name) for name in pair if name in names)
            for pair in (("transpose_a", "adj_x"), ("transpose_b", "adj_y"))
        ]
        rows, columns = given[0], given[1]
        left = right = None
        if rows is not None and len(rows) >= 2:
            left, inner = (rows[-1], rows[-2]) if turned[0] else (rows[-2], rows[-1])
            if columns is None:
                self._use_contracted(inner)
            melted = self._contracted(inner)
        if columns is not None and len(columns) >= 2:
            right, inner = (columns[-2], columns[-1]) if turned[1] else (columns[-1], columns[-2])
            if rows is None:
                self._use_contracted(inner)
            melted = self._contracted(inner)
        rank = tensor.shape.rank
        axes = []
        for i in range(rank - 2):
            found = [k[i - rank + len(k)] for k in (rows, columns) if k is not None and i - rank + len(k) >= 0]
            axes.append(max(found, key=_rank_of) if found else self._new(tensor, i))
        axes.append(left or self._new(tensor, rank - 2, FEATURE, melted))
        axes.append(right or self._new(tensor, rank - 1, FEATURE, melted))
        return axes

    def einsum(self, op, given, tensor):
        equation = op.get_attr("equation").decode().replace(" ", "")
        terms, _, result = equation.partition("->")
        letters: dict[str, Axis] = {}
        contracted: list[Axis] = []
        weights = any(known is None for known in given)
        for term, operand, known in zip(terms.split(","), op.inputs, given, strict=True):
            if known is None:
                continue
            names = _letters(term, operand.shape.rank)
            for name, axis in zip(names, known, strict=True):
                if name not in letters or _rank_of(axis) > _rank_of(letters[name]):
                    letters[name] = axis
        names = _letters(result, tensor.shape.rank)
        for name, axis in letters.items():
            if name not in names:
                contracted.append(axis)
                if weights:
                    self._use(axis, "channel" if len(axis.atoms) == 1 else "flat")
        melted = frozenset().union(*map(self._contracted, contracted)) if contracted else frozenset()
        return [letters.get(name) or self._new(tensor, i, FEATURE, melted) for i, name in enumerate(names)]

    def reduce(self, op, given, tensor):
        known = given[0]
        reduced = tf.get_static_value(op.inputs[1])
        if known is None or reduced is None:
            return None
        reduced = {int(axis) % len(known) for axis in reduced.reshape(-1)}
        keep = "keep_dims" in op.node_def.attr and op.get_attr("keep_dims")
        if 0 not in reduced and not keep and len(reduced) < len(known) - 1:
            for i in reduced:
                self._use(known[i], "reduced")
        if keep:
            return [self._new(tensor, i) if i in reduced else axis for i, axis in enumerate(known)]
        return [axis for i, axis in enumerate(known) if i not in reduced]

    def transpose(self, op, given, tensor):
        order = tf.get_static_value(op.inputs[1])
        return None if order is None or given[0] is None else [given[0][i] for i in order]

    def expand(self, op, given, tensor):
        at = tf.get_static_value(op.inputs[1])
        if at is None or given[0] is None:
            return None
        at = int(at.reshape(-1)[0]) % tensor.shape.rank
        return [*given[0][:at], self._new(tensor, at), *given[0][at:]]

    def squeeze(self, op, given, tensor):
        if given[0] is None:
            return None
        rank = len(given[0])
        dropped = {axis % rank for axis in op.get_attr("squeeze_dims")} or {
            i for i, size in enumerate(op.inputs[0].shape) if size == 1
        }
        return [axis for i, axis in enumerate(given[0]) if i not in dropped]

    def concatenate(self, op, given, tensor):
        at = tf.get_static_value(op.inputs[-1])
        if at is None:
            return None
        at, rank = int(at) % tensor.shape.rank, tensor.shape.rank
        parts = list(zip(op.inputs[:-1], given[:-1], strict=True))
        axes = []
        for i in range(rank):
            found = [(j, known[i]) for j, (_, known) in enumerate(parts) if known is not None]
            if i != at:
                axes.append(max((axis for _, axis in found), key=_rank_of))
                continue
            places = [(j, axis) for j, axis in found if any(self._may_be_places(atom) for atom in axis.atoms)]
            sizes = [tensor_.shape[at] for tensor_, _ in parts]
            if all(axis == found[0][1] for _, axis in found) and len(found) == len(parts):
                # Maps side by side, such as features of several branches: all the same kind of axis.
                melted = frozenset().union(*(self._contracted(axis) for _, axis in found))
                kind = FEATURE if all(a.kind == FEATURE for _, axis in found for a in axis.atoms) else MADE
                axes.append(self._new(tensor, i, kind, melted))
            elif len(places) == 1 and None not in [size for j, size in enumerate(sizes) if j != places[0][0]]:
                j, axis = places[0]
                before, after = axis.extra
                axes.append(axis._replace(extra=(before + sum(sizes[:j]), after + sum(sizes[j + 1 :]))))
            else:
                features = [axis for _, axis in found if all(a.kind == FEATURE for a in axis.atoms)]
                melted = frozenset().union(*map(self._contracted, features)) if features else frozenset()
                axes.append(self._new(tensor, i, FEATURE if len(features) == len(found) else MADE, melted))
        return axes

    def _may_be_places(self, atom: Atom) -> bool:
        return atom != BATCH and (atom.kind == "input" or "position" in self.roles.get(_whole(atom), ()))

    def slice(self, op, given, tensor):
        known = given[0]
        if known is None:
            return None
        begin, end, step = (tf.get_static_value(each) for each in op.inputs[1:4])
        masks = {name: op.get_attr(f"{name}_mask") for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
        if begin is None or step is None:
            begin = end = step = None
            count = op.inputs[1].shape[0]
        else:
            count = len(begin)
        axes, at = [], 0
        for i in range(count):
            if masks["ellipsis"] >> i & 1:
                later = sum(not masks["new_axis"] >> j & 1 for j in range(i + 1, count))
                while at < len(known) - later:
                    axes.append(known[at])
                    at += 1
            elif masks["new_axis"] >> i & 1:
                axes.append(None)
            elif masks["shrink_axis"] >> i & 1:
                at += 1
            else:
                whole = begin is not None and step[i] == 1
                first = None if not whole else 0 if masks["begin"] >> i & 1 else int(begin[i])
                last = None if not whole or end is None else 0 if masks["end"] >> i & 1 else int(end[i])
                axes.append(self._cut(known[at], op.inputs[0].shape[at], first, last))
                at += 1
        axes += known[at:]
        if len(axes) != tensor.shape.rank:
            return None
        return [
            self._new(tensor, i) if axis is None else self._sized(axis, tensor.shape[i]) for i, axis in enumerate(axes)
        ]

    def _cut(self, axis: Axis, size, first, last) -> Axis:
        """Return an axis without its first and last tokens, dropping extra tokens first."""
        if axis.extra == (0, 0) or first is None or last is None:
            return axis
        end = 0 if last == 0 else (-last if last < 0 else (0 if size is None else max(size - last, 0)))
        before, after = axis.extra
        return axis._replace(extra=(max(before - max(first, 0), 0), max(after - end, 0)))

    def gather(self, op, given, tensor):
        params, indices = given[0], given[1]
        if params is None and indices is not None:
            rest = tensor.shape.rank - len(indices)
            features = [self._new(tensor, len(indices) + i, FEATURE) for i in range(rest)]
            return [*indices, *features]
        if params is not None and indices is None and op.inputs[1].shape.rank is not None and len(op.inputs) > 2:
            at = tf.get_static_value(op.inputs[2])
            if at is not None:
                at, batch = int(at) % len(params), op.get_attr("batch_dims")
                rank = op.inputs[1].shape.rank - batch
                middle = [params[at]] if rank == 1 and not batch else [self._new(tensor, at + i) for i in range(rank)]
                return [*params[:at], *middle, *params[at + 1 :]]
        return None

    def pack(self, op, given, tensor):
        at = op.get_attr("axis") % tensor.shape.rank
        known = next((each for each in given if each is not None), None)
        return None if known is None else [*known[:at], self._new(tensor, at), *known[at:]]

    def unpack(self, op, given, tensor):
        at = op.get_attr("axis") % op.inputs[0].shape.rank
        return None if given[0] is None else [axis for i, axis in enumerate(given[0]) if i != at]

    def split(self, op, given, tensor):
        known = given[0] if given[0] is not None else given[-1]
        return None if known is None else [self._sized(a, s) for a, s in zip(known, tensor.shape, strict=False)]

    def one_hot(self, op, given, tensor):
        return None if given[0] is None else [*given[0], self._new(tensor, tensor.shape.rank - 1, FEATURE)]

    def unstacked(self, op, given, tensor):
        """Return the axes of a list's stacked elements, the steps of a loop."""
        axes = self.lists.get(op.inputs[0].name)
        if axes is None or len(axes) > tensor.shape.rank:
            return None
        return self._after_loop(axes, tensor)

    def _after_loop(self, axes, tensor):
        kept = [self._sized(axis, tensor.shape[i]) for i, axis in enumerate(axes[: tensor.shape.rank - 1])]
        self._use(axes[-1], "channel")
        for axis in axes[2:-1]:
            self._use(axis, "position")
        last = tensor.shape.rank - 1
        return [*kept, self._new(tensor, last, FEATURE, self._contracted(axes[-1]))]

    def _loop(self, op, given):
        """Follow the axes of a recurrent loop's steps to its result: a list of steps, or its last state."""
        steps = next((self.lists[tensor.name] for tensor in op.inputs if tensor.name in self.lists), None)
        if steps is None:
            for tensor, known in zip(op.outputs, given, strict=False):
                if known is not None and tensor.shape.rank == len(known):
                    self._set(tensor, known)
            return
        self._use(steps[0], "position")
        for before, tensor in zip(op.inputs, op.outputs, strict=True):
            if tensor.dtype == tf.variant:
                self.lists[tensor.name] = self.lists.get(before.name, steps)
            elif tensor.shape.rank == len(steps) - 1 and tensor.dtype.is_floating:
                self._set(tensor, self._after_loop(steps[1:], tensor))

    def reshape(self, op, given, tensor):
        known = given[0]
        if known is None or op.inputs[0].shape.rank is None:
            return None
        return self._regrouped(known, list(op.inputs[0].shape), list(tensor.shape), tensor)

    def _regrouped(self, known, before, after, tensor):
        front = 0
        while front < min(len(before), len(after)) and before[front] == after[front]:
            front += 1
        back = 0
        while back < min(len(before), len(after)) - front and before[-1 - back] == after[-1 - back]:
            back += 1
        inner, outer = len(before) - back, len(after) - back
        if front and (inner == front) != (outer == front) and None in (before[front - 1], after[front - 1]):
            front -= 1  # the unknown sizes differ
        elif front > 1 and not back and inner > front == outer:
            front -= 1  # axes of size 1 at the end are flattened with the one before them
        middle = self._grouped(known[front:inner], before[front:inner], after[front:outer], tensor, front)
        return [*known[:front], *middle, *known[inner:]]

    def _grouped(self, known, before, after, tensor, offset):
        """Return the axes of a reshape from the sizes `before` to the sizes `after`, which have nothing in common."""
        axes: list[Axis] = []
        left = [(a, s) for axis, size in zip(known, before, strict=True) for a, s in _parts(axis, size)]
        if any(axis.extra != (0, 0) for axis in known) and len(known) > 1:
            return [self._new(tensor, offset + i) for i in range(len(after))]
        if len(after) == 1:
            merged = _merged(left)
            extra = known[0].extra if len(known) == 1 else (0, 0)
            return [Axis(tuple(a for a, _ in merged), tuple(s for _, s in merged), extra)]
        for i, size in enumerate(after):
            if size == 1:
                axes.append(self._new(tensor, offset + i))
                continue
            while left and left[0][1] == 1:
                left.pop(0)
            taken: list[tuple] = []
            product: float = 1
            while left and (size is None or product < size):
                if left[0][1] is None and taken and size is not None:
                    break
                atom, count = left.pop(0)
                if size is not None and count is not None and product * count > size:
                    share = size // product if product and size % product == 0 and count % (size // product) == 0 else 0
                    if not share:
                        return [*axes, *(self._new(tensor, offset + j) for j in range(i, len(after)))]
                    first, second = _halves(atom)
                    taken.append((first, share))
                    left.insert(0, (second, count // share))
                    product *= share
                    break
                taken.append((atom, count))
                product = product * count if count is not None else math.inf
                if size is None and not _more_needed(left, after[i + 1 :]):
                    break
            merged = _merged(taken)
            if not merged:
                axes.append(self._new(tensor, offset + i))
            else:
                axes.append(Axis(tuple(a for a, _ in merged), tuple(s for _, s in merged)))
        return axes


def _more_needed(left, after) -> bool:
    """Return whether more atoms are left than the remaining sizes can hold."""
    if not all(size is not None for size in after) or any(size is None for _, size in left):
        return False
    return math.prod(size for _, size in left) > math.prod(after)


def _whole(atom: Atom) -> Atom:
    return atom._replace(part=()) if atom.part else atom


def _halves(atom: Atom) -> tuple[Atom, Atom]:
    return atom._replace(part=(*atom.part, (0, 2))), atom._replace(part=(*atom.part, (1, 2)))


def _merged(pairs: list) -> list:
    """Return atoms and sizes with adjacent halves of an atom merged again."""
    merged: list = []
    for atom, size in pairs:
        merged.append((atom, size))
        while len(merged) > 1 and merged[-1][0].part[-1:] == ((1, 2),):
            (first, a), (second, b) = merged[-2:]
            if first != second._replace(part=(*second.part[:-1], (0, 2))):
                break
            merged[-2:] = [(first._replace(part=first.part[:-1]), a * b if None not in (a, b) else None)]
    return merged


def _parts(axis: Axis, size) -> list:
    return [(axis.atoms[0], size)] if len(axis.atoms) == 1 else list(zip(axis.atoms, axis.sizes, strict=True))


def _without_ones(axis: Axis) -> Axis:
    kept = [(a, s) for a, s in zip(axis.atoms, axis.sizes, strict=True) if s != 1 or len(axis.atoms) == 1]
    return axis._replace(atoms=tuple(a for a, _ in kept), sizes=tuple(s for _, s in kept)) if kept else axis


def _rank_of(axis: Axis) -> int:
    """Return how informative an axis is, to choose among operands: most, if it comes from an input."""
    kinds = {atom.kind for atom in axis.atoms}
    return 2 if "input" in kinds else 1 if FEATURE in kinds else 0


def _is_made(axis: Axis, tensor) -> bool:
    return all(atom.kind == MADE for atom in axis.atoms)


def _letters(term: str, rank: int) -> list[str]:
    """Return a name for each axis of an operand of an einsum; those that an ellipsis stands for are counted back."""
    if "..." not in term:
        return list(term)
    before, after = term.split("...")
    more = rank - len(before) - len(after)
    return [*before, *(f"...{i - more}" for i in range(more)), *after]


_RULES = {
    **dict.fromkeys(
        "Conv2D Conv3D Conv2DBackpropInput Conv3DBackpropInputV2 DepthwiseConv2dNative MaxPool AvgPool MaxPool3D "
        "AvgPool3D ResizeBilinear ResizeNearestNeighbor ResizeBicubic ResizeArea".split(),
        Axes.spatial,
    ),
    **dict.fromkeys(
        "Pad PadV2 MirrorPad Tile SpaceToBatchND BatchToSpaceND SpaceToDepth DepthToSpace ReverseV2 Roll Slice Softmax "
        "LogSoftmax Cumsum".split(),
        Axes.same,
    ),
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), Axes.matmul),
    **dict.fromkeys("Mean Sum Max Min Prod All Any ArgMax ArgMin EuclideanNorm".split(), Axes.reduce),
    **dict.fromkeys(("GatherV2", "ResourceGather", "Gather"), Axes.gather),
    **dict.fromkeys(("Split", "SplitV"), Axes.split),
    "Einsum": Axes.einsum,
    "Transpose": Axes.transpose,
    "ExpandDims": Axes.expand,
    "Squeeze": Axes.squeeze,
    "ConcatV2": Axes.concatenate,
    "StridedSlice": Axes.slice,
    "Pack": Axes.pack,
    "Unpack": Axes.unpack,
    "OneHot": Axes.one_hot,
    "Reshape": Axes.reshape,
    "TensorListStack": Axes.unstacked,
}
