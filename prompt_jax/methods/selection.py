"""Chooses a method's settings on held-out images, never on test images.

Held-out images are the validation images and the shots. Shots are cross-validated: prompts computed
from the other folds classify a fold. All images are pooled, and each counts once. docs/choosing.md
compares alternatives.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from prompt_jax.errors import PromptError
from prompt_jax.methods.bounds import MOST_SETTING

CHOOSE = -1.0
"""The value of a setting that is chosen on held-out images."""

UNEVEN = 1e-3
"""The largest deviation of a normalized feature's norm from 1: rounding."""

LONGEST_KEY = 100
"""The same for trained keys; they start at norm 1, and steps are small."""

FOLDS = 4
VIEWS = 2
BEST = 5  # pairs of a two-dimensional grid that are recorded
LISTED = 20  # values of a grid that are recorded one by one

Prompts = Any


def check_shots(prompts: Prompts, settings: Any, classes: int) -> None:
    """Checks prompts that were computed from shots of `classes` classes.

    Raises:
        PromptError: a label is not a class, a weight is out of its range or differs from the
            settings, or the norm of a feature is not 1.
    """
    check_cache(prompts, settings, classes)
    for name in ("features", "keys", "captions"):
        if name in prompts and (far := _farthest(prompts[name])) > UNEVEN:
            raise PromptError(
                f"prompts.{name}: the norm of a feature differs from 1 by {far:.2g}; features must "
                "be normalized"
            )


def check_cache(prompts: Prompts, settings: Any, classes: int) -> None:
    """Checks the same as `check_shots` for trained keys, which are not normalized again."""
    labels = np.asarray(prompts["labels"])
    if wrong := set(labels.tolist()).difference(range(classes)):
        raise PromptError(
            f"prompts.labels: {min(wrong):g} is not a label; labels are 0 to {classes - 1}"
        )
    for name in ("alpha", "beta", "gamma", "delta"):
        if name not in prompts:
            continue
        value, given = float(prompts[name]), getattr(settings, name)
        most = 1 if name == "delta" else MOST_SETTING
        if not 0 <= value <= most:
            raise PromptError(f"prompts.{name}: {value:g} must be at least 0, and at most {most:,}")
        if given != CHOOSE and value != float(np.float32(given)):
            raise PromptError(
                f"prompts.{name}: {value:g}, but settings.{name} is {given:g}; both must be equal, "
                "or the setting -1 (chosen on held-out images)"
            )
    if "keys" in prompts and (far := _farthest(prompts["keys"])) > LONGEST_KEY:
        raise PromptError(
            f"prompts.keys: the norm of a key differs from 1 by {far:.2g}; training changes it by "
            f"at most {LONGEST_KEY}"
        )


def _farthest(features: Float[Array | np.ndarray, "samples dim"]) -> float:
    """Returns the largest deviation of a row's norm from 1."""
    rows = np.asarray(features)
    squares = np.einsum("nd,nd->n", rows, rows, dtype=np.float64)
    return float(np.abs(np.sqrt(squares) - 1).max())


class HeldOut(NamedTuple):
    """Images, and prompts that were computed without them.

    Attributes:
        prompts: computed without these images.
        features: features of one or more views of each image, not normalized.
        labels: one per image.
        kind: "validation images" or "shots".
    """

    prompts: Prompts
    features: Float[np.ndarray, "views images dim"]
    labels: Int[np.ndarray, " images"]
    kind: str = "validation images"


class Choice(NamedTuple):
    """The chosen settings and the evidence.

    Attributes:
        values: setting to value, only for settings that were not given.
        by: the held-out images, in words.
        grid: setting to the values that were tried; empty without held-out images.
        accuracy: percent of the held-out images, with an axis per setting.
    """

    values: Mapping[str, float]
    by: str
    grid: Mapping[str, Sequence[float]]
    accuracy: Float[np.ndarray, "..."]

    def __str__(self) -> str:
        return f"{in_words(self.values)}, {'chosen by ' * bool(self.grid)}{self.by}"

    def as_json(self) -> dict[str, Any]:
        """Returns the entry of results.json; of a grid of two settings, only the best few."""
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
    """Removes the rounding of float32: 2.855, not 2.8549998."""
    return float(f"{value:.6g}")


class Adaptation(NamedTuple):
    """Functions that compute prompts from the features of training images, around training.

    Attributes:
        make: (prompts, task, features float[V, n, d], labels int[n]) -> prompts computed from V
            views of all n training images, before training. If `captions`, it also takes float[n,
            d], the normalized features of the images' captions.
        choose: (prompts, task, list of `HeldOut`) -> prompts with the settings that are
            best on these images, after training, and the `Choice`, None if all settings
            are given. The list may be empty.
        captions: whether `make` reads captions; `Method.texts` is then "captions".
    """

    make: Callable[..., Prompts]
    choose: Callable[[Prompts, Any, Sequence[HeldOut]], tuple[Prompts, Choice | None]]
    captions: bool = False


def in_words(values: Mapping[str, float]) -> str:
    """Returns settings as "alpha=1, beta=5.5"."""
    return ", ".join(f"{name}={value:g}" for name, value in values.items())


def _shorten(values: Sequence[float]) -> list[float] | dict[str, float]:
    if len(values) <= LISTED:
        return list(values)
    return {"from": values[0], "to": values[-1], "values": len(values)}


def check_given(name: str, value: float) -> None:
    """Raises PromptError unless a setting is at least 0 or `CHOOSE`."""
    if value != CHOOSE and not 0 <= value < math.inf:
        raise PromptError(
            f"settings.{name}={value} must be at least 0, or -1 to choose it on held-out images"
        )


def given_or(settings: Any, defaults: Mapping[str, float]) -> dict[str, Float[Array, ""]]:
    """Returns the settings that `defaults` names; in place of `CHOOSE`, their default."""
    given = {name: getattr(settings, name) for name in defaults}
    return {
        name: jnp.float32(defaults[name] if value == CHOOSE else value)
        for name, value in given.items()
    }


def assign_folds(labels: Int[np.ndarray, " shots"]) -> Int[np.ndarray, " shots"]:
    """Returns the fold that holds each shot out, from 0; -1 for the only shot of its class.

    Each class is split into as many parts as it has shots, at most four. Every fold so keeps shots
    of every class, and removes equally many from classes of equal size: a class with fewer shots
    would get fewer votes. Parts are consecutive, because neighbors in a list of images are often
    near duplicates.
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
    fit: Callable[..., Prompts],
    features: Float[Array | np.ndarray, "views shots dim"],
    labels: Int[Array | np.ndarray, " shots"],
    *more: np.ndarray,
) -> list[HeldOut]:
    """Splits the shots into folds, each with prompts computed from the other folds.

    Args:
        fit: (features float[V, m, d], labels int[m], *more) -> prompts, including all training.
        features: an image's views are held out together.
        labels: one per shot.
        more: further arrays with a row per shot.

    Returns:
        The folds; empty if no class has two shots.
    """
    features, labels = np.asarray(features), np.asarray(labels)
    folds = assign_folds(labels)
    held = []
    for fold in range(folds.max(initial=-1) + 1):
        out = folds == fold
        prompts = fit(features[:, ~out], labels[~out], *(rows[~out] for rows in more))
        held.append(HeldOut(prompts, features[:VIEWS, out], labels[out], "shots"))
    return held


def choose(
    held_out: Sequence[HeldOut],
    count_hits: Callable[[Prompts, Any, Any], Any],
    grid: Mapping[str, Sequence[float]],
    default: Mapping[str, float],
) -> Choice:
    """Chooses the values with the most correct predictions on all held-out images.

    Counts are smoothed over neighboring values first: with few images many values tie, and the
    middle of a good range generalizes better than its ends.

    Args:
        held_out: the images; each counts once, whatever its number of views.
        count_hits: (prompts, features float[N, d], labels int[N]) -> int[…], an axis per setting.
        grid: setting to the values to try.
        default: setting to its value if nothing is held out.
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


def best(hits: Float[np.ndarray, "..."]) -> tuple[int, ...]:
    """Returns the index of the highest smoothed hits; of several, the one in their middle."""
    smooth = hits
    for axis, size in enumerate(hits.shape):
        smooth = _smooth(smooth, axis, max(1, size // 10)) if size > 2 else smooth
    equal = np.argwhere(smooth >= smooth.max() - 1e-9)
    distance = ((equal - equal.mean(axis=0)) ** 2).sum(axis=1)
    return tuple(int(index) for index in equal[np.argmin(distance)])


def _smooth(hits: np.ndarray, axis: int, reach: int) -> np.ndarray:
    """Smooths by a triangle over `reach` neighbors on either side; the ends are repeated."""
    weights = 1 + reach - np.abs(np.arange(-reach, reach + 1.0))
    padding = [(reach, reach) if number == axis else (0, 0) for number in range(hits.ndim)]
    padded = np.pad(hits, padding, mode="edge")
    return np.apply_along_axis(np.convolve, axis, padded, weights / weights.sum(), mode="valid")


def describe(held_out: Sequence[HeldOut]) -> str:
    """Describes the held-out images in words."""
    folds = [held for held in held_out if held.kind == "shots"]
    shots = sum(len(held.labels) for held in folds)
    others = sum(len(held.labels) for held in held_out if held.kind != "shots")
    parts = [f"cross-validation over {shots} shots in {len(folds)} folds"] if shots else []
    return " and ".join([*parts, *([f"{others} validation images"] if others else [])])
