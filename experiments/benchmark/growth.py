"""Plots the cost per image against K, batch and N, from the benchmark's JSON file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import LogLocator

from experiments.benchmark.cells import METHODS
from experiments.figures.style import plt, styled

AXES = {"K": "classes K", "batch": "batch", "N": "iterations N"}
SIDES = {"ours": "-", "counterpart": "--"}
Curve = tuple[str, list[int], list[float]]  # label, x, seconds per image


def plot_growth(record: Mapping[str, Any], folder: Path) -> list[Path]:
    """Writes a figure per backbone and phase, PNG and SVG; returns the paths.

    A panel shows, for each method, the cells that differ only in the panel's axis. Panels and
    figures with fewer than two points are omitted.
    """
    paths = []
    kinds = ("backbone", "phase", "part", "dtype")
    for kind in dict.fromkeys(tuple(cell[k] for k in kinds) for cell in record["cells"]):
        cells = [c for c in record["cells"] if tuple(c[k] for k in kinds) == kind]
        panels = {axis: found for axis in AXES if (found := curves(cells, axis))}
        if panels:
            name = "-".join(("growth", *kind)).replace("/", "-")
            title = f"{kind[0]}, {kind[1]}, {kind[2].replace('all', 'whole')}, {kind[3]}"
            title += f", on {record['device']['name']}\nours full, PyTorch dashed"
            paths += _draw(panels, folder / name, title)
    return paths


def curves(cells: Sequence[Mapping[str, Any]], axis: str) -> dict[str, list[Curve]]:
    """Returns by side the longest curve of each method over cells that differ only in `axis`.

    Cells with several runs in one program, or a chosen form of layers, are ignored.
    """
    others = [name for name in AXES if name != axis]
    groups: dict[tuple, list[Mapping[str, Any]]] = {}
    usual = (c for c in cells if c["runs"] == 1 and c.get("layers", "auto") == "auto")
    for cell in usual:
        groups.setdefault((cell["method"], *(cell[name] for name in others)), []).append(cell)
    longest: dict[str, list[Mapping[str, Any]]] = {}
    for (method, *_), group in groups.items():
        if len(group) > max(1, len(longest.get(method, ()))):
            longest[method] = sorted(group, key=lambda cell: cell[axis])
    found: dict[str, list[Curve]] = {}
    for method, group in sorted(longest.items()):
        fixed = ", ".join(
            f"{name}={group[0][name]}" for name in others if name != "N" or method == "pro_mpt"
        )
        for side in SIDES:
            points = [
                (cell[axis], 1 / cell[side]["images_per_second"]) for cell in group if side in cell
            ]
            if points:
                xs, ys = map(list, zip(*points, strict=True))
                found.setdefault(side, []).append((f"{method} ({fixed})", xs, ys))
    return found


@styled()
def _draw(panels: Mapping[str, dict[str, list[Curve]]], path: Path, title: str) -> list[Path]:
    size = (4.6 * len(panels), 5.0)
    figure, grid = plt.subplots(
        1, len(panels), figsize=size, sharey=True, layout="constrained", squeeze=False
    )
    for axis, (name, sides) in zip(grid[0], panels.items(), strict=True):
        ticks: set[int] = set()
        for side, found in sides.items():
            for label, xs, ys in found:
                axis.plot(
                    xs, ys, SIDES[side], marker="o" if side == "ours" else "s",
                    color=f"C{METHODS.index(label.split()[0])}",
                    label=label if side == "ours" else None,
                )  # fmt: skip
                ticks.update(xs)
        axis.set(xscale="log", yscale="log", xlabel=AXES[name])
        axis.minorticks_off()
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.set_xticks(sorted(ticks), [str(tick) for tick in sorted(ticks)])
        axis.grid(alpha=0.3)
        # Below the axes, so that it hides no curve.
        axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False)
    grid[0][0].set_ylabel("seconds per image")
    figure.suptitle(title, fontsize=10)
    paths = [path.with_name(path.name + suffix) for suffix in (".png", ".svg")]
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(paths[0], dpi=150)
    figure.savefig(paths[1], metadata={"Date": None})
    plt.close(figure)
    return paths
