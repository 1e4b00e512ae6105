"""The chart at the top of a report: what each run reached, beside zero-shot CLIP."""

from collections.abc import Sequence

from experiments.figures.style import label, plt, styled
from experiments.report.blocks import Plot
from experiments.report.curves import COLORS, INK, svg
from experiments.report.finished import Finished

ZERO_SHOT_INK = "#8b93a1"


def plot(runs: Sequence[Finished]) -> Plot:
    """Returns the chart: a row per test set, and per run a point with its 95 % interval."""
    kinds = dict.fromkeys("R@1" if "ranks" in run.results else "accuracy" for run in runs)
    measure = " or ".join(kinds).replace("R@1", "R@1, text-to-video") + " (%)"
    title = f"{measure[0].upper()}{measure[1:]} with 95 % intervals over the test set"
    return Plot(_draw(runs, measure), f"{title}; hollow: zero-shot CLIP")


def interval(run: Finished, key: str) -> tuple[float, float] | None:
    """Returns the 95 % interval of a figure, where results.json has one."""
    found = run.results
    ends = (found.get("interval") or {}).get(key)
    if of_ranks := (found.get("rank_intervals") or {}).get(key):
        ends = of_ranks["t2v"].get("R@1")
    return (float(ends[0]), float(ends[1])) if ends else None


def _figures(run: Finished) -> dict[str, float]:
    figures = {key: run.results["accuracy"][key] for key in run.keys}
    return figures | ({"H": run.results["h"]} if "h" in run.results else {})


def _draw(runs: Sequence[Finished], measure: str) -> str:
    names = list(dict.fromkeys(key for run in runs for key in _figures(run)))
    rows = len(names) * (len(runs) + 0.6)
    with styled({"svg.hashsalt": "headline"}):
        figure, axis = plt.subplots(figsize=(5.2, 0.9 + 0.24 * rows), layout="constrained")
        for number, run in enumerate(runs):
            color = COLORS[number % len(COLORS)]
            shown = label(run.label) if len(runs) > 1 else None
            for name, value in _figures(run).items():
                place = names.index(name) + (number + 0.5) / (len(runs) + 0.6) - 0.35
                field = "h" if name == "H" else name
                zero = run.results["zero_shot"].get(field)
                if zero is not None and run.results["method"] != "zero_shot":
                    axis.plot(zero, place, "o", mfc="none", mec=ZERO_SHOT_INK, ms=5)
                if ends := interval(run, field):
                    axis.plot(ends, (place, place), color=color, lw=2, alpha=0.6)
                axis.plot(value, place, "o", color=color, ms=5, label=shown)
                axis.annotate(
                    f"{value:.1f}", (value, place), (0, 4), textcoords="offset points",
                    ha="center", fontsize=7, color=INK,
                )  # fmt: skip
                shown = None
        axis.set(xlabel=measure, ylim=(len(names) - 0.35, -0.65))
        axis.set_yticks(range(len(names)), [label(name) for name in names])
        axis.margins(x=0.08)
        axis.grid(alpha=0.25, color=INK, axis="x")
        if len(runs) > 1:
            axis.legend(frameon=False, labelcolor=INK, fontsize=8, loc="best")
        for spine in axis.spines.values():
            spine.set_color(INK)
        axis.tick_params(colors=INK)
        axis.xaxis.label.set_color(INK)
        return svg(figure)
