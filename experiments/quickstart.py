"""Quickstart for images: four methods, base-to-novel on scenes of a shifted domain.

    python -m experiments.quickstart           (same as ./run.sh; a table within two minutes)
    python -m experiments.quickstart --full    (three seeds, 60 classes; about 5 minutes)
    python -m experiments.quickstart --full --dtype=bfloat16 --quickstart_dir=results/bfloat16

Needs no downloads: it uses the embedded CLIP and rendered images. Finished runs are kept, so an
interrupted quickstart resumes.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the slow imports below, so that Ctrl-C works during them
    sys.exit(command_line.run("experiments.quickstart", "start", sys.argv, command_line.RESUMES))

import pathlib
import statistics
import time

from absl import flags
from ml_collections import ConfigDict
from rich.table import Table

from experiments.configs.images import quickstart
from experiments.figures import plots, tables
from experiments.record.runs import STAND_IN
from experiments.run import experiment
from prompt_jax.errors import PromptError
from prompt_jax.evaluation.metrics import harmonic_mean

WORKDIR = flags.DEFINE_string(
    "quickstart_dir", "", "output directory (results/quickstart, or results/quickstart-full)"
)
FULL = flags.DEFINE_bool("full", False, "three seeds and 60 classes, about five minutes")
DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "type of the frozen towers")


def run_all(workdir: pathlib.Path, configs: list[ConfigDict]) -> dict[str, list[dict]]:
    """Runs all configs that are not finished; returns the results of each method's seeds."""
    results: dict[str, list[dict]] = {}
    for number, config in enumerate(configs, 1):
        print(f"[{number}/{len(configs)}] {config.method}, seed {config.seed}")
        one = experiment.run(config, workdir / f"{config.method}-seed{config.seed}")
        results.setdefault(config.method, []).append(one)
    return results


def summary(results: dict[str, list[dict]]) -> Table:
    """Returns a table of mean ± standard deviation of base, new and H per method."""
    first = next(iter(results.values()))[0]
    number = len(next(iter(results.values())))
    seeds = f"{number} seeds" if number > 1 else f"seed {first['seed']}"
    table = Table(
        "method",
        "base",
        "new",
        "H",
        "training images/s",
        tables.SEES,
        title=(
            f"base-to-novel on {first['dataset']} ({quickstart.DOMAIN}), {first['classes']['base']}"
            f" + {first['classes']['new']} classes, {first['shots']} shots, {seeds}, "
            f"backbone {first['backbone']} (accuracy in %)"
        ),
    )
    for method, runs in results.items():
        base, new, h = ([run[key] for run in runs] for key in ("base", "new", "h"))
        of_means = harmonic_mean(statistics.fmean(base), statistics.fmean(new))
        cells = [*map(tables.mean_and_deviation, (base, new))]
        cells.append(tables.mean_and_deviation(h, of_means))
        rates = [run["images_per_second"] for run in runs if run["train_seconds"]]
        speed = f"{sum(rates) / len(rates):.0f}" if rates else ""
        table.add_row(method, *cells, speed, tables.sees_at_test(method, "images"))
    return table


def draw(path: pathlib.Path, results: dict[str, list[dict]]) -> None:
    """Plots accuracy over ProMPT's iterations, with the other methods as lines."""
    halves = ("base", "new")
    curves = {h: [run["per_iteration"][h] for run in results["pro_mpt"]] for h in halves}
    lines = {
        method: {h: sum(run[h] for run in runs) / len(runs) for h in halves}
        for method, runs in results.items()
        if method != "pro_mpt"
    }
    plots.plot_iterations(path, curves, lines, "ProMPT after each iteration (embedded CLIP)")


def next_commands(workdir: pathlib.Path) -> str:
    """Returns what to run next, line by line."""
    run = f"{workdir}/pro_mpt-seed1"
    commands = {
        "which images ProMPT's iterations change": f"-m experiments.iterations {run}",
        "classes of an image": f"-m prompt_jax.predict {run} image.jpg --classes cat,dog",
        "your own images, in class directories, with a real CLIP": "-m experiments.main "
        "--config=experiments/configs/images/few_shot.py:pro_mpt --config.data.names=folder "
        "--config.data.root=DIR --config.backbone=ViT-B/16 --config.data.shots_list=16 "
        "--config.seeds=1",
    }
    return command_line.describe_next(commands)


def start(argv: list[str]) -> None:
    """Parses the arguments, runs the configs, prints a table and draws a plot."""
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        raise PromptError(str(error).splitlines()[0]) from None
    if rest[1:]:
        raise PromptError(f"unexpected argument {rest[1]!r}: options start with --")
    command_line.prepare_jax()
    full = FULL.value
    workdir = pathlib.Path(WORKDIR.value or f"results/quickstart{'-full' if full else ''}")
    began = time.perf_counter()
    results = run_all(workdir, quickstart.get_configs(DTYPE.value, full))
    tables.show(summary(results))
    image = workdir / "iterations.png"
    draw(image, results)
    print(f"note: {STAND_IN}")
    if not full:
        print(f"note: to be quick, this is {quickstart.DROPPED}; --full runs all of it")
    print(
        f"finished in {time.perf_counter() - began:.0f} s; runs: {workdir}; plot of accuracy over "
        f"ProMPT's iterations: {image}\n{next_commands(workdir)}"
    )
