"""Measures training and evaluation beside PyTorch code written the conventional way.

    python -m experiments.benchmark --short          # at most 5 minutes on two cores
    python -m experiments.benchmark                  # everything that fits; hours on two cores
    python -m experiments.benchmark --gpu            # ViT-B/16 in bfloat16, under 9 minutes
    python -m experiments.benchmark --only method=pro_mpt backbone=ViT-B/16 K=50 batch=4 \\
        phase=train part=text
    python -m experiments.benchmark --draw results/benchmark-only/benchmark.json

On the device at hand; --gpu refuses a CPU. Writes benchmark.json (after every cell), benchmark.md
and growth-*.png and .svg. Without PyTorch ours alone is measured: pip install -e '.[torch]'.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the imports below, so that Ctrl-C is heard while they run
    sys.exit(command_line.run("experiments.benchmark.__main__", "main", sys.argv[1:], "stopped"))

import argparse
import importlib.util
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.benchmark import cells, growth, measure, report
from experiments.record.workdir import make_workdir
from prompt_jax.errors import PromptError, installing

# A little below the promised 5 and 9 minutes.
MINUTES = {"short": 4.7, "gpu": 8.5}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("python -m experiments.benchmark", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--short", action="store_true", help="a few small cells")
    which.add_argument("--gpu", action="store_true", help="cells for an accelerator")
    which.add_argument(
        "--only", nargs="+", action="append", metavar="KEY=VALUE",
        help="cells by method, backbone, K, batch, phase, part, N, dtype, runs; values by commas; "
        "again for more",
    )  # fmt: skip
    which.add_argument("--draw", metavar="FILE", help="tables and plots of a JSON file, no more")
    parser.add_argument(
        "--workdir", help="folder to write to (results/benchmark-short, -gpu, -only or -full)"
    )
    parser.add_argument("--repeats", type=int, default=5, help="of each side of a cell (5)")
    parser.add_argument("--limit", type=float, default=120, help="seconds a run may take (120)")
    parser.add_argument("--minutes", type=float, help="what would end later is left out")
    parser.add_argument(
        "--memory-gb", type=float, default=0.0,
        help="a tower of ours may keep for its backward pass; 0: a quarter of the device's",
    )  # fmt: skip
    parser.add_argument("--ours-only", action="store_true", help="without the counterpart")
    options = parser.parse_args(argv)
    for name in ("repeats", "limit", "minutes"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise PromptError(f"--{name}={value} must be above 0")
    if not 0 <= options.memory_gb < math.inf:
        raise PromptError(f"--memory-gb={options.memory_gb} must be a number, 0 or more")
    return options


def form(options: argparse.Namespace) -> str:
    """The name of the benchmark's form."""
    return next((name for name in ("short", "gpu", "only") if getattr(options, name)), "full")


def choose_cells(options: argparse.Namespace) -> list[cells.Cell]:
    """What the command line asks for."""
    if options.only:
        return cells.unique(cell for words in options.only for cell in cells.only(words))
    if options.short:
        return cells.short()
    return cells.gpu() if options.gpu else cells.full()


def write_report(record: dict[str, Any], folder: Path) -> None:
    """The tables on the terminal and as Markdown, and the plots."""
    report.show(record)
    make_workdir(folder)
    (folder / "benchmark.md").write_text(report.to_markdown(record), encoding="utf-8")
    plots = growth.plot_growth(record, folder)
    print(f"written to {folder}: {', '.join(['benchmark.md', *(path.name for path in plots)])}")


def read_record(file: Path) -> dict[str, Any]:
    """A benchmark's JSON file.

    Raises:
        PromptError: it is not there or something else.
    """
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        cells_there = record["cells"]
    except OSError as error:
        raise PromptError(f"--draw={file} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise PromptError(f"--draw={file} is not a benchmark's JSON file") from None
    if not cells_there:
        raise PromptError(f"--draw={file} holds no measured cell")
    return record


def main(argv: Sequence[str]) -> None:
    """Parses, measures, reports.

    Raises:
        PromptError: a mistake in the command line, or cells that failed.
    """
    options = parse(argv)
    if options.draw:
        file = Path(options.draw)
        write_report(read_record(file), Path(options.workdir or file.parent))
        return
    chosen = choose_cells(options)
    counterpart = not options.ours_only
    if counterpart and importlib.util.find_spec("torch") is None:
        print(f"PyTorch is not installed, so ours alone is measured: {installing('torch')}")
        counterpart = False
    minutes = options.minutes or MINUTES.get(form(options), math.inf)
    folder = Path(options.workdir or f"results/benchmark-{form(options)}")
    make_workdir(folder)
    file = folder / "benchmark.json"
    if file.exists():
        raise PromptError(
            f"{file} holds a benchmark, whole or stopped, and none goes on; delete it or name "
            "another --workdir"
        )
    memory = math.ceil(options.memory_gb * 1e9) or None
    how = measure.Options(
        options.repeats, options.limit, minutes, counterpart, memory, accelerator=options.gpu
    )
    record = measure.measure_all(chosen, how, file)
    write_report(record, folder)
    print(f"every repeat is in {file}")
    failed = [each for each in record["left_out"] if each["failed"]]
    if failed:
        raise PromptError(f"{len(failed)} sides failed, e.g. {failed[0]['reason']}; see {file}")
