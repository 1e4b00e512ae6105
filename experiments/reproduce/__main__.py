"""Repeats a published table on your data, and writes measured figures beside published ones.

    python -m experiments.reproduce prompt-1 --root /data --backbone ViT-B/16
    python -m experiments.reproduce prompt-1 --root /data --needs           # only what it needs
    python -m experiments.reproduce prompt-1 --root /data --methods coop --names dtd,eurosat

In this order: what the table needs (data sets, gigabytes, hours on this machine); the weights, by
their published hash; zero-shot CLIP on each data set, which must be equal to the published figures
to 0.1; the rows; the table, as Markdown and LaTeX. A deviation stops it before anything is trained,
with what differs; --anyway continues, and the table names the deviations. The same command resumes.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the slow imports below, so that Ctrl-C works during them
    resumes = command_line.RESUMES
    sys.exit(command_line.run("experiments.reproduce.__main__", "start", sys.argv[1:], resumes))

import argparse
import dataclasses
import pathlib
from collections.abc import Iterable, Sequence

from experiments import results
from experiments.reproduce import needs, published_tables, report, weights, zero_shot
from experiments.reproduce.published_tables import PublishedTable
from experiments.run import sweep
from experiments.setup.protocols import split_names
from prompt_jax.errors import PromptError, escape


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, PublishedTable]:
    """Returns the options of a command line and the wanted part of the table."""
    parser = command_line.make_parser("experiments.reproduce", __doc__)
    listed = ", ".join(published_tables.TABLES)
    parser.add_argument("table", metavar="TABLE", help=f"one of {listed}")
    parser.add_argument("--root", required=True, help="the directory that holds all data sets")
    parser.add_argument("--backbone", default="", help="OpenAI's CLIP: a name or its .pt file")
    parser.add_argument("--methods", default="", help="some of the table's methods: a,b")
    parser.add_argument("--names", default="", help="some of the table's data sets: a,b")
    parser.add_argument("--seeds", default="", help="instead of the protocol's: 1,2,3")
    parser.add_argument("--workdir", type=pathlib.Path, help="default results/reproduce-TABLE")
    parser.add_argument("--needs", action="store_true", help="only say what the table needs")
    parser.add_argument(
        "--untimed", action="store_true", help="do not time steps: no hours, a quicker start"
    )
    parser.add_argument(
        "--anyway", action="store_true", help="continue after a deviation; the table names it"
    )
    options = parser.parse_args(argv)
    table = published_tables.find(options.table)
    options.backbone = options.backbone or table.backbone
    options.seeds = [_seed(text) for text in split_names(options.seeds)]
    options.workdir = options.workdir or pathlib.Path(f"results/reproduce-{options.table}")
    wanted = split_names(options.methods), split_names(options.names)
    return options, published_tables.select(table, *wanted)


def _seed(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise PromptError(f"--seeds: {text!r} must be a whole number; write --seeds=1,2,3")
    return int(text)


def start(argv: Sequence[str]) -> None:
    """Parses the arguments and reproduces the table."""
    options, table = parse(argv)
    command_line.prepare_jax()
    reproduce(table, options)


def reproduce(table: PublishedTable, options: argparse.Namespace) -> None:
    """Says what a table needs, checks weights and zero-shot figures, runs and writes the table.

    Raises:
        PromptError: a data set is missing; weights, data or zero-shot figures deviate from the
            published ones and `options.anyway` is false; or some runs failed.
    """
    root, backbone, workdir = options.root, options.backbone, options.workdir
    config = published_tables.config(table, root, backbone, options.seeds)
    names = published_tables.data_sets(config)
    needed = needs.find(names, root)
    runs, _ = sweep.without_repetition(sweep.expand(config))
    _print(f"{table.title} needs", [*needed.lines, f"{len(runs)} runs"])
    if not options.untimed:
        title = "time on this machine, by timed steps, without compiling and reading images"
        _print(title, needs.hours(runs, needed.loaded))
    missing = [name for name in names if name not in needed.loaded]
    if options.needs:
        if missing:
            _print(f"missing below --root={root}", [needed.problems[one][0] for one in missing])
        return
    if missing:
        where = "; ".join(needed.problems[name][0] for name in missing)
        raise PromptError(f"{', '.join(missing)} cannot be read below --root={root}: {where}")
    facts: list[str] = []
    deviations: list[str] = []
    try:
        facts.append(weights.check(backbone, table.backbone))
        config = dataclasses.replace(config, backbone_title=table.backbone)  # also of a file
    except PromptError as error:
        deviations += _deviation(str(error), options.anyway)
    _print("weights", facts)
    lines, alone, differ = zero_shot.check(table, config, workdir, names, needed.problems)
    _print("zero-shot CLIP", lines)
    # Lists of data sets that no figure checks.
    differ += [f"{name}: {why}" for name in alone for why in needed.problems.get(name, ())]
    if differ:
        deviations += _deviation("\n  ".join(differ), options.anyway)
    if lines:
        facts.append(
            f"Zero-shot CLIP: {len(lines)} figures are equal to the published ones to "
            f"{zero_shot.TOLERANCE}."
        )
    if alone:
        facts.append(f"No figure of zero-shot CLIP is published for {', '.join(alone)} alone.")
    try:
        sweep.run(config, workdir)
    finally:
        _finish(table, workdir, [*facts, *map(report.DEVIATION.format, deviations)])


def _deviation(text: str, anyway: bool) -> list[str]:
    if not anyway:
        raise PromptError(f"{text}\nnothing was trained; --anyway continues, and the table says so")
    found = text.split("\n  ")
    _print("continued, although it deviates from what is published", found)
    return found


def _finish(table: PublishedTable, workdir: pathlib.Path, facts: Sequence[str]) -> None:
    """Writes the tables of all runs that are finished, and this table."""
    if not any(workdir.rglob("results.json")):
        return
    out = workdir / "tables"
    results.write_tables(results.summarize(workdir, intervals=True), out, with_latex=True)
    report.show(table, workdir)
    paths = report.write(table, workdir, out, facts)
    print(f"wrote {', '.join(escape(str(path)) for path in paths)}; all figures: {out}")


def _print(title: str, lines: Iterable[str]) -> None:
    print(f"{escape(title)}:", flush=True)
    for line in lines:
        print(f"  {escape(line)}", flush=True)
