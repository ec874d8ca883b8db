"""Make `peers.npz`: what captum and pytorch-grad-cam give for two networks whose weights are stored beside it.

It needs torch, which no test and nothing of `vis` imports. From the root of the repository:

    python -m venv .venv-peers
    .venv-peers/bin/pip install torch==2.14.1 captum==0.9.0 grad-cam==1.5.7 numpy
    PYTHONPATH=tests .venv-peers/bin/python tests/visualization/references/make.py

The peers compute in double precision, so that what is stored does not depend on the machine; it is rounded to float32
at the end. Everything is stored as `vis` has it, channels last, but for the weights, which are torch's state.
"""

from __future__ import annotations

import numpy as np
import torch
from captum.attr import IntegratedGradients, Occlusion
from peer_cases import CLASSES, FILE, LAYERS, LINES, METHODS, OUTPUTS, PICTURE, SHAPE, WINDOWS, key
from pytorch_grad_cam import GradCAM, HiResCAM, LayerCAM, XGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

QUADRATURES = {"gausslegendre": "gausslegendre", "midpoint": "riemann_middle"}
CAMS = dict(zip(METHODS, (GradCAM, LayerCAM, XGradCAM, HiResCAM), strict=True))
EPSILON = 1e-3  # of a batch normalization in Keras


class FlattenChannelsLast(nn.Module):
    """Flatten a picture in the order in which Keras does."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


def vgg() -> nn.Sequential:
    """Convolutions in pairs, then dense layers."""
    layers, channels = nn.Sequential(), 3
    for i, filters in enumerate((6, 6, 8, 8), 1):
        layers.add_module(f"conv{i}", nn.Conv2d(channels, filters, 3, padding=1))
        layers.add_module(f"relu{i}", nn.ReLU())
        if i % 2 == 0:
            layers.add_module(f"pool{i}", nn.MaxPool2d(2))
        channels = filters
    layers.add_module("flatten", FlattenChannelsLast())
    layers.add_module("dense", nn.Linear(3 * 2 * 8, 16))
    layers.add_module("relu", nn.ReLU())
    layers.add_module("scores", nn.Linear(16, OUTPUTS))
    return layers


class Block(nn.Module):
    """Two convolutions beside a shortcut. One with a stride pads as Keras does, below and to the right."""

    def __init__(self, channels: int, filters: int, stride: int = 1):
        super().__init__()
        self.pad = nn.ZeroPad2d((0, 1, 0, 1) if stride == 2 else 1)
        self.conv1, self.bn1 = nn.Conv2d(channels, filters, 3, stride, bias=False), nn.BatchNorm2d(filters, EPSILON)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters, EPSILON)
        self.shortcut = nn.Conv2d(channels, filters, 1, stride) if stride == 2 else nn.Identity()
        self.out = nn.ReLU()

    def forward(self, x):
        inner = self.relu(self.bn1(self.conv1(self.pad(x))))
        return self.out(self.bn2(self.conv2(inner)) + self.shortcut(x))


class Residual(nn.Module):
    """A stem, a block, a block with half the resolution, and the mean over positions."""

    def __init__(self):
        super().__init__()
        self.stem, self.bn, self.relu = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8, EPSILON), nn.ReLU()
        self.block1, self.block2 = Block(8, 8), Block(8, 12, stride=2)
        self.scores = nn.Linear(12, OUTPUTS)

    def forward(self, x):
        x = self.block2(self.block1(self.relu(self.bn(self.stem(x)))))
        return self.scores(x.mean(dim=(2, 3)))


def drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Random weights that keep the scale of what passes them, and random statistics of a batch normalization."""
    if name.endswith("running_var"):
        return rng.uniform(0.5, 2, shape)
    if name.endswith(("running_mean", "bias")):
        return rng.normal(scale=0.2, size=shape)
    if len(shape) == 1:  # the scale of a batch normalization
        return rng.uniform(0.5, 1.5, shape)
    return rng.normal(scale=np.sqrt(2 / np.prod(shape[1:])), size=shape)


def channels_first(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(x, -1, -3).astype(np.float64))


def channels_last(x: torch.Tensor) -> np.ndarray:
    return np.moveaxis(x.detach().numpy(), -3, -1)


def attributions(name: str, model: nn.Module, x: torch.Tensor, picture: torch.Tensor) -> dict[str, np.ndarray]:
    """What captum gives, by key."""
    found = {}
    for line in LINES:
        baseline = picture if line.baseline == PICTURE else line.baseline
        options = {"target": list(line.classes), "n_steps": line.steps, "method": QUADRATURES[line.quadrature]}
        found[key(name, *line)] = channels_last(IntegratedGradients(model).attribute(x, baseline, **options))
    for windows in WINDOWS:
        fill = picture if windows.fill == PICTURE else windows.fill
        sizes = {"sliding_window_shapes": (3, *windows.window), "strides": (1, *windows.stride)}
        maps = Occlusion(model).attribute(x, baselines=fill, target=list(windows.classes), **sizes)
        assert (maps == maps[:, :1]).all(), "A window has all channels."
        found[key(name, *windows)] = maps[:, 0].numpy()
    return found


def class_activation_maps(name: str, model: nn.Module, x: torch.Tensor) -> dict[str, np.ndarray]:
    """What pytorch-grad-cam weighs together, before its ReLU, its interpolation and its scaling, by key."""
    found = {}
    for keras_name, torch_name in LAYERS[name]:
        layer = model.get_submodule(torch_name)
        for classes in CLASSES:
            targets = [ClassifierOutputTarget(each) for each in classes]
            for method, kind in CAMS.items():
                with kind(model, [layer]) as cam:
                    cam(x, targets)
                    seen = cam.activations_and_grads
                    activations, gradients = seen.activations[0].numpy(), seen.gradients[0].numpy()
                    maps = cam.get_cam_image(x, layer, targets, activations, gradients, False)
                found[key(name, keras_name, method, classes)] = maps
    return found


def main() -> None:
    """Draw the weights and the pictures, and store them with what the peers make of them."""
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(4, *SHAPE)).astype(np.float32)
    stored = {"x": pictures[:3], PICTURE: 0.5 * pictures[3]}
    x, picture = channels_first(stored["x"]), channels_first(stored[PICTURE])[None]
    for name, model in (("vgg", vgg()), ("residual", Residual())):
        state = {each: value for each, value in model.state_dict().items() if value.is_floating_point()}
        weights = {each: drawn(each, tuple(value.shape), rng).astype(np.float32) for each, value in state.items()}
        model.load_state_dict({each: torch.from_numpy(value) for each, value in weights.items()}, strict=False)
        model.double().eval()
        stored |= {key(name, each): value for each, value in weights.items()}
        stored[key(name, "logits")] = model(x).detach().numpy()
        stored |= attributions(name, model, x, picture) | class_activation_maps(name, model, x)
    np.savez_compressed(FILE, **{each: value.astype(np.float32) for each, value in stored.items()})


if __name__ == "__main__":
    main()
