"""Tests finished runs on any data set, without training.

    python -m experiments.evaluate RUN [RUN …] --config.data.names=NAME[,NAME …]
        [--config.data.root=/data] [--out DIR]

RUN is a run directory with model.json, of any method. NAME is a data set, one of its domains
("folder:dslr"), or half of its classes as in base-to-novel ("caltech101:base", "caltech101:new").
Retrieval models are tested on videos with captions, all others on the classes of the data set.
For each test set, a directory in RUN/evaluations (or DIR) receives results.json, predictions and a
confusion matrix. Finished evaluations are not repeated.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the slow imports below, so that Ctrl-C works during them
    sys.exit(command_line.run("experiments.evaluate", "start", sys.argv[1:], command_line.RESUMES))

import argparse
import pathlib
from collections.abc import Sequence
from typing import Any

from data_pipelines.errors import DataError
from experiments import results
from experiments.config import config
from experiments.record import runs
from experiments.run import evaluating
from experiments.run.evaluation_plans import FIELDS, Model
from experiments.setup import protocols
from prompt_jax.errors import PromptError, escape, unknown
from prompt_jax.models import saved
from prompt_jax.training.sharding import Placement, find_devices, parse_mesh

_NAMES = "config.data.names"


def evaluate(
    folders: Sequence[pathlib.Path],
    keys: Sequence[str],
    changes: dict[str, Any],
    out: pathlib.Path | None = None,
) -> tuple[list[pathlib.Path], list[str]]:
    """Tests every model on every test set; loads each backbone once.

    Args:
        folders: run directories of the models.
        keys: keys of the test sets; see `evaluating.evaluate`.
        changes, out: see `evaluating.evaluate`.

    Returns:
        The paths of all results.json, and a line for each failed evaluation.

    Raises:
        PromptError: a directory holds no model; raised before anything is tested.
    """
    models = [Model(folder, saved.read(folder)) for folder in folders]
    mesh = parse_mesh(changes.get("mesh", ""), find_devices(), "config.mesh")
    placement = Placement(mesh, changes.get("shard_frozen", False))
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
    """Parses the command line; returns the options, and the given config fields by name.

    Raises:
        PromptError: a flag is unknown or applies only to training, or no data set is named.
    """
    parser = command_line.make_parser("experiments.evaluate", __doc__)
    parser.allow_abbrev = False
    parser.add_argument("runs", metavar="RUN", type=pathlib.Path, nargs="+", help="a run directory")
    parser.add_argument(f"--{_NAMES}", metavar="NAMES", default="", help="test sets: a,b:part")
    parser.add_argument(
        "--out", type=pathlib.Path, help="output directory; default RUN/evaluations"
    )
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
                f"--{flag} applies only to training; evaluation takes "
                f"{', '.join(f'--config.{field}' for field in ('data.names', *FIELDS))}"
            )
        raise unknown("flag", flag, [_NAMES, "out", *(f"config.{field}" for field in FIELDS)])
    if not protocols.split_names(getattr(options, _NAMES)):
        raise PromptError(f"--{_NAMES} is required; name the test sets: NAME,NAME:PART")
    given = {field: getattr(options, f"config.{field}") for field in FIELDS}
    return options, {field: value for field, value in given.items() if value is not None}


def _truth(word: str) -> bool:
    if word.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{word!r} must be True or False")
    return word.lower() == "true"


def start(argv: Sequence[str]) -> None:
    """Parses the arguments, evaluates and prints the tables.

    Raises:
        PromptError: see `parse`; or some evaluations failed, raised after all others.
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
        raise PromptError(
            f"{len(failed)} of {len(paths) + len(failed)} evaluations failed:{listed}"
        )
