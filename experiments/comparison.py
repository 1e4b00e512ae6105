"""Compares all methods of a task on the embedded CLIP, with three seeds.

    python -m experiments.comparison [--of images] [--out results/comparison-images]
        [--methods coop,pro_mpt] [--seeds 1] [--protocols base_to_novel] [--processes 2]

Images: base-to-novel and few-shot, or training without labels for methods that read none; domain
generalization if --protocols names it. Retrieval: text-video retrieval. Actions: few-shot and
base-to-novel; with 16 shots also vop_p, vop_c and vop_f if --methods names them. Methods that read
texts of classes read the embedded ones. Finished runs are kept, so that an interrupted comparison
resumes. Writes tables, plots, and comparison.md: one table of all methods with H, few-shot
accuracy, training time, parameters and what a prediction sees at test, then all tables, with the
date and the commit. --processes runs several methods at a time, each on its own core: for videos on
two CPU cores this is 1.6 times as fast as one process.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the slow imports below, so that Ctrl-C works during them
    sys.exit(
        command_line.run("experiments.comparison", "start", sys.argv[1:], command_line.RESUMES)
    )

import argparse
import datetime
import pathlib
import statistics
import time
from collections.abc import Sequence

from ml_collections import ConfigDict

from experiments import results
from experiments.cli import processes
from experiments.configs.images import comparison as images
from experiments.configs.video import actions_comparison as actions
from experiments.configs.video import comparison as retrieval
from experiments.figures import tables
from experiments.record import runs, workdir
from experiments.run import sweep
from experiments.setup.protocols import split_names
from prompt_jax.cli.commands import whole
from prompt_jax.errors import PromptError, unknown
from prompt_jax.evaluation.metrics import harmonic_mean

HALVES, FEW, UNLABELED = "base_to_novel", "few_shot", "unlabeled"
COLUMNS = ((HALVES, "base"), (HALVES, "new"), (FEW, "test"), (UNLABELED, "test"))
TASKS = {"images": images, "retrieval": retrieval, "actions": actions}


def run_all(folder: pathlib.Path, configs: Sequence[ConfigDict], seeds: tuple[int, ...]) -> None:
    """Runs all configs that are not finished, in a directory per protocol."""
    for config in configs:
        config.seeds = seeds
        print(f"{config.protocol}: {config.method}")
        sweep.run(config, folder / config.protocol)


def overview(folder: pathlib.Path) -> tuple[list[str], list[list[str]]]:
    """Returns a table of the methods' runs of base-to-novel, of the most shots of few-shot, and of
    training without labels.

    Its columns are base, new and H, the accuracy with most shots and without labels, seconds of
    training per run and trained parameters (of base-to-novel, or else of another protocol), and
    what a prediction depends on. Methods with the highest H are first.
    """
    found, _ = runs.read(folder)
    named: dict[str, dict[str, list[runs.Run]]] = {}
    shots = max((run.shots for run in found if run.protocol == FEW), default=0)
    for run in found:
        if run.protocol in (HALVES, UNLABELED) or (run.protocol, run.shots) == (FEW, shots):
            named.setdefault(run.method, {}).setdefault(run.protocol, []).append(run)
    lines = []
    for method, by_protocol in named.items():
        columns = [
            [run.accuracy[test] for run in by_protocol.get(protocol, ())]
            for protocol, test in COLUMNS
        ]
        base, new, *_ = columns
        h = list(map(harmonic_mean, base, new))
        of_means = harmonic_mean(statistics.fmean(base), statistics.fmean(new)) if h else None
        cells = [tables.mean_and_deviation(each) if each else "" for each in columns]
        cells.insert(2, tables.mean_and_deviation(h, of_means) if h else "")
        those = next(iter(by_protocol.values()))
        seconds = statistics.fmean(run.own_seconds for run in those)
        parameters = "" if those[0].trainable is None else f"{those[0].trainable:,}"
        sees = tables.sees_at_test(method, those[0].kind)
        row = [method, str(len(those)), *cells, f"{seconds:.0f}", parameters, sees]
        best = max((statistics.fmean(each) for each in columns if each), default=0.0)
        lines.append((-(of_means or 0.0), -best, row))
    headers = ["method", "seeds", "base", "new", "H", f"{shots} shots", "no labels"]
    return [*headers, "training, s", "parameters", tables.SEES], [row for *_, row in sorted(lines)]


def write_page(folder: pathlib.Path, minutes: float) -> pathlib.Path:
    """Writes all tables to one Markdown page, with date, commit and duration."""
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    lines = [
        f"{day}, commit {workdir.git_commit()}, {minutes:.0f} minutes for unfinished runs.",
        "",
    ]
    headers, rows = overview(folder)
    if rows:
        lines.append(tables.heading("All methods", 1) + tables.markdown(headers, rows))
    for path in sorted((folder / "tables").glob("*.md")):
        lines.append(path.read_text(encoding="utf-8"))
    page = folder / "comparison.md"
    page.write_text("\n".join(lines), encoding="utf-8")
    return page


def start(argv: list[str]) -> None:
    """Parses the arguments, runs the configs and writes tables."""
    parser = command_line.make_parser("experiments.comparison", __doc__)
    parser.add_argument(
        "--of",
        type=lambda task: {"pictures": "images"}.get(task, task),  # the name in earlier versions
        choices=TASKS,
        default="images",
        help="the task (images)",
    )
    parser.add_argument("--out", type=pathlib.Path, help="directory (results/comparison-TASK)")
    parser.add_argument("--methods", default="", help="all by default")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--protocols", default="", help="all by default")
    parser.add_argument("--processes", type=whole(), default=1, help="CPU: methods at a time (1)")
    parser.add_argument("--without-tables", action="store_true", help="only run")
    options = parser.parse_args(argv)
    task = TASKS[options.of]
    folder = options.out or pathlib.Path(f"results/comparison-{options.of}")
    protocols = split_names(options.protocols) or task.PROTOCOLS
    chosen = split_names(options.methods) or task.METHODS
    for what, names, known in (
        ("protocol", protocols, (*task.PROTOCOLS, *task.OPTIONAL_PROTOCOLS)),
        ("method", chosen, (*task.METHODS, *task.OPTIONAL_METHODS)),
    ):
        for name in names:
            if name not in known:
                raise unknown(what, name, known)
    try:
        seeds = tuple(int(seed) for seed in options.seeds.split(","))
    except ValueError:
        raise PromptError(f"--seeds={options.seeds}: must be numbers such as 1,2,3") from None
    began = time.perf_counter()
    configs = [c for c in task.get_configs() if c.protocol in protocols and c.method in chosen]
    if options.processes > 1:
        jobs = [_job(options, folder, config) for config in configs]
        processes.run_all(jobs, options.processes, folder / "logs")
    command_line.prepare_jax()
    run_all(folder, configs, seeds)
    if options.without_tables:
        return
    results.report(folder)
    headers, rows = overview(folder)
    if rows:
        tables.show(tables.table("all methods (accuracy in %)", headers, rows))
    page = write_page(folder, (time.perf_counter() - began) / 60)
    print(f"all tables with date and commit: {page}")


def _job(options: argparse.Namespace, folder: pathlib.Path, config: ConfigDict) -> processes.Job:
    """Returns a job that runs this command for one method and protocol."""
    words = ["experiments.comparison", "--of", options.of, "--out", str(folder)]
    words += ["--methods", config.method, "--protocols", config.protocol]
    words += ["--seeds", options.seeds, "--without-tables"]
    return processes.Job(f"{config.protocol}-{config.method}", words)
