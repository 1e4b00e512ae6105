"""Adds model.json and prompts.safetensors to runs of earlier versions.

    python -m experiments.complete RUN [RUN …]

RUN is a directory of a finished run. Its prompts come from the checkpoint of its last step, or are
computed from its training images by methods without training, so its backbone and its data must
still be in place. The prompts are evaluated first; those that do not reach the accuracy of the run
are rejected. No other file is changed.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the imports below, so that Ctrl-C is heard while they run
    sys.exit(command_line.run("experiments.complete", "start", sys.argv[1:], "stopped"))

import argparse
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
        folder: of a finished run.
        backbone: of the run, if it is loaded already.

    Returns:
        a line about what was done.

    Raises:
        PromptError, DataError: there is no finished run, or its backbone, its data or its
            checkpoint is gone or has changed.
    """
    damage = ""
    if saved.is_saved(folder):
        try:
            saved.read(folder)
            return f"{folder} is complete already"
        except PromptError as error:
            damage = f", in place of damaged ones ({error})"
    run = reopening.reopen(folder, backbone)
    results, _ = workdir.read_finished(folder)
    finished = (folder / "results.json").stat().st_mtime
    prompts = reopening.trained(run)
    _refuse_other_answers(run, prompts, results["accuracy"])
    models.write(run, prompts, results, models.in_words(finished))
    return f"{folder}: {saved.MODEL} and {saved.PROMPTS} are written{damage}"


def _refuse_other_answers(run: Prepared, prompts: Prompts, accuracy: Mapping[str, float]) -> None:
    """Evaluates the prompts, as earlier versions did not record everything that they depend on.

    Raises:
        PromptError: the accuracy differs by more than 1 %, or one example; rounding differs
            between devices.
    """
    with tempfile.TemporaryDirectory(prefix="prompt_jax-complete-") as elsewhere:
        again = dataclasses.replace(run, folder=pathlib.Path(elsewhere))
        for key, dataset in run.plan.tests.items():
            reached, then = testing.test(again, prompts, key)["accuracy"], accuracy[key]
            if abs(reached - then) > max(1, 100 / len(dataset.test)) + 0.01:
                raise PromptError(
                    f"its prompts reach {reached:.2f} % on {key}, where it reached {then:.2f} %: "
                    f"its {dataset.kind} or its backbone are others than they were; put them back"
                )


def start(argv: Sequence[str]) -> None:
    """Parses the arguments and completes the runs.

    Raises:
        PromptError: some could not be completed; the others are.
    """
    parser = argparse.ArgumentParser("python -m experiments.complete", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
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
