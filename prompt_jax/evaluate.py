"""Accuracy of methods on batches of pictures, after every one of their iterations."""

from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prompt_jax.errors import PromptError
from prompt_jax.methods import Method, Prompts, Task, look
from prompt_jax.methods.method import KEPT


class Accuracy(NamedTuple):
    """Percent right after each iteration (the last is the prediction), of how many pictures."""

    per_iteration: list[float]
    pictures: int

    @property
    def final(self) -> float:
        """Percent right, of the prediction."""
        return self.per_iteration[-1]


class Evaluator:
    """Compiled evaluations of several methods, which look at the same pictures together.

    Tasks of equal shapes share one compilation, for as long as the process lives. The frozen image
    tower runs once a batch for all methods that see features alone, and once for those that see
    the features of frames.
    """

    def __init__(self, methods: Sequence[Method]):
        """Compiles at the first call."""
        self._methods = list(methods)
        kinds = [method.sees for method in self._methods]
        self._looks = {kind: kinds.index(kind) for kind in KEPT if kind in kinds}
        self._prepare = [_compiled_prepare(method) for method in self._methods]
        self._hits = [_compiled_hits(method) for method in self._methods]

    def __call__(
        self,
        prompts: Sequence[Prompts],
        tasks: Sequence[Task],
        batches: Iterable[dict[str, jax.Array]],
    ) -> list[Accuracy]:
        """Each method's accuracy over all batches {"image": float[B, H, W, 3], "label": int[B]}.

        For methods that see clips, "image" holds those, float[B, F, H, W, 3].
        A label of -1 marks padding, which does not count. What does not depend on an image is
        computed once. Where all methods see features, "image" may hold those, float[B, d], or of
        frames float[B, F, d].

        Args:
            prompts, tasks: one a method; the tasks share a backbone.
            batches: gone through once.

        Raises:
            PromptError: there are no pictures.
        """
        prepared = [
            run(p, task) for run, p, task in zip(self._prepare, prompts, tasks, strict=True)
        ]
        right: list[np.ndarray | int] = [0] * len(self._methods)
        pictures = 0
        for batch in batches:
            images, labels = batch["image"], batch["label"]
            kept = {
                kind: _compiled_look(self._methods[i])(tasks[i], images)
                for kind, i in self._looks.items()
            }
            for i, method in enumerate(self._methods):
                seen = kept.get(method.sees, images)
                hits = self._hits[i](prompts[i], prepared[i], tasks[i], seen, labels)
                right[i] = right[i] + np.asarray(hits)
            pictures += int(np.sum(np.asarray(labels) >= 0))
        if not pictures:
            raise PromptError("there are no test pictures to evaluate on; check the test split")
        return [Accuracy(np.asarray(100 * hits / pictures).tolist(), pictures) for hits in right]


@cache
def _compiled_look(method):
    return jax.jit(partial(look, method))


@cache
def _compiled_prepare(method):
    return jax.jit(method.prepare)


@cache
def _compiled_hits(method):
    def hits(prompts, prepared, task, seen, labels):
        logits = method.forward(prompts, prepared, task, seen).logits
        return jnp.sum(jnp.argmax(logits, axis=-1) == labels, axis=-1)

    return jax.jit(hits)
