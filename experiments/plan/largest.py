"""Finds the largest batch and number of classes that fit in a target's memory."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

from experiments.plan.compiling import Compiled, Question
from experiments.plan.targets import Target
from experiments.plan.worker import Compiler, Failed
from prompt_jax.mesh import read_axes

# The search ends within this share of the answer.
PRECISION = 1 / 8
MOST = {"batch": 65_536, "classes": 20_000}


class Found(NamedTuple):
    """The end of a search.

    Attributes:
        fits: the largest size that was compiled and fits; 0 for none.
        exceeds: the smallest that does not fit; 0 if the largest possible one fits.
        stopped: why the search ended early; "" if it did not.
    """

    fits: int
    exceeds: int
    stopped: str = ""

    def __str__(self) -> str:
        """Returns the end of the search in words."""
        words = f"{self.fits:,}" if self.fits else "none"
        if self.exceeds:
            words += f" ({self.exceeds:,} does not fit)"
        elif not self.stopped:
            words += " or more"
        return f"{words}; stopped at {self.stopped}" if self.stopped else words


def search(compiler: Compiler, question: Question, target: Target, what: str, start: int) -> Found:
    """Returns the largest batch or number of classes of a program.

    Args:
        compiler, question: see `Compiler.ask`; the question names a program.
        target: its memory is the limit.
        what: "batch" or "classes", a key of `MOST`.
        start: size to start from.
    """
    sizes = read_axes(question.config.mesh)
    data = sizes.get("data", target.devices // sizes.get("model", 1))
    unit = data if what == "batch" else 1

    def measure(size: int) -> float:
        if what == "classes":
            asked = dataclasses.replace(question, classes=size)
        else:
            config = dataclasses.replace(question.config, batch_size=size, eval_batch_size=size)
            asked = dataclasses.replace(question, config=config)
        compiled: Compiled = compiler.ask(asked)
        # A compiler that refuses a program may say less than all it needs.
        return max(compiled.bytes, 1.01 * target.memory * bool(compiled.refused))

    return bisect(measure, target.memory, start, unit, MOST[what])


def bisect(
    measure: Callable[[int], float], limit: float, start: int, unit: int, most: int
) -> Found:
    """Returns the largest multiple of `unit` whose bytes are within a limit.

    Most new sizes are where a line through two measurements meets the limit: the bytes grow almost
    linearly. Ends when the sizes that fit and do not are close, see `PRECISION`.

    Args:
        measure: returns the bytes of a size; may raise `Failed`.
        limit: in bytes.
        start: size to start from.
        unit: all sizes are multiples of it.
        most: largest size to try.
    """
    fits, exceeds = 0, 0
    known: dict[int, float] = {}
    size = max(unit, start // unit * unit)
    while True:
        try:
            known[size] = measure(size)
        except Failed as failed:
            return Found(fits, exceeds, f"{size:,}: {failed}")
        if known[size] <= limit:
            fits = size
        else:
            exceeds = size
        if fits >= most // unit * unit or (exceeds and exceeds - fits <= _gap(fits, unit)):
            return Found(fits, exceeds)
        size = _next(known, limit, fits, exceeds or math.inf, unit, most)


def _gap(fits: int, unit: int) -> int:
    return max(unit, int(PRECISION * fits))


def _next(
    known: dict[int, float], limit: float, fits: int, exceeds: float, unit: int, most: int
) -> int:
    """Returns the next size to measure, between `fits` and `exceeds`."""
    gap = _gap(fits, unit)
    guess: float = 2 * fits if math.isinf(exceeds) else (fits + exceeds) / 2
    # After some sizes the range is halved: then the bytes do not grow along a line.
    if len(known) > 1 and (len(known) < 6 or math.isinf(exceeds)):
        (a, low), (b, high) = sorted(known.items())[:2] if not fits else _around(known, fits)
        steep = high > 1.001 * low
        guess = a + (b - a) * (limit - low) / (high - low) if steep else 8 * fits
    if math.isinf(exceeds):
        guess = min(max(guess, fits + gap), 32 * fits, most)
    else:
        guess = min(max(guess, fits + gap / 2), exceeds - gap / 2, exceeds - unit)
    return max(int(guess) // unit * unit, fits + unit)


def _around(known: dict[int, float], fits: int) -> list[tuple[int, float]]:
    """Returns the measurements of `fits` and of the next size, or else of the one before."""
    sizes = sorted(known)
    place = sizes.index(fits)
    chosen = sizes[place : place + 2] if place + 1 < len(sizes) else sizes[place - 1 :]
    return [(size, known[size]) for size in chosen]
