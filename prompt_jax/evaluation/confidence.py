"""How sure a prediction is: temperature scaling, and scores that tell unknown images apart.

Temperature scaling (Guo et al., ICML 2017) divides the logits by one number before the softmax. It
changes no predicted class. The scores are the maximum logit (Hendrycks et al., ICML 2022) and the
energy (Liu et al., NeurIPS 2020) of the logits; docs/confidence.md has their measured effect.
"""

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prompt_jax.errors import PromptError, unknown
from prompt_jax.evaluation import programs, reliability
from prompt_jax.methods import Method, Prompts, Task
from prompt_jax.methods.selection import HeldOut, assign_folds, describe

COLDEST, HOTTEST = 0.01, 1000.0
"""The limits of a temperature."""

SCORES = ("probability", "max_logit", "energy")
"""What a threshold can be compared with."""

NONE_OF_THESE = "none of these"
BISECTIONS = 50
LIKELY = 3.841  # the 95 % quantile of the χ² distribution with one degree of freedom
ROWS_AT_ONCE = 1024


class Calibration(NamedTuple):
    """A temperature and the evidence for it.

    Attributes:
        temperature: the number that logits are divided by.
        by: the held-out images, in words.
        images: their number.
        before, after: their expected calibration error in percent, without and with it.
    """

    temperature: float = 1.0
    by: str = ""
    images: int = 0
    before: float = 0.0
    after: float = 0.0

    def __str__(self) -> str:
        if not self.images:
            return f"temperature 1: {self.by}"
        if self.temperature == 1:
            return f"temperature 1, which {self.by} do not contradict"
        errors = f"calibration error there {self.before:.1f} % before, {self.after:.1f} % after"
        return f"temperature {self.temperature:.4g}, chosen by {self.by} ({errors})"

    def as_json(self) -> dict[str, Any]:
        """Returns the entry of results.json."""
        return {
            "temperature": self.temperature,
            "by": self.by,
            "images": self.images,
            "calibration_error_before": round(self.before, 3),
            "calibration_error_after": round(self.after, 3),
        }


NOTHING_HELD_OUT = Calibration(
    by="nothing is held out: there are no validation images, nor shots to cross-validate"
)


def choose_temperature(logits: np.ndarray, labels: np.ndarray, by: str) -> Calibration:
    """Returns the temperature with the least cross-entropy on held-out images.

    It stays 1 unless a likelihood-ratio test at 95 % rejects this: a few images, which happen to be
    right more often than others, would make calibrated predictions worse. Labels are smoothed by
    1 / (n + 2), as Platt's (1999), so that images that are all right do not make predictions
    infinitely sure.

    Args:
        logits: float[n, K] of images that the prompts were not computed from.
        labels: int[n].
        by: describes the images.
    """
    number, classes = logits.shape
    if not number or classes < 2:
        return NOTHING_HELD_OUT
    logits = np.asarray(logits, np.float64)
    smooth = 1 / (number + 2)
    target = np.full(logits.shape, smooth / classes)
    target[np.arange(number), labels] += 1 - smooth
    low, high = math.log(COLDEST), math.log(HOTTEST)
    # The cross-entropy is convex in 1 / temperature; its slope is the mean of these differences.
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        surplus = softmax(logits / math.exp(middle)) - target
        if np.sum(surplus * logits) > 0:  # too sure
            low = middle
        else:
            high = middle
    temperature = float(f"{math.exp((low + high) / 2):.5g}")
    scaled = (logits, logits / temperature)
    losses = [np.sum(score(one, 1.0, "energy")[:, None] * target - target * one) for one in scaled]
    if 2 * (losses[0] - losses[1]) < LIKELY:
        temperature = 1.0
    right = logits.argmax(axis=-1) == labels
    errors = (
        reliability.calibration_error(softmax(logits / one).max(axis=-1), right)
        for one in (1.0, temperature)
    )
    return Calibration(temperature, by, number, *errors)


def of_folds(
    method: Method,
    task: Task,
    prompts: Prompts,
    held_out: Sequence[HeldOut],
    chosen: Collection[str],
    plain: np.ndarray,
    labels: np.ndarray,
) -> Calibration:
    """Returns the temperature of prompts that are computed from, or trained on, kept features.

    Each fold is classified without augmentation, as test images are: predictions for random crops
    are right less often, and the temperature would be too high.

    Args:
        method, task: the method, and its task on the training classes.
        prompts: the final prompts.
        held_out: see `selection.hold_out_shots`; other images are ignored.
        chosen: names of the settings that were chosen on them, whose values `prompts` holds.
        plain: float[n, …], features of all n shots, not augmented.
        labels: int[n].
    """
    values = {name: prompts[name] for name in chosen}
    folds = [held for held in held_out if held.kind == "shots"]
    places = assign_folds(labels)
    rows, known = [], []
    for number, held in enumerate(folds):
        own = {**held.prompts, **values} if values else held.prompts
        rows.append(logits_of(method, task, own, plain[places == number]))
        known.append(labels[places == number])
    if not rows:
        return NOTHING_HELD_OUT
    return choose_temperature(np.concatenate(rows), np.concatenate(known), describe(folds))


def logits_of(method: Method, task: Task, prompts: Prompts, seen: np.ndarray) -> np.ndarray:
    """Returns the last iteration's logits float32[n, K] of kept features float[n, …]."""
    prepared = programs.compiled(method.prepare)(prompts, task)
    run, most = programs.logits(method), method.block(prompts) or ROWS_AT_ONCE
    parts = [
        programs.to_host(run(prompts, prepared, task, jnp.asarray(seen[start : start + most])))
        for start in range(0, len(seen), most)
    ]
    width = len(jax.tree.leaves(task.trained)[0])
    return np.concatenate([part[:, -1] for part in parts] or [np.zeros((0, width), np.float32)])


def score(logits: np.ndarray, temperature: float, kind: str) -> np.ndarray:
    """Returns how well the images fit the classes, float[P]; higher is better.

    Args:
        logits: float[P, K], of the last iteration.
        temperature: of the probabilities; the other two do not depend on it.
        kind: one of `SCORES`: the probability of the predicted class, the largest logit, or the
            logarithm of the summed exponentials, which is minus the energy.
    """
    if kind == "probability":
        return softmax(logits / temperature).max(axis=-1)
    most = logits.max(axis=-1)
    if kind == "max_logit":
        return most
    return most + np.log(np.exp(logits - most[..., None]).sum(axis=-1))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def check_threshold(threshold: Any, kind: Any, classes: int) -> None:
    """Checks the threshold of a prediction.

    Raises:
        PromptError: it is not a number, out of the score's range, or the score is unknown.
    """
    if kind not in SCORES:
        raise unknown("score", str(kind), SCORES)
    if threshold is None:
        return
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise PromptError(f"threshold={threshold!r} must be a number, or None")
    if not math.isfinite(threshold):
        raise PromptError(f"threshold={threshold!r} must be finite")
    if kind != "probability":
        return
    if not 0 <= threshold <= 1:
        raise PromptError(
            f"threshold={threshold:g} is compared with a probability, from 0 to 1; for a logit, "
            "pass score='max_logit' or 'energy'"
        )
    if classes == 1:
        raise PromptError(
            f"threshold={threshold:g}: the probability of a single class is always 1; name more "
            "classes, or pass score='max_logit'"
        )
