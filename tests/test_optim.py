"""The optimizer and the schedule against PyTorch's and Dassl's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from reference import largest_difference

from prompt_jax.optim import coop_schedule, sgd

BASE = 0.002


def gradients(step):
    """Different gradients at every step, for a pytree of two arrays."""
    rng = np.random.default_rng(step)
    return {
        "context": rng.normal(size=(4, 8)).astype(np.float32),
        "net": {"bias": rng.normal(size=8).astype(np.float32)},
    }


def run(optimizer, prompts, steps):
    """The prompts after so many steps on `gradients`."""
    state = optimizer.init(prompts)
    for step in range(steps):
        updates, state = optimizer.update(gradients(step), state, prompts)
        prompts = optax.apply_updates(prompts, updates)
    return prompts


@pytest.mark.parametrize("momentum, weight_decay", [(0.9, 5e-4), (0.9, 0.1), (0.0, 0.1)])
def test_sgd_equals_torch_over_five_steps(momentum, weight_decay):
    start = jax.tree.map(lambda x: 3 * x, gradients(99))
    tensors = [torch.tensor(x, requires_grad=True) for x in jax.tree.leaves(start)]
    theirs = torch.optim.SGD(tensors, lr=0.1, momentum=momentum, weight_decay=weight_decay)
    for step in range(5):
        for tensor, gradient in zip(tensors, jax.tree.leaves(gradients(step)), strict=True):
            tensor.grad = torch.from_numpy(gradient)
        theirs.step()
    trains = jax.tree.map(lambda _: True, start)
    ours = run(sgd(0.1, trains, momentum, weight_decay), start, 5)
    expected = [tensor.detach().numpy() for tensor in tensors]
    assert largest_difference(jax.tree.leaves(ours), expected) <= 1e-6


def test_schedule_is_dassls_constant_warm_up_and_cosine():
    schedule = coop_schedule(BASE, epochs=5, steps_per_epoch=3)
    rates = [float(schedule(jnp.asarray(step))) for step in range(15)]
    per_epoch = [1e-5, BASE, 0.905 * BASE, 0.655 * BASE, 0.345 * BASE]
    np.testing.assert_allclose(rates, np.repeat(per_epoch, 3), atol=5e-4 * BASE)


def test_schedule_of_one_epoch_is_the_warm_up_alone():
    schedule = coop_schedule(BASE, epochs=1, steps_per_epoch=2)
    assert [float(schedule(step)) for step in (0, 1)] == pytest.approx([1e-5, 1e-5])


def test_sgd_follows_the_schedule():
    start = jax.tree.map(jnp.zeros_like, gradients(0))
    trains = jax.tree.map(lambda _: True, start)
    schedule = coop_schedule(BASE, epochs=2, steps_per_epoch=1)
    moved = run(sgd(schedule, trains, momentum=0.0, weight_decay=0.0), start, 2)
    expected = jax.tree.map(lambda a, b: -1e-5 * a - BASE * b, gradients(0), gradients(1))
    assert largest_difference(moved, expected) <= 1e-8


def test_leaf_that_does_not_train_never_changes_in_spite_of_decay_and_gradient():
    start = jax.tree.map(jnp.asarray, gradients(99))
    trains = {"context": False, "net": {"bias": True}}
    end = run(sgd(0.1, trains, weight_decay=0.5), start, 5)
    assert (end["context"] == start["context"]).all()
    everything = run(sgd(0.1, jax.tree.map(lambda _: True, start), weight_decay=0.5), start, 5)
    assert (end["net"]["bias"] == everything["net"]["bias"]).all()
    assert largest_difference(end["net"], start["net"]) > 0.1
