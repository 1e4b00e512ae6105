"""Completes runs of earlier versions: model.json and prompts.safetensors, by which they are used.

    python -m experiments.complete RUN [RUN …]

RUN is the folder of a finished run. Its prompts are taken from the checkpoint of its last step, or
made from its training pictures again where a method makes them of these; so its backbone and its
data must be where they were. All else in the folder stays as it is.
"""

import sys

from experiments import command_line

if __name__ == "__main__":  # before the imports below, so that Ctrl-C is heard while they run
    sys.exit(command_line.run("experiments.complete", "start", sys.argv[1:], "stopped"))

import argparse
import pathlib
from collections.abc import Sequence

from data_pipelines.errors import DataError
from experiments.record import workdir
from experiments.run import building, models, reopening
from prompt_jax import saved
from prompt_jax.errors import PromptError


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
    results = workdir.read_results(folder)
    assert results is not None  # or it had not opened
    finished = (folder / "results.json").stat().st_mtime
    models.write(run, reopening.trained(run), results, models.in_words(finished))
    return f"{folder}: {saved.MODEL} and {saved.PROMPTS} are written{damage}"


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
