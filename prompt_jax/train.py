"""One training step and the loop around it; only the prompts are differentiated."""

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
        def loss(prompts):
            return loss_and_output(method, prompts, task, batch)

        (value, output), gradients = jax.value_and_grad(loss, has_aux=True)(state.prompts)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.prompts)
        prompts = optax.apply_updates(state.prompts, updates)
        hits = jnp.argmax(output.logits[-1], axis=-1) == batch["label"]
        metrics = {"loss": value, "accuracy": jnp.mean(hits)}
        return State(prompts, optimizer_state, state.step + 1), metrics

    return jax.jit(step, donate_argnums=0)
