"""Evaluates methods on batches of images, after each of their iterations."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prompt_jax.errors import PromptError
from prompt_jax.evaluation import blocks
from prompt_jax.evaluation.programs import compiled, to_host
from prompt_jax.inputs.draws import PADDING_LABEL
from prompt_jax.mesh import replicate
from prompt_jax.methods import Method, Prompts, Task, encode_input
from prompt_jax.methods.method import KEPT

TOP = 5


class TopClasses(NamedTuple):
    """The k most probable classes of n images after each iteration, most probable first.

    Attributes:
        labels: int32[n], the true labels.
        classes: int32[iterations, n, k]; k is `TOP`, or the number of classes if that is less.
        probabilities: float32[iterations, n, k], softmax over all classes; the mean of views.
    """

    labels: np.ndarray
    classes: np.ndarray
    probabilities: np.ndarray


class Accuracy(NamedTuple):
    """The results of a method on a test set of K classes.

    Attributes:
        per_iteration: accuracy in percent after each iteration; the last is the prediction.
        images: number of images or videos.
        top5: top-5 accuracy in percent of the last iteration.
        confusion: int64[K, K], labels (rows) by predicted classes (columns).
        top_classes: the predictions for each image, in the order of the batches.
    """

    per_iteration: list[float]
    images: int
    top5: float
    confusion: np.ndarray
    top_classes: TopClasses

    @property
    def final(self) -> float:
        """Accuracy of the prediction, percent."""
        return self.per_iteration[-1]

    @property
    def macro(self) -> float:
        """Accuracy as the mean over the tested classes, each counting equally, percent."""
        number = self.confusion.sum(axis=1)
        shares = np.diagonal(self.confusion)[number > 0] / number[number > 0]
        return float(100 * shares.mean())


class Evaluator:
    """Compiled evaluation of several methods on the same images.

    Tasks of equal shapes share one compilation in the process. The frozen image tower runs once per
    batch for all methods on features, and once for all methods on features of frames.
    """

    def __init__(self, methods: Sequence[Method], views: int = 1):
        """Compiles at the first call.

        Args:
            methods: to evaluate.
            views: number of consecutive rows of a batch that show the same video; their
                probabilities are averaged.
        """
        self._methods, self._views = list(methods), views
        kinds = [method.input for method in self._methods]
        self._encoders = {kind: kinds.index(kind) for kind in KEPT if kind in kinds}
        self._prepare = [compiled(method.prepare) for method in self._methods]
        self._score = [compiled_score(method, views) for method in self._methods]

    def __call__(
        self,
        prompts: Sequence[Prompts],
        tasks: Sequence[Task],
        batches: Iterable[dict[str, jax.Array]],
        temperatures: Sequence[float] = (),
    ) -> list[Accuracy]:
        """Evaluates each method on batches {"image": float[B, H, W, 3], "label": int[B]}.

        For methods of videos "image" is float[B, F, H, W, 3]. If all methods take features, it may
        hold these, float[B, d], or of frames float[B, F, d]. Rows with label -1 are padding.

        Args:
            prompts, tasks: one per method; the tasks share a backbone.
            batches: iterated once.
            temperatures: one per method, see `confidence`; () is 1 for all.

        Raises:
            PromptError: there are no images, or a batch does not divide into views.
        """
        prepared = [
            run(p, task) for run, p, task in zip(self._prepare, prompts, tasks, strict=True)
        ]
        sums = [_Sums(len(task.trained)) for task in tasks]
        most = [method.block(p) for method, p in zip(self._methods, prompts, strict=True)]
        kept_back = {i: _Rows() for i, size in enumerate(most) if size}
        hot = [np.float32(one) for one in temperatures or [1.0] * len(tasks)]
        for batch in batches:
            images, labels = batch["image"], batch["label"]
            if len(labels) % self._views:
                raise PromptError(
                    f"a batch of {len(labels)} rows cannot show each video {self._views} times"
                )
            kept = {
                kind: _compiled_features(self._methods[i])(tasks[i], images)
                for kind, i in self._encoders.items()
            }
            for i, method in enumerate(self._methods):
                seen = kept.get(method.input, images)
                if i in kept_back:
                    kept_back[i].add(seen, labels)
                    continue
                results = self._score[i](prompts[i], prepared[i], tasks[i], seen, labels, hot[i])
                sums[i].add(to_host(labels)[:: self._views], *map(to_host, results))
        for i, rows in kept_back.items():
            for block, known in rows.in_blocks(most[i], self._views):
                results = self._score[i](prompts[i], prepared[i], tasks[i], block, known, hot[i])
                sums[i].add(known[:: self._views], *map(to_host, results))
        return [each.accuracy() for each in sums]


class _Rows:
    """The features and labels of all test images, for predictions that depend on each other."""

    def __init__(self) -> None:
        self._seen: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []

    def add(self, seen: jax.Array, labels: jax.Array) -> None:
        """Adds a batch, without its padding."""
        real = to_host(labels) >= 0
        self._seen.append(to_host(seen)[real])
        self._labels.append(to_host(labels)[real])

    def in_blocks(self, most: int, views: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields features and labels of blocks; the labels of copies that fill one up are -1."""
        if not self._labels:
            return
        seen, labels = np.concatenate(self._seen), np.concatenate(self._labels)
        for rows in blocks.split(len(labels), most, views):
            new = np.arange(len(rows)) < len(np.unique(rows))
            yield seen[rows], np.where(new, labels[rows], PADDING_LABEL)


class _Sums:
    """Sums over batches."""

    def __init__(self, classes: int):
        self._right: np.ndarray | int = 0
        self._among = self._images = 0
        self._confusion = np.zeros((classes, classes), np.int64)
        self._top_classes: list[TopClasses] = []

    def add(self, labels, hits, among, classes, probabilities):
        """Adds labels int[B], hits int[iterations], top-5 hits, and the most probable classes
        int[iterations, B, k] with their probabilities."""
        real = labels >= 0
        self._right = self._right + hits
        self._among += int(among)
        self._images += int(real.sum())
        np.add.at(self._confusion, (labels[real], classes[-1, real, 0]), 1)
        found = TopClasses(labels[real], classes[:, real], probabilities[:, real])
        self._top_classes.append(found)

    def accuracy(self) -> Accuracy:
        """Returns the results of all batches so far."""
        if not self._images:
            raise PromptError("there are no test images to evaluate on; check the test split")
        percent = np.asarray(100 * self._right / self._images).tolist()
        top5 = 100 * self._among / self._images
        labels, classes, probabilities = zip(*self._top_classes, strict=True)
        top_classes = TopClasses(
            np.concatenate(labels), np.concatenate(classes, 1), np.concatenate(probabilities, 1)
        )
        return Accuracy(percent, self._images, top5, self._confusion, top_classes)


@cache
def _compiled_features(method):
    return jax.jit(partial(encode_input, method))


@cache
def compiled_score(method, views):
    def score(prompts, prepared, task, seen, labels, temperature=1.0):
        scores = method.forward(prompts, prepared, task, seen).logits
        shares = jax.nn.softmax(scores / temperature, axis=-1)
        if views > 1:
            scores = shares.reshape(len(shares), -1, views, shares.shape[-1]).sum(axis=2)
            shares, labels = scores / views, labels[::views]
        # By scores, not probabilities, which may round to the same number.
        _, first = jax.lax.top_k(scores, min(TOP, scores.shape[-1]))
        hits = jnp.sum(first[..., 0] == labels, axis=-1)
        among = jnp.sum(first[-1] == labels[:, None])
        found = hits, among, first, jnp.take_along_axis(shares, first, axis=-1)
        return replicate(task.clip.mesh, found)

    return jax.jit(score)
