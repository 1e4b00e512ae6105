"""Training curves: loss, training accuracy and learning rate over steps."""

import io
import re
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.figures.style import label, plt, styled
from experiments.record import log
from experiments.report.blocks import Plot, Section
from experiments.report.finished import Finished

DRAWN = {
    "loss": "loss",
    "accuracy": "accuracy on training batches (%)",
    "learning_rate": "learning rate",
}
POINTS = 2000  # of a curve; more cannot be seen and take megabytes
# Placeholder that is replaced by the text color of the page, dark or light.
INK = "#010203"
# Visible on white and on black.
COLORS = ("#2f7ed8", "#e8710a", "#2a9d55", "#d64545", "#8e63ce", "#8a7f4e")


def section(runs: Sequence[Finished]) -> Section | None:
    """Returns a plot per logged metric, with all runs in it; None if no run logged any."""
    logged = {run.label: read(run) for run in runs}
    plots = []
    for field, words in DRAWN.items():
        curves = {}
        for name, lines in logged.items():
            values = [(line.step, getattr(line, field)) for line in lines]
            if points := [(step, value) for step, value in values if value is not None]:
                curves[name] = points
        if curves:
            every = -(-max(map(len, curves.values())) // POINTS)
            thinned = f", every {every}th logged step" if every > 1 else ""
            curves = {name: points[::every] for name, points in curves.items()}
            title = f"{words[0].upper()}{words[1:]} over steps{thinned}"
            plots.append(Plot(draw(curves, words), title))
    return Section("Training", plots) if plots else None


def read(run: Finished) -> list[log.Line]:
    """Reads metrics.jsonl of a run; no lines if it cannot be read."""
    path = run.folder / "metrics.jsonl"
    try:
        lines, damaged = log.read(path)
    except (OSError, ValueError) as error:
        run.report_damage(path, error)
        return []
    if damaged:
        run.report_damage(
            path, f"{damaged:,} damaged line{'s' * (damaged > 1)}; the others are drawn"
        )
    return lines


def draw(curves: Mapping[str, Sequence[tuple[float, float]]], words: str) -> str:
    """Draws curves over steps as SVG.

    Args:
        curves: label to (step, value).
        words: name of the values; also makes the ids in the SVG unique on the page.
    """
    with styled({"svg.hashsalt": words}):
        figure, axis = plt.subplots(figsize=(5.2, 3.2), layout="constrained")
        for number, (name, points) in enumerate(curves.items()):
            marker = "o" if len(points) < 30 else None
            color = COLORS[number % len(COLORS)]
            axis.plot(
                *zip(*points, strict=True), color=color, marker=marker, ms=3, label=label(name)
            )
        axis.set(xlabel="step", ylabel=words)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.grid(alpha=0.25, color=INK)
        if len(curves) > 1:
            axis.legend(frameon=False, labelcolor=INK, fontsize=8)
        for spine in axis.spines.values():
            spine.set_color(INK)
        axis.tick_params(colors=INK)
        axis.xaxis.label.set_color(INK)
        axis.yaxis.label.set_color(INK)
        axis.yaxis.get_offset_text().set_color(INK)
        return svg(figure)


def svg(figure: Figure) -> str:
    """Returns a figure as an SVG element without prolog or date, and closes it."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    text = file.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    # Groups have the ids figure_1, axes_1, … in every SVG; nothing refers to them.
    return re.sub(r'<g id="[^"]*"', "<g", text)
