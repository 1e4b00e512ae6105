"""Benchmarks prediction from files against the bare image tower on images in memory.

    python -m experiments.benchmark.predicting FOLDER [--number 2000] [--backbone ViT-B/32]
        [--methods zero_shot,coop] [--classes 100] [--rounds 3]

The backbone has random weights. Measures in turns the tower on prepared batches and each method's
`predict` on files, including decoding.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the slow imports below, so that Ctrl-C works during them
    sys.exit(command_line.run("experiments.benchmark.predicting", "start", sys.argv[1:]))

import dataclasses
import functools
import pathlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from prompt_jax import methods
from prompt_jax.cli.commands import whole
from prompt_jax.clip import CLIP, VARIANTS
from prompt_jax.errors import PromptError, unknown
from prompt_jax.evaluation import programs
from prompt_jax.inputs.batching import sizes_for, split
from prompt_jax.inputs.images.files import images_below
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.models import model
from prompt_jax.models.model import Model
from prompt_jax.prompts import PHOTO


def start(argv: Sequence[str]) -> None:
    """Parses the command line, measures and prints a table."""
    parser = command_line.make_parser("experiments.benchmark.predicting", __doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--number", type=whole(), default=2000, help="images (2000)")
    parser.add_argument("--backbone", default="ViT-B/32", help="ViT-B/32")
    parser.add_argument("--methods", default="zero_shot,coop", help="zero_shot,coop")
    parser.add_argument("--classes", type=whole(), default=100, help="100")
    parser.add_argument("--rounds", type=whole(), default=3, help="3")
    options = parser.parse_args(argv)
    if options.backbone not in VARIANTS:
        raise unknown("--backbone", options.backbone, VARIANTS)
    files = images_below(options.folder)
    if len(files) < options.number:
        raise PromptError(
            f"{options.folder} holds only {len(files):,} images; pass --number={len(files)}"
        )
    # Evenly spread, because neighboring files are similar.
    places = np.linspace(0, len(files) - 1, options.number, dtype=int)
    paths = [options.folder / files[place] for place in places]
    bare = random_model(options.backbone)
    runs: dict[str, Callable[[int], object]] = {
        "image tower only": functools.partial(run_tower, bare)
    }
    names = [f"class {number}" for number in range(options.classes)]
    for name in options.methods.split(","):
        trained = with_method(bare, name, names)
        runs[f"predict, {name}"] = functools.partial(predict, trained, paths)
    seconds = measure_alternating(runs, options.number, options.rounds)
    print_table(seconds, options.number)


def random_model(backbone: str) -> Model:
    """Returns a CLIP of a variant's size with random weights."""
    clip = CLIP(VARIANTS[backbone])
    method = methods.get("zero_shot")
    frozen = jax.jit(clip.init)(jax.random.key(0))
    inputs = Inputs.of(clip.config.image_size)
    return Model("zero_shot", method, method.Settings(), {}, clip, frozen, inputs)


def with_method(bare: Model, name: str, names: Sequence[str]) -> Model:
    """Returns the model with a method and its initial prompts."""
    method = methods.get(name)
    settings = method.Settings()
    task = methods.make_task(method, bare.clip, bare.frozen, names, settings, PHOTO)
    prompts = jax.jit(method.init)(jax.random.key(0), task)
    return dataclasses.replace(
        bare,
        name=name,
        method=method,
        settings=settings,
        prompts=prompts,
        class_names=tuple(names),
        _tasks={},
    )


def run_tower(bare: Model, number: int) -> None:
    """Encodes `number` blank images, in the batch sizes of `predict`, without decoding."""
    sizes = split(number, sizes_for(model.BATCH_SIZE), jax.default_backend() == "cpu")
    images = np.zeros((max(sizes), *bare.inputs.shape), np.float32)
    for size in sizes:
        features = programs.encode_images(bare.clip, bare.frozen, images[:size])
    features.block_until_ready()


def predict(trained: Model, paths: Sequence[pathlib.Path], number: int) -> None:
    """Predicts the first `number` files."""
    trained.predict(paths[:number], quiet=True)


def measure_alternating(
    runs: Mapping[str, Callable[[int], object]], number: int, rounds: int
) -> dict[str, list[float]]:
    """Returns the seconds of each run on `number` images, measured in turns `rounds` times."""
    rest = number % model.BATCH_SIZE
    for run in runs.values():
        run(min(number, model.BATCH_SIZE + rest))  # compiles for both batch sizes
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            run(number)
            seconds[name].append(time.perf_counter() - began)
    return seconds


def print_table(seconds: dict[str, list[float]], number: int) -> None:
    """Prints median rates, and medians over rounds of the share of the tower's rate."""
    table = Table("", "images per second", "share of the tower's")
    [tower, *_] = seconds.values()
    for name, taken in seconds.items():
        share = statistics.median(a / b for a, b in zip(tower, taken, strict=True))
        table.add_row(name, f"{number / statistics.median(taken):,.1f}", f"{share:.0%}")
    Console().print(table)
