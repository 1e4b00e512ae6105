"""Choosing a method's settings on images that were held out, never on test images.

Held out are the validation images and, in turn, the shots: a fold of them is judged by prompts
that were made from the others. All of them count together, each image once. docs/choosing.md has
what this was compared with.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from prompt_jax.errors import PromptError
from prompt_jax.methods.bounds import MOST_SETTING

CHOOSE = -1.0
"""A setting's value that has it chosen."""

UNEVEN = 1e-3
"""How much a normalised feature's length may differ from 1: rounding."""

LONGEST_KEY = 100
"""The same of keys that trained; they start at length 1, and steps are small."""

FOLDS = 4
VIEWS = 2
BEST = 5  # pairs of a two-dimensional grid that are recorded
LISTED = 20  # values of a grid that are recorded one by one

Prompts = Any


def check_shots(prompts: Prompts, settings: Any, classes: int) -> None:
    """Checks prompts that were made from shots, of so many classes.

    Raises:
        PromptError: a label is no class's, a weight is out of its range or not the one of the
            settings, or a feature is not of length 1.
    """
    check_cache(prompts, settings, classes)
    for name in ("features", "keys"):
        if name in prompts and (far := _farthest(prompts[name])) > UNEVEN:
            raise PromptError(
                f"prompts.{name}: a feature's length differs from 1 by {far:.2g}; all are "
                "normalised"
            )


def check_cache(prompts: Prompts, settings: Any, classes: int) -> None:
    """As `check_shots`, of keys that trained, which are not normalised again."""
    labels = np.asarray(prompts["labels"])
    if wrong := set(labels.tolist()).difference(range(classes)):
        raise PromptError(
            f"prompts.labels: {min(wrong):g} is no class's number, which are 0 to {classes - 1}"
        )
    for name in ("alpha", "beta"):
        if name not in prompts:
            continue
        value, given = float(prompts[name]), getattr(settings, name)
        if not 0 <= value <= MOST_SETTING:
            raise PromptError(
                f"prompts.{name}: {value:g} must be at least 0, and at most {MOST_SETTING:,}"
            )
        if given != CHOOSE and value != float(np.float32(given)):
            raise PromptError(
                f"prompts.{name}: {value:g}, and settings.{name} is {given:g}; both must be the "
                "same, or the setting -1, which has it chosen"
            )
    if "keys" in prompts and (far := _farthest(prompts["keys"])) > LONGEST_KEY:
        raise PromptError(
            f"prompts.keys: a key's length differs from 1 by {far:.2g}; no training moves them "
            f"farther than {LONGEST_KEY}"
        )


def _farthest(features: Any) -> float:
    """How much the length of a row float[n, d] differs from 1, at most."""
    rows = np.asarray(features)
    squares = np.einsum("nd,nd->n", rows, rows, dtype=np.float64)
    return float(np.abs(np.sqrt(squares) - 1).max())


class HeldOut(NamedTuple):
    """Images, and prompts that know nothing of them.

    Attributes:
        prompts: made without these images.
        features: float[V, m, d], V views of m images, not normalised.
        labels: int[m].
        kind: what these images are, in the plural.
    """

    prompts: Prompts
    features: np.ndarray
    labels: np.ndarray
    kind: str = "validation images"


class Choice(NamedTuple):
    """What was chosen, and how.

    Attributes:
        values: setting to value; only those that were not given.
        by: on what, in words.
        grid: setting to the values that were tried; empty where there was nothing to choose on.
        accuracy: float[len(grid), …], percent of the held-out images, an axis a setting.
    """

    values: Mapping[str, float]
    by: str
    grid: Mapping[str, Sequence[float]]
    accuracy: np.ndarray

    def __str__(self):
        return f"{in_words(self.values)}, {'chosen by ' * bool(self.grid)}{self.by}"

    def as_json(self) -> dict[str, Any]:
        """What results.json says: of a grid of two settings, the best few."""
        values = {name: _rounded(value) for name, value in self.values.items()}
        record: dict[str, Any] = {"values": values, "by": self.by}
        if not self.grid:
            return record
        record["grid"] = {name: _shorten(values) for name, values in self.grid.items()}
        if len(self.grid) == 1:
            return record | {"accuracy": [round(float(a), 2) for a in self.accuracy]}
        at = tuple(list(tried).index(self.values[name]) for name, tried in self.grid.items())
        order = np.argsort(-self.accuracy, axis=None, kind="stable")[:BEST]
        best = []
        for place in zip(*np.unravel_index(order, self.accuracy.shape), strict=True):
            pairs = zip(self.grid.items(), place, strict=True)
            tried = {name: _rounded(values[index]) for (name, values), index in pairs}
            best.append(tried | {"accuracy": round(float(self.accuracy[place]), 2)})
        return record | {"accuracy": round(float(self.accuracy[at]), 2), "best": best}


def _rounded(value: float) -> float:
    """Without what float32 adds: 2.855, not 2.8549998."""
    return float(f"{value:.6g}")


def in_words(values: Mapping[str, float]) -> str:
    """ "alpha=1, beta=5.5"."""
    return ", ".join(f"{name}={value:g}" for name, value in values.items())


def _shorten(values):
    if len(values) <= LISTED:
        return list(values)
    return {"from": values[0], "to": values[-1], "values": len(values)}


def check_given(name: str, value: float) -> None:
    """Refuses a value that is neither a number from 0 on nor `CHOOSE`.

    Raises:
        PromptError: names the setting.
    """
    if value != CHOOSE and not 0 <= value < math.inf:
        raise PromptError(f"settings.{name}={value} must be at least 0, or -1, which has it chosen")


def assign_folds(labels: np.ndarray) -> np.ndarray:
    """Which fold holds each shot out, int[n] from 0; -1 for the only shot of its class.

    Each class is cut into as many parts as it has shots, four at most, so that every fold leaves
    every class some, and takes from equal classes equally many: a class that lost more than others
    would be voted for less. Parts are consecutive, because neighbours in a list of images are
    often near duplicates.
    """
    labels = np.asarray(labels)
    folds = np.full(len(labels), -1)
    for label in np.unique(labels):
        shots = np.flatnonzero(labels == label)
        if len(shots) > 1:
            for fold, part in enumerate(np.array_split(shots, min(FOLDS, len(shots)))):
                folds[part] = fold
    return folds


def hold_out_shots(
    fit: Callable[[np.ndarray, np.ndarray], Prompts], features: np.ndarray, labels: np.ndarray
) -> list[HeldOut]:
    """Folds of the shots, each with prompts that were made from the others.

    Args:
        fit: (features float[V, m, d], labels int[m]) -> prompts, all training included: what has
            trained on an image says nothing of how well it tells others.
        features: float[V, n, d], V views of n shots. An image's views are held out together.
        labels: int[n].

    Returns:
        A fold each; none where no class has two shots.
    """
    features, labels = np.asarray(features), np.asarray(labels)
    folds = assign_folds(labels)
    held = []
    for fold in range(folds.max(initial=-1) + 1):
        out = folds == fold
        prompts = fit(features[:, ~out], labels[~out])
        held.append(HeldOut(prompts, features[:VIEWS, out], labels[out], "shots"))
    return held


def choose(
    held_out: Sequence[HeldOut],
    count_hits: Callable[[Prompts, Any, Any], Any],
    grid: Mapping[str, Sequence[float]],
    default: Mapping[str, float],
) -> Choice:
    """The values with the most hits on all held-out images.

    Hits are averaged with those of neighbouring values first: of few images many values hit
    equally many, and the middle of a good stretch does better on other images than its ends.

    Args:
        held_out: what is judged; images count once, however many views there are.
        count_hits: (prompts, features float[N, d], labels int[N]) -> int[…], an axis a setting.
        grid: setting to the values to try.
        default: setting to its value where nothing is held out.
    """
    images = sum(len(held.labels) for held in held_out)
    if not images:
        by = "default: there are no validation images, and no class has a second shot to hold out"
        return Choice(dict(sorted(default.items())), by, {}, np.zeros(0))
    shape = [len(values) for values in grid.values()]
    total = np.zeros(shape)
    for held in held_out:
        views, number, width = held.features.shape
        if number:
            rows = jnp.asarray(held.features).reshape(-1, width)
            hits = count_hits(held.prompts, rows, jnp.tile(jnp.asarray(held.labels), views))
            total += np.asarray(hits).reshape(shape) / views
    place = best(total)
    pairs = zip(grid.items(), place, strict=True)
    values = {name: list(tried)[index] for (name, tried), index in pairs}
    return Choice(dict(sorted(values.items())), describe(held_out), grid, 100 * total / images)


def best(hits: np.ndarray) -> tuple[int, ...]:
    """Where the smoothed hits are highest; of equals the middle one."""
    smooth = hits
    for axis, size in enumerate(hits.shape):
        smooth = _smooth(smooth, axis, max(1, size // 10)) if size > 2 else smooth
    equal = np.argwhere(smooth >= smooth.max() - 1e-9)
    distance = ((equal - equal.mean(axis=0)) ** 2).sum(axis=1)
    return tuple(int(index) for index in equal[np.argmin(distance)])


def _smooth(hits, axis, reach):
    """Weighted by a triangle over `reach` neighbours on either side; the ends are repeated."""
    weights = 1 + reach - np.abs(np.arange(-reach, reach + 1.0))
    padding = [(reach, reach) if number == axis else (0, 0) for number in range(hits.ndim)]
    padded = np.pad(hits, padding, mode="edge")
    return np.apply_along_axis(np.convolve, axis, padded, weights / weights.sum(), mode="valid")


def describe(held_out: Sequence[HeldOut]) -> str:
    """What was held out, in words."""
    folds = [held for held in held_out if held.kind == "shots"]
    shots = sum(len(held.labels) for held in folds)
    others = sum(len(held.labels) for held in held_out if held.kind != "shots")
    parts = [f"cross-validation over {shots} shots in {len(folds)} folds"] if shots else []
    return " and ".join([*parts, *([f"{others} validation images"] if others else [])])
