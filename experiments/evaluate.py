"""Tests finished runs on any data set, without training.

    python -m experiments.evaluate RUN [RUN …] --config.data.names=NAME[,NAME …]
        [--config.data.root=/data] [--out DIR]

RUN is a folder with model.json, of any method. NAME is a data set, a domain of it ("folder:dslr"),
or one half of its classes, as base-to-novel divides them ("caltech101:base", "caltech101:new").
Models of captions are tested on videos with captions, all others on classes: those of the data set.
Each test set gets a folder in RUN/evaluations (or DIR) with results.json, the predictions and the
counts of what was taken for what. What was evaluated before is not repeated.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the imports below, so that Ctrl-C is heard while they run
    sys.exit(command_line.run("experiments.evaluate", "start", sys.argv[1:]))

import argparse
import pathlib
from collections.abc import Sequence
from typing import Any

from data_pipelines.errors import DataError
from experiments import results
from experiments.config import config
from experiments.record import runs
from experiments.run import evaluating
from experiments.run.elsewhere import FIELDS, Model
from experiments.setup import protocols
from prompt_jax.errors import PromptError, escape, unknown
from prompt_jax.models import saved
from prompt_jax.training.sharding import Placement

_NAMES = "config.data.names"


def evaluate(
    folders: Sequence[pathlib.Path],
    keys: Sequence[str],
    changes: dict[str, Any],
    out: pathlib.Path | None = None,
) -> tuple[list[pathlib.Path], list[str]]:
    """Tests every model on every test set, one after another; each backbone is loaded once.

    Args:
        folders: of the models.
        keys: of the test sets; see `evaluating.evaluate`.
        changes: as there.
        out: as there.

    Returns:
        The results.json of each, and a line for each that could not be tested.

    Raises:
        PromptError: a folder holds no model; before anything is tested.
    """
    models = [Model(folder, saved.read(folder)) for folder in folders]
    placement = Placement()
    backbones = evaluating.Backbones(placement)
    paths, failed = [], []
    for number, model in enumerate(models, 1):
        for key in keys:
            print(
                escape(f"[{number}/{len(models)}] {model.saved.method} of {model.folder} on {key}")
            )
            try:
                paths.append(evaluating.evaluate(model, key, changes, backbones, placement, out))
            except (PromptError, DataError) as error:
                failed.append(f"{model.folder} on {key}: {error}")
                print(escape(f"failed: {str(error).splitlines()[0]}"))
    return paths, failed


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The command line, and of the config's fields those that it gives, by their names.

    Raises:
        PromptError: a flag that is none, or none of an evaluation; or no data set is named.
    """
    parser = argparse.ArgumentParser(
        "python -m experiments.evaluate", description=__doc__, allow_abbrev=False
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("runs", metavar="RUN", type=pathlib.Path, nargs="+", help="a run's folder")
    parser.add_argument(f"--{_NAMES}", metavar="NAMES", default="", help="what is tested: a,b:part")
    parser.add_argument("--out", type=pathlib.Path, help="where to write; default RUN/evaluations")
    for field in FIELDS:
        kind = type(config.FIELDS[field].default)
        parser.add_argument(
            f"--config.{field}",
            metavar=kind.__name__.upper(),
            type=_truth if kind is bool else kind,
            help=f"{config.FIELDS[field].help} ({config.FIELDS[field].default!r})".replace(
                "%", "%%"
            ),
        )
    options, rest = parser.parse_known_args(argv)
    if rest:
        flag = rest[0].lstrip("-").partition("=")[0]
        if flag.removeprefix("config.") in config.FIELDS:
            raise PromptError(
                f"--{flag} is of training, and an evaluation trains nothing; it takes "
                f"{', '.join(f'--config.{field}' for field in ('data.names', *FIELDS))}"
            )
        raise unknown("flag", flag, [_NAMES, "out", *(f"config.{field}" for field in FIELDS)])
    if not protocols.split_names(getattr(options, _NAMES)):
        raise PromptError(f"--{_NAMES}=NAME,NAME:PART is needed: what the runs are tested on")
    given = {field: getattr(options, f"config.{field}") for field in FIELDS}
    return options, {field: value for field, value in given.items() if value is not None}


def _truth(word: str) -> bool:
    if word.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{word!r} must be True or False")
    return word.lower() == "true"


def start(argv: Sequence[str]) -> None:
    """Parses, evaluates, prints the tables.

    Raises:
        PromptError: see `parse`; or some models could not be tested, after all others are.
    """
    options, changes = parse(argv)
    command_line.prepare_jax()
    keys = protocols.split_names(getattr(options, _NAMES))
    paths, failed = evaluate(options.runs, keys, changes, options.out)
    summary = results.summarize_runs(*runs.read_all(paths))
    results.show_all(summary)
    for path in paths:
        print(escape(f"written: {path}"))
    if failed:
        listed = "".join(f"\n  {line}" for line in failed)
        raise PromptError(f"{len(failed)} of {len(paths) + len(failed)} were not tested:{listed}")
