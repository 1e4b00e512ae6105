"""One training step and the loop around it; only the prompts are differentiated."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from prompt_jax.methods import Method, Output, Prompts, Task, look


class State(NamedTuple):
    """All that training changes."""

    prompts: Prompts
    optimizer: optax.OptState
    step: jax.Array


def init_state(prompts: Prompts, optimizer: optax.GradientTransformation) -> State:
    """The state before the first step."""
    return State(prompts, optimizer.init(prompts), jnp.zeros((), jnp.int32))


def loss_of(output: Output, labels: jax.Array) -> jax.Array:
    """Weighted mean cross-entropies of all iterations plus the method's further terms."""
    total = sum(output.losses.values(), start=jnp.zeros(()))
    for weight, logits in zip(output.weights, output.logits, strict=True):
        if weight:
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            total += weight * jnp.mean(losses)
    return total


def loss_and_output(
    method: Method, prompts: Prompts, task: Task, batch: dict[str, jax.Array]
) -> tuple[jax.Array, Output]:
    """The training loss of a batch {"image": float[B, H, W, 3], "label": int[B]}.

    For a method that sees features, "image" may hold those, float[B, d].
    """
    seen = look(method, task, batch["image"])
    output = method.forward(prompts, method.prepare(prompts, task), task, seen)
    return loss_of(output, batch["label"]), output


def make_step(method: Method, optimizer: optax.GradientTransformation):
    """The jitted (state, task, batch) -> (state, {"loss", "accuracy"}), accuracy as a share."""

    def step(state: State, task: Task, batch) -> tuple[State, dict[str, jax.Array]]:
        return _step(method, optimizer, state, task, batch)

    return jax.jit(step, donate_argnums=0)


def make_parallel_step(
    method: Method, build_optimizer: Callable[[jax.Array], optax.GradientTransformation]
):
    """The jitted step of several runs at once, which share a task and so the frozen backbone.

    Args:
        method: theirs.
        build_optimizer: a learning rate, float32[], to the optimizer.

    Returns:
        (states, task, batches, rates) -> (states, metrics): as `make_step`'s, every array of the
        states, batches and metrics with a first axis over the R runs; rates float32[R].
    """

    def step(state: State, task: Task, batch, rate) -> tuple[State, dict[str, jax.Array]]:
        return _step(method, build_optimizer(rate), state, task, batch)

    return jax.jit(jax.vmap(step, in_axes=(0, None, 0, 0)), donate_argnums=0)


def _step(method, optimizer, state, task, batch):
    def loss(prompts):
        return loss_and_output(method, prompts, task, batch)

    (value, output), gradients = jax.value_and_grad(loss, has_aux=True)(state.prompts)
    updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.prompts)
    prompts = optax.apply_updates(state.prompts, updates)
    hits = jnp.argmax(output.logits[-1], axis=-1) == batch["label"]
    metrics = {"loss": value, "accuracy": jnp.mean(hits)}
    return State(prompts, optimizer_state, state.step + 1), metrics
