"""Accuracy of methods on batches of images, after every one of their iterations."""

from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prompt_jax.errors import PromptError
from prompt_jax.evaluation.programs import compiled
from prompt_jax.methods import Method, Prompts, Task, look
from prompt_jax.methods.method import KEPT

TOP = 5


class Likeliest(NamedTuple):
    """The k likeliest classes of n images after each iteration, the likeliest first; k is `TOP`,
    or all classes where there are fewer.

    Attributes:
        labels: int32[n], the right ones.
        classes: int32[iterations, n, k].
        probabilities: float32[iterations, n, k], softmax over all classes; of several views their
            mean.
    """

    labels: np.ndarray
    classes: np.ndarray
    probabilities: np.ndarray


class Accuracy(NamedTuple):
    """What is said of a method on a test set of K classes.

    Attributes:
        per_iteration: percent right after each iteration; the last is the prediction.
        images: how many images or videos that is of.
        top5: percent of which the right class is among the five likeliest of the last iteration.
        confusion: int64[K, K], how many of each class (rows) were taken for which (columns).
        likeliest: what each image was taken for, in the order of the batches.
    """

    per_iteration: list[float]
    images: int
    top5: float
    confusion: np.ndarray
    likeliest: Likeliest

    @property
    def final(self) -> float:
        """Percent right, of the prediction."""
        return self.per_iteration[-1]


class Evaluator:
    """Compiled evaluations of several methods, which look at the same images together.

    Tasks of equal shapes share one compilation, for as long as the process lives. The frozen image
    tower runs once a batch for all methods that see features alone, and once for those that see
    the features of frames.
    """

    def __init__(self, methods: Sequence[Method], views: int = 1):
        """Compiles at the first call.

        Args:
            methods: what is evaluated.
            views: how many rows of a batch, one after another, show the same video: their softmax
                is summed.
        """
        self._methods, self._views = list(methods), views
        kinds = [method.input for method in self._methods]
        self._looks = {kind: kinds.index(kind) for kind in KEPT if kind in kinds}
        self._prepare = [compiled(method.prepare) for method in self._methods]
        self._judge = [_compiled_judge(method, views) for method in self._methods]

    def __call__(
        self,
        prompts: Sequence[Prompts],
        tasks: Sequence[Task],
        batches: Iterable[dict[str, jax.Array]],
    ) -> list[Accuracy]:
        """Each method's accuracy over all batches {"image": float[B, H, W, 3], "label": int[B]}.

        For methods that see videos, "image" holds those, float[B, F, H, W, 3].
        A label of -1 marks padding, which does not count. What does not depend on an image is
        computed once. Where all methods see features, "image" may hold those, float[B, d], or of
        frames float[B, F, d].

        Args:
            prompts, tasks: one a method; the tasks share a backbone.
            batches: gone through once.

        Raises:
            PromptError: there are no images, or a batch does not divide into views.
        """
        prepared = [
            run(p, task) for run, p, task in zip(self._prepare, prompts, tasks, strict=True)
        ]
        sums = [_Sums(len(task.trained)) for task in tasks]
        for batch in batches:
            images, labels = batch["image"], batch["label"]
            if len(labels) % self._views:
                raise PromptError(
                    f"a batch of {len(labels)} rows cannot show each video {self._views} times"
                )
            kept = {
                kind: _compiled_look(self._methods[i])(tasks[i], images)
                for kind, i in self._looks.items()
            }
            for i, method in enumerate(self._methods):
                seen = kept.get(method.input, images)
                judged = self._judge[i](prompts[i], prepared[i], tasks[i], seen, labels)
                sums[i].add(np.asarray(labels)[:: self._views], *map(np.asarray, judged))
        return [each.accuracy() for each in sums]


class _Sums:
    """What batches come to."""

    def __init__(self, classes: int):
        self._right: np.ndarray | int = 0
        self._among = self._images = 0
        self._confusion = np.zeros((classes, classes), np.int64)
        self._likeliest: list[Likeliest] = []

    def add(self, labels, hits, among, classes, probabilities):
        """A batch's labels int[B], hits int[iterations], hits among the first five, and the
        likeliest classes int[iterations, B, k] with their probabilities."""
        real = labels >= 0
        self._right = self._right + hits
        self._among += int(among)
        self._images += int(real.sum())
        np.add.at(self._confusion, (labels[real], classes[-1, real, 0]), 1)
        found = Likeliest(labels[real], classes[:, real], probabilities[:, real])
        self._likeliest.append(found)

    def accuracy(self) -> Accuracy:
        """Of all batches so far."""
        if not self._images:
            raise PromptError("there are no test images to evaluate on; check the test split")
        percent = np.asarray(100 * self._right / self._images).tolist()
        top5 = 100 * self._among / self._images
        labels, classes, probabilities = zip(*self._likeliest, strict=True)
        likeliest = Likeliest(
            np.concatenate(labels), np.concatenate(classes, 1), np.concatenate(probabilities, 1)
        )
        return Accuracy(percent, self._images, top5, self._confusion, likeliest)


@cache
def _compiled_look(method):
    return jax.jit(partial(look, method))


@cache
def _compiled_judge(method, views):
    def judge(prompts, prepared, task, seen, labels):
        scores = method.forward(prompts, prepared, task, seen).logits
        shares = jax.nn.softmax(scores, axis=-1)
        if views > 1:
            scores = shares.reshape(len(shares), -1, views, shares.shape[-1]).sum(axis=2)
            shares, labels = scores / views, labels[::views]
        # By scores, not shares: of classes that are all but sure, these may round to one number.
        _, first = jax.lax.top_k(scores, min(TOP, scores.shape[-1]))
        hits = jnp.sum(first[..., 0] == labels, axis=-1)
        among = jnp.sum(first[-1] == labels[:, None])
        return hits, among, first, jnp.take_along_axis(shares, first, axis=-1)

    return jax.jit(judge)
