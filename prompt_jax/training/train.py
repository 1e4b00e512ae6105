"""Defines the training step; only the prompts are differentiated."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from prompt_jax.clip.memory import recomputes, sparing_options
from prompt_jax.errors import PromptError
from prompt_jax.mesh import replicate
from prompt_jax.methods import Method, Output, Pairs, Prompts, Task, encode_input, encode_views
from prompt_jax.methods.recipe import Average


class State(NamedTuple):
    """The state of training.

    Attributes:
        prompts: the trainable parameters.
        optimizer: the optimizer's state.
        step: int32[], number of steps taken.
        diverged: int32[], the first step after which the loss, prompts or optimizer state became
            NaN or infinite; 0 if there is none.
    """

    prompts: Prompts
    optimizer: optax.OptState
    step: jax.Array
    diverged: jax.Array


def init_state(prompts: Prompts, optimizer: optax.GradientTransformation) -> State:
    """Returns the state before the first step."""
    step, diverged = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
    return State(prompts, optimizer.init(prompts), step, diverged)


def loss_of(output: Output, labels: jax.Array) -> jax.Array:
    """Returns the weighted sum of all iterations' cross-entropies plus the method's other losses.

    `labels` are int[B], or class probabilities float[B, K].
    """
    shares = jnp.issubdtype(labels.dtype, jnp.floating)
    cross_entropy = (
        optax.softmax_cross_entropy if shares else optax.softmax_cross_entropy_with_integer_labels
    )
    total = sum(output.losses.values(), start=jnp.zeros(()))
    for weight, logits in zip(output.weights, output.logits, strict=True):
        if weight:
            total += weight * jnp.mean(cross_entropy(logits, labels))
    return total


def loss_and_output(
    method: Method, prompts: Prompts, task: Task, batch: dict[str, Any]
) -> tuple[jax.Array, Output]:
    """Returns the training loss of a batch {"image": float[B, H, W, 3], "label": int[B]}.

    "image" is float[B, F, H, W, 3] for videos, float[B, d] for cached features, and float[B, F, d]
    for cached features of frames; for a method with views it has their axis after B. For retrieval,
    "text" holds B captions and "label" is 0 to B - 1. The optional "targets", float[B, K], class
    probabilities of mixed videos, replace "label" in the loss. The optional "step", int[], is the
    number of steps taken; random choices depend on it.
    """
    encode = encode_views if method.views else encode_input
    seen: Any = encode(method, task, batch["image"])
    if method.objective == "pairs":
        seen = Pairs(seen, batch["text"])
    prepared = method.prepare(prompts, task)
    if method.learn is None:
        output = method.forward(prompts, prepared, task, seen)
    else:
        if "targets" in batch:
            raise PromptError(
                "the method's loss needs videos of one class, not mixed ones: set data.mix=False"
            )
        rng = jax.random.fold_in(jax.random.key(0), batch.get("step", 0))
        output = method.learn(prompts, prepared, task, seen, batch["label"], rng)
    return loss_of(output, batch.get("targets", batch["label"])), output


class Step:
    """A jitted training step, (state, task, batch, …) -> (state, metrics); donates the state.

    If layers recompute their activations to stay within the memory budget, which depends on the
    shapes of the batch, the step is compiled with `sparing_options`.
    """

    def __init__(self, step: Callable[..., tuple[State, dict[str, jax.Array]]]):
        self.__wrapped__ = step
        self._plain: Any = jax.jit(step, donate_argnums=0)
        self._options = sparing_options()
        self._sparing: Any = jax.jit(step, donate_argnums=0, compiler_options=self._options)
        self._chosen: dict[Any, Any] = {}

    def __call__(self, state: State, task: Task, batch, *rest) -> tuple[State, dict[str, Any]]:
        return self._choose(state, task, batch, *rest)(state, task, batch, *rest)

    def trace(self, *arguments):
        """Traces the step, as a jitted function does."""
        return self._choose(*arguments).trace(*arguments)

    def lower(self, *arguments):
        """Lowers the step, as a jitted function does."""
        return self._choose(*arguments).lower(*arguments)

    def count_compiled(self) -> int:
        """Returns the number of programs that were compiled."""
        # JAX 0.7 keeps one cache for both functions, so only those that were called are asked.
        called = set(self._chosen.values()) or {self._plain}
        return sum(one._cache_size() for one in called)

    def _choose(self, state, task, batch, *rest):
        if not self._options:
            return self._plain
        sizes = task.clip, *map(jnp.shape, jax.tree.leaves(batch))
        if sizes not in self._chosen:
            # The chosen function does not trace the step again.
            traced = self._plain.trace(state, task, batch, *rest)
            sparing = recomputes(traced.jaxpr.jaxpr)
            self._chosen[sizes] = self._sparing if sparing else self._plain
        return self._chosen[sizes]


def make_step(method: Method, optimizer: optax.GradientTransformation) -> Step:
    """Returns the jitted step, (state, task, batch) -> (state, metrics).

    The metrics are "loss", "accuracy" from 0 to 1, and "diverged"; see `State`.
    """

    def step(state: State, task: Task, batch) -> tuple[State, dict[str, jax.Array]]:
        return replicate(task.clip.mesh, _step(method, optimizer, state, task, batch))

    return Step(step)


def make_parallel_step(
    method: Method,
    build_optimizer: Callable[[jax.Array], optax.GradientTransformation],
    in_turn: bool = False,
) -> Step:
    """Returns the jitted step of several runs that share a task with its frozen backbone.

    Args:
        method: method of the runs.
        build_optimizer: (learning rate float32[]) -> optimizer.
        in_turn: whether the runs are computed one after another, as a loop, instead of together.

    Returns:
        (states, task, batches, rates) -> (states, metrics), as in `make_step`. All arrays of
        states, batches and metrics have a leading axis over the R runs; rates: float32[R].
    """

    def step(state: State, task: Task, batch, rate) -> tuple[State, dict[str, jax.Array]]:
        return _step(method, build_optimizer(rate), state, task, batch)

    def steps(states: State, task: Task, batches, rates) -> tuple[State, dict[str, jax.Array]]:
        if in_turn:
            after = jax.lax.map(lambda one: step(one[0], task, *one[1:]), (states, batches, rates))
        else:
            after = jax.vmap(step, in_axes=(0, None, 0, 0))(states, task, batches, rates)
        return replicate(task.clip.mesh, after)

    return Step(steps)


def _step(method, optimizer, state, task, batch):
    def loss(prompts):
        return loss_and_output(method, prompts, task, batch | {"step": state.step})

    (value, output), gradients = jax.value_and_grad(loss, has_aux=True)(state.prompts)
    updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.prompts)
    prompts = optax.apply_updates(state.prompts, updates)
    hits = jnp.argmax(output.logits[-1], axis=-1) == batch["label"]
    step = state.step + 1
    went_well = (state.diverged > 0) | all_finite((value, prompts, optimizer_state))
    diverged = jnp.where(went_well, state.diverged, step)
    metrics = {"loss": value, "accuracy": jnp.mean(hits), "diverged": diverged}
    return State(prompts, optimizer_state, step, diverged), metrics


def result(state: State) -> Prompts:
    """Returns the result of a training: the last prompts, or their average."""
    return state.optimizer.average if isinstance(state.optimizer, Average) else state.prompts


def all_finite(tree: Any) -> jax.Array:
    """Returns whether all arrays of a pytree are finite, bool[]."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()
