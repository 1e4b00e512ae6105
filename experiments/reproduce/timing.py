"""Times steps of runs on this machine, with arrays of zeros, and multiplies."""

import dataclasses
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.config.config import Config
from experiments.plan import programs, targets
from prompt_jax.clip.memory import BUDGET_SHARE, default_budget

FEW, MANY = 10, 50
"""Numbers of classes that are timed; the time of a step is taken as linear in them."""

RUNS, LONG = 5, 10.0
"""The most runs of a program, and the seconds after which two of them are enough."""

HOUR, MINUTE = 3600.0, 60.0


class Work(NamedTuple):
    """The work of one run.

    Attributes:
        classes: in training.
        images: training images, videos or pairs of one epoch; 0 if nothing trains.
        tests: test images or videos.
        tested_classes: in a test.
    """

    classes: int
    images: int
    tests: int
    tested_classes: int


class Clock:
    """Times each program once per method and number of classes."""

    def __init__(self, most_classes: int):
        """Takes the largest number of classes of any run."""
        self._sizes = sorted({min(FEW, most_classes), min(MANY, most_classes)})
        self._found: dict[str, list[dict[str, float]]] = {}

    def seconds(self, one: Config, work: Work) -> float:
        """Returns the seconds of one run, without compiling and without reading images."""
        one = _with_small_tests(one)
        timed = self._timed(one)

        def of(name: str, classes: int) -> float:
            return along([found.get(name, 0.0) for found in timed], self._sizes, classes)

        batch, tested = one.batch_size, work.tests / one.eval_batch_size
        steps = max(work.images // batch, min(1, work.images)) * one.epochs
        views = one.cached_views * work.images / one.eval_batch_size
        test = "videos" if one.protocol_spec.by_captions else "evaluation"
        return (
            steps * of("training step", work.classes)
            + views * of("image features", work.classes)
            + tested * of(test, work.tested_classes)
        )

    def _timed(self, one: Config) -> list[dict[str, float]]:
        # Fields that no program depends on.
        data = dataclasses.replace(one.data, name="", names="", domain="", root="", shots=1)
        key = repr(dataclasses.replace(one, data=data, seed=0, epochs=1))
        if key not in self._found:
            self._found[key] = [_time(one, size) for size in self._sizes]
        return self._found[key]


def _with_small_tests(one: Config) -> Config:
    """Returns a config whose test steps take seconds on a CPU, where few images fill it."""
    if jax.default_backend() != "cpu":
        return one
    devices = jax.device_count()
    return dataclasses.replace(one, eval_batch_size=min(one.eval_batch_size, FEW * devices))


def along(seconds: list[float], sizes: list[int], size: int) -> float:
    """Returns the time at another size, on the line through the timed ones; never below zero."""
    if len(sizes) == 1:
        return seconds[0]
    (first, last), (low, high) = seconds, sizes
    slope = max(0.0, (last - first) / (high - low))
    return max(0.0, first + slope * (size - low))


def _time(one: Config, classes: int) -> dict[str, float]:
    """Returns the seconds of each program of a run, by name."""
    run = programs.describe(one, programs.read_sizes(one), here(), jax.devices(), classes)
    return {
        name: _one_run(build())
        for name, build in programs.build(run)
        if name not in ("classes", "captions")  # once per test set
    }


def _one_run(built: programs.Built) -> float:
    """Returns the shortest of some runs of a program, in seconds, without compiling it."""
    compiled = built.function.lower(*built.arguments).compile()
    found: list[float] = []
    # The first run also allocates memory and, on an accelerator, loads the program.
    while len(found) < RUNS and (len(found) < 2 or sum(found) < LONG):
        arguments = jax.tree.map(_zeros, built.arguments)  # a step consumes its state
        jax.block_until_ready(arguments)
        began = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        found.append(time.perf_counter() - began)
    return min(found)


def _zeros(shape: jax.ShapeDtypeStruct) -> Any:
    return jax.device_put(jnp.zeros(shape.shape, shape.dtype), shape.sharding)


def here() -> targets.Target:
    """Returns this machine as a target of `experiments.plan`."""
    device = jax.local_devices()[0]
    memory = (default_budget() or 0) / BUDGET_SHARE
    chip = targets.Chip(device.device_kind, device.platform, memory, 0.0, 0.0, {})
    return targets.Target("this machine", "this machine", chip, jax.device_count())


def in_words(seconds: float) -> str:
    """Returns a duration in minutes or hours."""
    if seconds < HOUR:
        return f"{max(1, round(seconds / MINUTE))} min"
    return f"{seconds / HOUR:,.1f} h"
