"""Pictures of results."""

import pathlib
from collections.abc import Mapping, Sequence

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np


def plot_iterations(
    path: pathlib.Path,
    curves: Mapping[str, Sequence[Sequence[float]]],
    lines: Mapping[str, Mapping[str, float]],
    title: str,
) -> None:
    """Accuracy after each iteration, from coarse to precise, beside methods without iterations.

    Args:
        path: PNG file to write.
        curves: half ("base", "new") to one list of accuracies per seed, percent.
        lines: method to its mean accuracy per half, percent.
        title: what the figure is about.
    """
    figure, axes = plt.subplots(1, len(curves), figsize=(9, 4), sharey=True, layout="constrained")
    for axis, (half, seeds) in zip(np.atleast_1d(axes), curves.items(), strict=True):
        values = np.array(seeds)
        steps = np.arange(values.shape[1])
        deviation = values.std(axis=0, ddof=1) if len(values) > 1 else None
        axis.errorbar(steps, values.mean(axis=0), deviation, marker="o", capsize=4, label="pro_mpt")
        for number, (method, means) in enumerate(lines.items(), 1):
            axis.axhline(means[half], color=f"C{number}", linestyle="--", label=method)
        axis.set(title=f"{half} classes", xlabel="iteration n", xticks=steps)
        axis.grid(alpha=0.3)
    first = np.atleast_1d(axes)[0]
    first.set_ylabel("accuracy (%)")
    first.legend(loc="best")
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
    plt.close(figure)
