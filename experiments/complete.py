"""Completes runs of earlier versions: model.json and prompts.safetensors, by which they are used.

    python -m experiments.complete RUN [RUN …]

RUN is the folder of a finished run. Its prompts are taken from the checkpoint of its last step, or
made from its training images again where a method makes them of these; so its backbone and its
data must be where they were. They are tested again before: prompts that do not reach the run's
accuracy are refused. All else in the folder stays as it is.
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
    """Writes the two files, unless they are there and whole.

    Args:
        folder: of a finished run.
        backbone: the run's, where it is loaded already.

    Returns:
        What was done, in words.

    Raises:
        PromptError, DataError: no run is finished there, or its backbone, its data or what it
            trained is gone or another one.
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
    """Tests the prompts again, since earlier versions did not record all that they depend on.

    Raises:
        PromptError: they do not reach what the run reached; one example in a hundred may differ,
            or one of fewer, as rounding does on another device.
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
    """Parses, completes one after another.

    Raises:
        PromptError: some could not be completed; the others are.
    """
    parser = argparse.ArgumentParser("python -m experiments.complete", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("runs", metavar="RUN", type=pathlib.Path, nargs="+", help="a run's folder")
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
