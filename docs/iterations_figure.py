"""Draws README's picture of ProMPT's iterations from a finished run.

    python -m experiments.main --config=experiments/configs/images/pro_mpt.py \\
        --config.data.domain=night --config.data.num_classes=60 \\
        --config.settings.vision_depth=5 --config.seed=1 --workdir=results/picture
    python docs/iterations_figure.py results/picture

Writes iterations.png beside this file. No image is chosen by hand: the test images of the new
classes form four groups, by whether p⁰ and the last prediction are right, and each is shown by the
image whose last probability of its class is the group's median.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from experiments.iterations import Predictions, predict
from experiments.run import reopening

PICTURE = Path(__file__).with_name("iterations.png")
SHOWN = 3  # classes per image
COLORS = ("#c9d3df", "#7fa8d9", "#27497d")
RIGHT, INK = "#1d7a3a", "#222222"
SIZE, DOTS = (8.4, 3.6), 200  # GitHub shows 840 pixels: 100 for an inch
GROUPS = {
    (False, True): "corrected",
    (True, True): "right before and after",
    (False, False): "wrong before and after",
    (True, False): "made wrong",
}
"""The groups by whether the first and the last prediction are right."""


class Panel(NamedTuple):
    """An image with the probabilities of a few classes.

    Attributes:
        title: the group and its share.
        image: the image.
        name: its class.
        bars: class to probabilities after every iteration.
    """

    title: str
    image: Image.Image
    name: str
    bars: dict[str, list[float]]


def choose(predictions: Predictions) -> dict[str, tuple[int, int]]:
    """Returns for each group that is not empty its number of images and the median one."""
    first, last = predictions.right[0], predictions.right[-1]
    chosen = {}
    for (before, after), name in GROUPS.items():
        group = np.flatnonzero((first == before) & (last == after))
        if group.size:
            ranked = group[np.argsort(predictions.own[-1, group], kind="stable")]
            chosen[name] = (group.size, int(ranked[group.size // 2]))
    return chosen


def likeliest(probabilities: np.ndarray, label: int) -> list[int]:
    """Returns the image's class, and the others with the highest probability at any iteration.

    Args:
        probabilities: float[1 + N, K].
        label: of the image.
    """
    others = [one for one in np.argsort(-probabilities.max(axis=0)).tolist() if one != label]
    return [label, *others[: SHOWN - 1]]


def read_panels(folder: Path) -> list[Panel]:
    """Returns the panels of a finished run, of its new classes."""
    run = reopening.reopen(folder)
    predictions = predict(run, reopening.trained(run), "new")
    dataset, total = run.plan.tests["new"], predictions.labels.size
    panels = []
    for name, (size, place) in choose(predictions).items():
        example, probabilities = dataset.test[place], predictions.probabilities[:, place]
        bars = {
            dataset.class_names[label]: probabilities[:, label].tolist()
            for label in likeliest(probabilities, example.label)
        }
        title = f"{name}\n{size} of {total} images"
        panels.append(Panel(title, dataset.read(example), dataset.class_names[example.label], bars))
    return panels


def draw(panels: list[Panel], path: Path = PICTURE) -> None:
    """Draws images above the probabilities of their classes, a bar for every iteration."""
    figure = Figure(figsize=SIZE, layout="constrained")
    grid = figure.subplots(2, len(panels), height_ratios=(1, 1.15), squeeze=False)
    for panel, image, bars in zip(panels, *grid, strict=True):
        image.imshow(np.asarray(panel.image), interpolation="nearest")
        image.set_title(panel.title, fontsize=10, color=INK)
        image.set_axis_off()
        _draw_bars(bars, panel)
    names = [f"p$^{n}$" for n in range(len(next(iter(panels[0].bars.values()))))]
    names[0] += ": frozen CLIP"
    handles = grid[1, 0].containers
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False,
                  fontsize=10)  # fmt: skip
    figure.savefig(path, dpi=DOTS, facecolor="white", metadata={"Software": None})


def _draw_bars(axes: Axes, panel: Panel) -> None:
    number = len(next(iter(panel.bars.values())))
    height = 0.8 / number
    for n in range(number):
        places = np.arange(len(panel.bars)) + (n - (number - 1) / 2) * height
        values = [probabilities[n] for probabilities in panel.bars.values()]
        color = COLORS[n * (len(COLORS) - 1) // max(number - 1, 1)]
        axes.barh(places, values, height * 0.92, color=color)
    axes.set_xlim(0, 1)
    axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"), fontsize=8.5)
    axes.set_yticks(range(len(panel.bars)), panel.bars, fontsize=9)
    axes.invert_yaxis()
    for tick, name in zip(axes.get_yticklabels(), panel.bars, strict=True):
        if name == panel.name:
            tick.set(weight="bold", color=RIGHT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=2)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/iterations_figure.py RUN")
    draw(read_panels(Path(sys.argv[1])))
