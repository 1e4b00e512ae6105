"""Accuracy of a method on batches of pictures, after every one of its iterations."""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prompt_jax.errors import PromptError
from prompt_jax.methods import Method, Prompts, Task


class Accuracy(NamedTuple):
    """Percent right after each iteration (the last is the prediction), of how many pictures."""

    per_iteration: list[float]
    pictures: int

    @property
    def final(self) -> float:
        """Percent right, of the prediction."""
        return self.per_iteration[-1]


class Evaluator:
    """A method's compiled evaluation; tasks of equal shapes share one compilation."""

    def __init__(self, method: Method):
        """Compiles at the first call."""
        self._prepare = jax.jit(method.prepare)

        def hits(prompts, prepared, task, batch):
            logits = method.forward(prompts, prepared, task, batch["image"]).logits
            right = jnp.argmax(logits, axis=-1) == batch["label"]
            return jnp.sum(right, axis=-1), jnp.sum(batch["label"] >= 0)

        self._hits = jax.jit(hits)

    def __call__(
        self, prompts: Prompts, task: Task, batches: Iterable[dict[str, jax.Array]]
    ) -> Accuracy:
        """Accuracy over all batches {"image": float[B, H, W, 3], "label": int[B]}.

        A label of -1 marks padding, which does not count. What does not depend on an image is
        computed once.

        Raises:
            PromptError: there are no pictures.
        """
        prepared = self._prepare(prompts, task)
        right: np.ndarray | int = 0
        pictures = 0
        for batch in batches:
            batch_right, batch_pictures = self._hits(prompts, prepared, task, batch)
            right, pictures = right + np.asarray(batch_right), pictures + int(batch_pictures)
        if not pictures:
            raise PromptError("there are no test pictures to evaluate on; check the test split")
        return Accuracy(np.asarray(100 * right / pictures).tolist(), pictures)
