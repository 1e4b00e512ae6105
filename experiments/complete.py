"""Adds model.json and prompts.safetensors to runs of earlier versions.

    python -m experiments.complete RUN [RUN …]

RUN is the directory of a finished run. The prompts are read from the last checkpoint or, for
methods without training, computed from the training images, so backbone and data must still exist.
Prompts that do not reach the accuracy of the run are rejected. No other file is changed.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the slow imports below, so that Ctrl-C works during them
    sys.exit(command_line.run("experiments.complete", "start", sys.argv[1:]))

import dataclasses
import pathlib
import tempfile
from collections.abc import Mapping, Sequence

from data_pipelines.errors import DataError
from experiments.record import workdir
from experiments.run import models, reopening, testing
from experiments.setup import building
from experiments.setup.preparation import Prepared
from prompt_jax.errors import PromptError
from prompt_jax.methods import Prompts
from prompt_jax.models import saved


def complete(folder: pathlib.Path, backbone: building.Backbone | None = None) -> str:
    """Writes the two files, unless they exist and are valid.

    Args:
        folder: directory of a finished run.
        backbone: backbone of the run, if it is already loaded.

    Returns:
        A line that describes the result.

    Raises:
        PromptError, DataError: there is no finished run, or its backbone, data or checkpoint is
            missing or has changed.
    """
    damage = ""
    if saved.is_saved(folder):
        try:
            saved.read(folder)
            return f"{folder} is already complete"
        except PromptError as error:
            damage = f", replacing damaged files ({error})"
    run = reopening.reopen(folder, backbone)
    results, _ = workdir.read_finished(folder)
    finished = (folder / "results.json").stat().st_mtime
    prompts = reopening.trained(run)
    _check_accuracy(run, prompts, results["accuracy"])
    temperature = results.get("calibration", {}).get("temperature", 1.0)
    run = dataclasses.replace(run, temperature=temperature)
    models.write(run, prompts, results, models.in_words(finished))
    return f"{folder}: wrote {saved.MODEL} and {saved.PROMPTS}{damage}"


def _check_accuracy(run: Prepared, prompts: Prompts, accuracy: Mapping[str, float]) -> None:
    """Evaluates the prompts, because earlier versions did not record all that they depend on.

    Raises:
        PromptError: the accuracy differs by more than 1 % and more than one example, which
            rounding on another device does not explain.
    """
    with tempfile.TemporaryDirectory(prefix="prompt_jax-complete-") as elsewhere:
        again = dataclasses.replace(run, folder=pathlib.Path(elsewhere))
        for key, dataset in run.plan.tests.items():
            reached, then = testing.test(again, prompts, key)["accuracy"], accuracy[key]
            if abs(reached - then) > max(1, 100 / len(dataset.test)) + 0.01:
                raise PromptError(
                    f"its prompts reach {reached:.2f} % on {key}, but the run reached "
                    f"{then:.2f} %: its {dataset.kind} or backbone have changed; restore them"
                )


def start(argv: Sequence[str]) -> None:
    """Parses the arguments and completes the runs.

    Raises:
        PromptError: some runs could not be completed; raised after all others.
    """
    parser = command_line.make_parser("experiments.complete", __doc__)
    parser.add_argument("runs", metavar="RUN", type=pathlib.Path, nargs="+", help="a run directory")
    options = parser.parse_args(argv)
    command_line.prepare_jax()
    failed = []
    for folder in options.runs:
        try:
            print(complete(folder))
        except (PromptError, DataError) as error:
            failed.append(f"{folder} cannot be completed: {error}")
    if failed:
        raise PromptError("\n".join(failed))
