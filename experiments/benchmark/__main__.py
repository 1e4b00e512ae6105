"""Benchmarks training and evaluation against conventional PyTorch code.

    python -m experiments.benchmark --short          # at most 5 minutes on two cores
    python -m experiments.benchmark                  # all cells that fit; hours on two cores
    python -m experiments.benchmark --gpu            # ViT-B/16 in bfloat16, under 10 minutes
    python -m experiments.benchmark --only method=pro_mpt backbone=ViT-B/16 K=50 batch=4 \\
        phase=train part=text
    python -m experiments.benchmark --draw results/benchmark-only/benchmark.json

Runs on the available device; --gpu requires a GPU. It first compares logits and gradients with
those of the CPU and times forms of attention, and measures PyTorch compiled by torch.compile. It
writes its section of docs/performance.md.

Writes benchmark.json (after every cell), benchmark.md, growth-*.png and growth-*.svg. Run again, it
measures only what is missing in benchmark.json. Without PyTorch, which pip install -e '.[torch]'
installs, only this library is measured.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the slow imports below, so that Ctrl-C works during them
    sys.exit(command_line.run("experiments.benchmark.__main__", "main", sys.argv[1:]))

import argparse
import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.benchmark import cells, checks, growth, measure, records, report
from experiments.record.workdir import make_workdir
from prompt_jax.errors import PromptError, installing

# A little below the promised 5 and 10 minutes.
MINUTES = {"short": 4.7, "gpu": 9.5}
PAGE = Path("docs/performance.md")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parses the command line."""
    parser = command_line.make_parser("experiments.benchmark", __doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--short", action="store_true", help="a few small cells")
    which.add_argument("--gpu", action="store_true", help="cells for an accelerator")
    which.add_argument(
        "--only", nargs="+", action="append", metavar="KEY=VALUE",
        help="cells by method, backbone, K, batch, phase, part, N, dtype, runs, layers; values by "
        "commas; repeatable",
    )  # fmt: skip
    which.add_argument("--draw", metavar="FILE", help="only make tables and plots of a JSON file")
    parser.add_argument(
        "--workdir", help="output directory (results/benchmark-short, -gpu, -only or -full)"
    )
    parser.add_argument("--repeats", type=int, default=5, help="repeats per side of a cell (5)")
    parser.add_argument("--limit", type=float, default=120, help="seconds a run may take (120)")
    parser.add_argument(
        "--minutes", type=float, help="time limit; cells that would end later are skipped"
    )
    parser.add_argument(
        "--memory-gb", type=float, default=0.0,
        help="memory for a tower's backward pass; 0: a quarter of the device's",
    )  # fmt: skip
    parser.add_argument(
        "--small", action="store_true", help="with --gpu: tiny sizes, on any device, as a test"
    )
    parser.add_argument(
        "--page", metavar="FILE",
        help="page whose section is written (with --gpu on a GPU: docs/performance.md, if it is "
        "there)",
    )  # fmt: skip
    parser.add_argument("--ours-only", action="store_true", help="skip PyTorch")
    options = parser.parse_args(argv)
    for name in ("repeats", "limit", "minutes"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise PromptError(f"--{name}={value} must be above 0")
    if not 0 <= options.memory_gb < math.inf:
        raise PromptError(f"--memory-gb={options.memory_gb} must be a number, 0 or more")
    if options.small and not options.gpu:
        raise PromptError("--small needs --gpu")
    return options


def form(options: argparse.Namespace) -> str:
    """Returns the form of the benchmark: short, gpu, only or full."""
    return next((name for name in ("short", "gpu", "only") if getattr(options, name)), "full")


def choose_cells(options: argparse.Namespace) -> list[cells.Cell]:
    """Returns the cells of the command line."""
    if options.only:
        return cells.unique(cell for words in options.only for cell in cells.only(words))
    if options.short:
        return cells.short()
    return cells.gpu(options.small) if options.gpu else cells.full()


def write_report(record: dict[str, Any], folder: Path, page: Path | None = None) -> None:
    """Prints the tables and writes them as Markdown, with the plots, and into `page`."""
    report.show(record)
    make_workdir(folder)
    (folder / "benchmark.md").write_text(report.to_markdown(record), encoding="utf-8")
    plots = growth.plot_growth(record, folder)
    print(f"written to {folder}: {', '.join(['benchmark.md', *(path.name for path in plots)])}")
    if page:
        report.write_section(record, page)
        print(f"written to {page}")


def main(argv: Sequence[str]) -> None:
    """Runs the benchmark.

    Raises:
        PromptError: the command line is wrong, or cells failed.
    """
    options = parse(argv)
    page = Path(options.page) if options.page else None
    if options.draw:
        file = Path(options.draw)
        record = records.read(file)
        if not record["cells"]:
            raise PromptError(f"--draw={file} holds no measured cells")
        write_report(record, Path(options.workdir or file.parent), page)
        return
    chosen = choose_cells(options)
    counterpart = not options.ours_only
    if counterpart and importlib.util.find_spec("torch") is None:
        print(f"PyTorch is not installed; only this library is measured: {installing('torch')}")
        counterpart = False
    minutes = options.minutes or MINUTES.get(form(options), math.inf)
    folder = Path(options.workdir or f"results/benchmark-{form(options)}")
    make_workdir(folder)
    file = folder / "benchmark.json"
    if file.exists():
        records.read(file, "--workdir")  # refuses a foreign file before the device is measured
    memory = math.ceil(options.memory_gb * 1e9) or None
    how = measure.Options(
        options.repeats,
        options.limit,
        minutes,
        counterpart,
        memory,
        accelerator=options.gpu and not options.small,
        checks=("small" if options.small else "full") if options.gpu else "",
    )
    record = measure.measure_all(chosen, how, file)
    if options.gpu and not options.small and page is None and PAGE.is_file():
        page = PAGE
    write_report(record, folder, page)
    print(f"all repeats are in {file}")
    wrong = list(checks.beyond_bounds(record))
    if wrong:
        raise PromptError(f"no parity with the CPU: {'; '.join(wrong)}; see {file}")
    failed = [each for each in record["left_out"] if each["failed"]]
    if failed:
        raise PromptError(f"{len(failed)} sides failed, e.g. {failed[0]['reason']}; see {file}")
