"""Figures of results, each as PNG and SVG."""

import pathlib
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from experiments.figures.classes import Worst
from experiments.figures.style import MOST_ROWS, label, plt, styled, wrap, wrap_title

Point = tuple[float, float, float | None]  # x, mean in percent, standard deviation if known
Bar = tuple[float, float | None, float | None]  # mean, standard deviation, published figure
_MARKERS = "osD^vPX*<>"


@styled()
def plot_iterations(
    path: pathlib.Path,
    curves: Mapping[str, Sequence[Sequence[float]]],
    lines: Mapping[str, Mapping[str, float]],
    title: str,
    method: str = "pro_mpt",
) -> list[pathlib.Path]:
    """Plots accuracy after each iteration, with methods without iterations as lines.

    Args:
        path: PNG file; the SVG file is written beside it.
        curves: half ("base", "new") to one list of accuracies per seed, percent.
        lines: method to its mean accuracy per half, percent.
        title: of the figure.
        method: the name of the curves.
    """
    width = max(6.0, 4.5 * len(curves))
    figure, grid = plt.subplots(
        1, len(curves), figsize=(width, 4.4), sharey=True, layout="constrained", squeeze=False
    )
    for axis, (half, seeds) in zip(grid[0], curves.items(), strict=True):
        values = np.array(seeds)
        steps = np.arange(values.shape[1])
        deviation = values.std(axis=0, ddof=1) if len(values) > 1 else None
        axis.errorbar(
            steps, values.mean(axis=0), deviation, marker="o", capsize=4, label=label(method)
        )
        for number, (other, means) in enumerate(lines.items(), 1):
            axis.axhline(means[half], color=f"C{number}", linestyle="--", label=label(other))
        name = f"{half} classes" if half in ("base", "new") else half
        axis.set(title=wrap(name, 40), xlabel="iteration n", xticks=steps)
        axis.grid(alpha=0.3)
    grid[0][0].set_ylabel("accuracy (%)")
    _legend_below(figure, grid[0][0])
    return _save(figure, path, title)


@styled()
def plot_bars(
    path: pathlib.Path,
    bars: Mapping[str, Mapping[str, Bar]],
    title: str,
    xlabel: str = "accuracy (%)",
) -> list[pathlib.Path]:
    """Plots horizontal bars, a group per row of a table.

    Args:
        path: PNG file; the SVG file is written beside it.
        bars: row to metric to mean, standard deviation and published figure, percent.
        title: of the figure.
        xlabel: of the common axis.
    """
    if len(bars) > MOST_ROWS:
        title += f" (the first {MOST_ROWS} of {len(bars):,} rows)"
        bars = dict(list(bars.items())[:MOST_ROWS])
    metrics = list(dict.fromkeys(metric for row in bars.values() for metric in row))
    height = 0.8 / len(metrics)
    named = [wrap(name, 34) for name in bars]
    lines = 1 + max(name.count("\n") for name in named)
    size = (8, 1.6 + len(bars) * max(0.25 + 0.24 * len(metrics), 0.17 * lines))
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    published = []
    for number, metric in enumerate(metrics):
        shown = [
            (row, *cells[metric]) for row, cells in enumerate(bars.values()) if metric in cells
        ]
        rows, means, deviations, printed = zip(*shown, strict=True)
        places = np.array(rows) + (number - (len(metrics) - 1) / 2) * height
        errors = [value or 0.0 for value in deviations]
        known = errors if any(errors) else None
        axis.barh(places, means, height * 0.92, xerr=known, label=label(metric), capsize=2)
        # At the right edge, where neither error bars nor published figures cross the numbers.
        edge = axis.get_yaxis_transform()
        for place, mean in zip(places, means, strict=True):
            axis.text(
                0.99, place, f"{mean:.2f}", transform=edge, ha="right", va="center", fontsize=8
            )
        published += [(v, y) for v, y in zip(printed, places, strict=True) if v is not None]
    if published:
        axis.plot(*zip(*published, strict=True), "k|", markersize=9, label="published")
    axis.set_yticks(range(len(bars)), named)
    axis.set_ylim(len(bars) - 0.4, -0.6)
    ends = [mean + (error or 0) for row in bars.values() for mean, error, _ in row.values()]
    axis.set(xlabel=wrap(xlabel), xlim=(0, max([*ends, *(v for v, _ in published), 1]) * 1.12))
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    _legend_below(figure, axis)
    return _save(figure, path, title)


@styled()
def plot_curves(
    path: pathlib.Path,
    curves: Mapping[str, Sequence[Point]],
    published: Mapping[str, Sequence[tuple[float, float]]],
    xlabel: str,
    title: str,
) -> list[pathlib.Path]:
    """Plots accuracy over a setting or a number of shots.

    Args:
        path: PNG file; the SVG file is written beside it.
        curves: series (a metric or a method) to its points.
        published: series to points of a paper, drawn hollow in the color of the series.
        xlabel: of the axis.
        title: of the figure.
    """
    figure, axis = plt.subplots(figsize=(6.4, 4.8), layout="constrained")
    everywhere: set[float] = set()
    for number, (name, points) in enumerate(curves.items()):
        xs, means, deviations = zip(*sorted(points), strict=True)
        errors = [value or 0.0 for value in deviations]
        color, marker = f"C{number}", _MARKERS[number % len(_MARKERS)]
        deviation = errors if any(errors) else None
        axis.errorbar(
            xs, means, deviation, marker=marker, color=color, capsize=4, label=label(name)
        )
        everywhere.update(xs)
        printed = sorted(published.get(name, ()))
        if printed:
            everywhere.update(x for x, _ in printed)
            axis.plot(
                *zip(*printed, strict=True), "--", color=color, marker=marker, mfc="none",
                label=label(f"{name}, published"),
            )  # fmt: skip
    ticks = sorted(everywhere)
    # Shots double from point to point, and so do prompts in Figure 8 of ProMPT.
    if ticks[0] > 0 and ticks[-1] / ticks[0] >= 8:
        axis.set_xscale("log", base=2)
        axis.minorticks_off()
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set(xlabel=wrap(xlabel), ylabel="accuracy (%)")
    axis.grid(alpha=0.3)
    _legend_below(figure, axis)
    return _save(figure, path, title)


@styled()
def plot_strips(
    path: pathlib.Path, strips: Sequence[tuple[str, Sequence[Image.Image]]], title: str
) -> list[pathlib.Path]:
    """Shows frames of videos, one video per row.

    Args:
        path: PNG file; the SVG file is written beside it.
        strips: the title of each row, and its frames.
        title: of the figure.
    """
    longest = max(len(frames) for _, frames in strips)
    size = (1.2 * longest, 0.5 + 1.55 * len(strips))
    figure = plt.figure(figsize=size, layout="constrained")
    rows = figure.subfigures(len(strips), 1, squeeze=False)[:, 0]
    for row, (words, frames) in zip(rows, strips, strict=True):
        row.suptitle(wrap(words, 12 * longest), fontsize=9, x=0.01, ha="left")
        for axis, frame in zip(row.subplots(1, longest, squeeze=False)[0], frames, strict=False):
            axis.imshow(np.asarray(frame))
        for axis in row.axes:
            axis.set_axis_off()
    return _save(figure, path, title)


@styled()
def plot_predictions(
    path: pathlib.Path,
    cells: Sequence[tuple[Image.Image, str, Mapping[str, Sequence[float]]]],
    title: str,
) -> list[pathlib.Path]:
    """Shows images beside the probabilities of some classes after every iteration.

    Args:
        path: PNG file; the SVG file is written beside it.
        cells: image, its class, and class to probabilities of p⁰, p¹, …
        title: of the figure.
    """
    columns = 2
    rows = -(-len(cells) // columns)
    figure, grid = plt.subplots(
        rows,
        2 * columns,
        figsize=(11, 0.6 + 2.1 * rows),
        width_ratios=(1, 1.7) * columns,
        layout="constrained",
        squeeze=False,
    )
    for axis in grid.flat:
        axis.set_axis_off()
    for (image, name, curves), left, right in zip(
        cells, grid[:, ::2].flat, grid[:, 1::2].flat, strict=False
    ):
        left.imshow(np.asarray(image))
        left.set_title(_short(name), fontsize=9)
        right.set_axis_on()
        for other, values in curves.items():
            style = "-" if other == name else "--"
            right.plot(values, style, marker="o", markersize=3, label=label(_short(other)))
        steps = range(len(next(iter(curves.values()))))
        right.set(ylim=(0, 1), xticks=steps, xticklabels=[f"p{n}" for n in steps])
        right.tick_params(labelsize=8)
        right.grid(alpha=0.3)
        right.legend(fontsize=7)
    return _save(figure, path, title)


@styled()
def plot_confusion(path: pathlib.Path, grid: Worst, title: str) -> list[pathlib.Path]:
    """Shows a part of the confusion matrix, a row per class, in percent of its examples.

    Args:
        path: PNG file; the SVG file is written beside it.
        grid: the classes and their shares.
        title: of the figure.
    """
    rows, columns = len(grid.rows), len(grid.columns)
    size = (3.4 + 0.52 * columns, 3.2 + 0.42 * rows)
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    axis.imshow(grid.shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for (row, column), share in np.ndenumerate(grid.shares):
        if share >= 0.5:
            color = "white" if share > 55 else "black"
            axis.text(
                column, row, f"{share:.0f}", ha="center", va="center", fontsize=8, color=color
            )
    for place in range(rows):
        box = (place - 0.5, place - 0.5)
        axis.add_patch(Rectangle(box, 1, 1, fill=False, edgecolor="C1", linewidth=1.5, zorder=3))
    axis.set_xticks(
        range(columns), [_short(name) for name in grid.columns], rotation=50, ha="right"
    )
    for tick in axis.get_xticklabels():
        tick.set_rotation_mode("anchor")
    axis.set_yticks(range(rows), [_short(name) for name in grid.rows])
    axis.tick_params(labelsize=8, length=0)
    axis.set(
        xlabel="predicted class, % of the examples (framed: right)",
        ylabel="class, lowest accuracy at the top",
    )
    axis.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    axis.grid(which="minor", color="0.85")
    axis.tick_params(which="minor", length=0)
    return _save(figure, path, title)


@styled()
def plot_features(
    path: pathlib.Path, panels: Mapping[str, np.ndarray], names: Sequence[str], title: str
) -> list[pathlib.Path]:
    """Plots embedded features, a panel beside another, a color per class.

    Args:
        path: PNG file; the SVG file is written beside it.
        panels: panel title to positions float[n, 2].
        names: n, the class of each feature.
        title: of the figure.
    """
    return _save(draw_features(panels, names), path, title)


def draw_features(panels: Mapping[str, np.ndarray], names: Sequence[str]) -> Figure:
    """Returns the figure of `plot_features` without writing it."""
    shown = list(dict.fromkeys(names))
    color_of = matplotlib.colormaps["tab10" if len(shown) <= 10 else "tab20"]
    size = (max(7.0, 4.6 * len(panels)), 5.2 + 0.1 * len(shown))
    figure, grid = plt.subplots(1, len(panels), figsize=size, layout="constrained", squeeze=False)
    for axis, (words, places) in zip(grid[0], panels.items(), strict=True):
        for number, name in enumerate(shown):
            own = places[[other == name for other in names]]
            marker, color = _MARKERS[number % len(_MARKERS)], color_of(number % color_of.N)
            axis.scatter(
                *own.T, s=22, c=[color], marker=marker, alpha=0.8, label=label(_short(name))
            )
        axis.set(
            title="\n".join(wrap(line, 50) for line in words.split("\n")), xticks=[], yticks=[]
        )
    _legend_below(figure, grid[0][0])
    return figure


def _short(name: str) -> str:
    """Wraps a class name to two lines at most; some are whole sentences."""
    return wrap(name.replace("_", " "), 30, 2)


def _legend_below(figure: Figure, axis: Axes) -> None:
    """Puts the legend below the axes, where it hides no curve."""
    entries = zip(*axis.get_legend_handles_labels(), strict=True)
    handles, labels = zip(*sorted(entries, key=lambda entry: "published" in entry[1]), strict=True)
    longest = max(len(line) for one in labels for line in one.splitlines())
    columns = max(1, min(len(labels), int(figure.get_figwidth() * 11 / (longest + 8))))
    lines = -(-len(labels) // columns) * (1 + max(one.count("\n") for one in labels))
    figure.set_figheight(figure.get_figheight() + 0.2 * max(0, lines - 6))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def _save(figure: Figure, path: pathlib.Path, title: str) -> list[pathlib.Path]:
    figure.suptitle(wrap_title(figure, title), fontsize=11)
    paths = [path.with_suffix(".png"), path.with_suffix(".svg")]
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(paths[0], dpi=150)
    figure.savefig(paths[1], metadata={"Date": None})
    plt.close(figure)
    return paths
