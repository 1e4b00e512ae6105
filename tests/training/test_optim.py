"""The optimizer and the schedule equal PyTorch's and Dassl's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference import largest_difference

from prompt_jax.methods.recipe import Recipe, average_epochs
from prompt_jax.training import recipes
from prompt_jax.training.optim import (
    adamw,
    coop_schedule,
    cosine_schedule,
    scale_rates,
    sgd,
    vifi_schedule,
    warmup_cosine_schedule,
)

BASE = 0.002


def gradients(step):
    """Returns different gradients at every step, for a pytree of two arrays."""
    rng = np.random.default_rng(step)
    return {
        "context": rng.normal(size=(4, 8)).astype(np.float32),
        "net": {"bias": rng.normal(size=8).astype(np.float32)},
    }


def run(optimizer, prompts, steps):
    """Returns the prompts after this many steps on `gradients`."""
    state = optimizer.init(prompts)
    for step in range(steps):
        updates, state = optimizer.update(gradients(step), state, prompts)
        prompts = optax.apply_updates(prompts, updates)
    return prompts


def test_the_warmup_of_a_cosine_may_be_a_number_of_steps():
    steps = jnp.arange(50)
    rates = jax.vmap(warmup_cosine_schedule(2.0, 50, warmup=20))(steps)
    cosine = 1 + np.cos(np.pi * (np.arange(50) - 20) / 30)
    expected = np.where(np.arange(50) < 20, np.arange(50) / 10, cosine)
    np.testing.assert_allclose(rates, expected, atol=1e-6)
    recipe = Recipe(epochs=5, schedule="warmup_cosine", warmup_epochs=2)
    of_epochs = jax.vmap(recipes.build_schedule(recipe, 2.0, 10))(steps)
    np.testing.assert_allclose(of_epochs, expected, atol=1e-6)


@pytest.mark.parametrize("momentum, weight_decay", [(0.9, 5e-4), (0.9, 0.1), (0.0, 0.1)])
def test_sgd_equals_torch_over_five_steps(momentum, weight_decay, torch):
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


@pytest.mark.parametrize("weight_decay, epsilon", [(0.01, 1e-4), (0.0, 1e-8)])
def test_adamw_equals_torch_over_five_steps_of_a_cosine(weight_decay, epsilon, torch):
    start = jax.tree.map(lambda x: 3 * x, gradients(99))
    tensors = [torch.tensor(x, requires_grad=True) for x in jax.tree.leaves(start)]
    theirs = torch.optim.AdamW(tensors, lr=0.1, eps=epsilon, weight_decay=weight_decay)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, 5)
    for step in range(5):
        for tensor, gradient in zip(tensors, jax.tree.leaves(gradients(step)), strict=True):
            tensor.grad = torch.from_numpy(gradient)
        theirs.step()
        cosine.step()
    trains = jax.tree.map(lambda _: True, start)
    rule = adamw(cosine_schedule(0.1, 5), trains, weight_decay, epsilon)
    expected = [tensor.detach().numpy() for tensor in tensors]
    assert largest_difference(jax.tree.leaves(run(rule, start, 5)), expected) <= 1e-5


def test_the_schedule_equals_dassl_s_constant_warm_up_and_cosine():
    schedule = coop_schedule(BASE, epochs=5, steps_per_epoch=3)
    rates = [float(schedule(jnp.asarray(step))) for step in range(15)]
    per_epoch = [1e-5, BASE, 0.905 * BASE, 0.655 * BASE, 0.345 * BASE]
    np.testing.assert_allclose(rates, np.repeat(per_epoch, 3), atol=5e-4 * BASE)


def test_the_schedule_of_one_epoch_is_the_warm_up_alone():
    schedule = coop_schedule(BASE, epochs=1, steps_per_epoch=2)
    assert [float(schedule(step)) for step in (0, 1)] == pytest.approx([1e-5, 1e-5])


def test_a_longer_warm_up_delays_the_cosine():
    schedule = coop_schedule(BASE, epochs=5, steps_per_epoch=2, warmup=3)
    rates = [float(schedule(jnp.asarray(step))) for step in range(10)]
    per_epoch = [1e-5, 1e-5, 1e-5, BASE, 0.905 * BASE]
    np.testing.assert_allclose(rates, np.repeat(per_epoch, 2), atol=5e-4 * BASE)


@pytest.mark.parametrize(("warmup", "epochs", "expected"), [(0, 5, 1), (3, 5, 3), (5, 5, 1)])
def test_a_recipe_s_warm_up_leaves_an_epoch_to_train(warmup, epochs, expected):
    recipe = Recipe(epochs=epochs, learning_rate=BASE, warmup_epochs=warmup)
    schedule = recipes.build_schedule(recipe, BASE, 1)
    rates = [float(schedule(jnp.asarray(epoch))) for epoch in range(epochs)]
    assert rates[:expected] == pytest.approx([1e-5] * expected)
    assert rates[expected] == pytest.approx(BASE)


@pytest.mark.parametrize("norm", [0.5, 100.0])
def test_clipped_gradients_have_torch_s_norm(norm, torch):
    start = jax.tree.map(lambda x: 3 * x, gradients(99))
    tensors = [torch.tensor(x, requires_grad=True) for x in jax.tree.leaves(start)]
    theirs = torch.optim.SGD(tensors, lr=0.1, momentum=0.9, weight_decay=0.1)
    for step in range(5):
        for tensor, gradient in zip(tensors, jax.tree.leaves(gradients(step)), strict=True):
            tensor.grad = torch.from_numpy(gradient)
        torch.nn.utils.clip_grad_norm_(tensors, norm)
        theirs.step()
    trains = jax.tree.map(lambda _: True, start)
    ours = run(sgd(0.1, trains, 0.9, 0.1, norm), start, 5)
    expected = [tensor.detach().numpy() for tensor in tensors]
    assert largest_difference(jax.tree.leaves(ours), expected) <= 1e-5


def test_frozen_leaves_do_not_count_in_the_norm():
    start = jax.tree.map(jnp.asarray, gradients(99))
    trains = {"context": False, "net": {"bias": True}}
    end = run(sgd(0.1, trains, 0.0, 0.0, 1.0), start, 1)
    moved = np.asarray(end["net"]["bias"] - start["net"]["bias"])
    assert np.linalg.norm(moved) == pytest.approx(0.1, rel=1e-5)


def test_vifi_s_schedule_grows_from_zero_and_ends_near_a_hundredth():
    schedule = vifi_schedule(BASE, steps=30, warmup=5)
    rates = [float(schedule(jnp.asarray(step))) for step in range(30)]
    np.testing.assert_allclose(rates[:5], [0, 0.2 * BASE, 0.4 * BASE, 0.6 * BASE, 0.8 * BASE])
    # The cosine starts with the training, so the rate never reaches its peak.
    assert rates[5] == pytest.approx(BASE * (0.01 + 0.99 * (1 + np.cos(np.pi / 6)) / 2))
    assert rates[15] == pytest.approx(0.505 * BASE)
    assert max(rates) == rates[5] < BASE
    assert BASE / 100 < rates[29] < BASE / 70 and float(schedule(30)) == pytest.approx(BASE / 100)
    assert float(vifi_schedule(BASE, steps=30, warmup=0)(0)) == pytest.approx(BASE)


def test_sgd_follows_the_schedule():
    start = jax.tree.map(jnp.zeros_like, gradients(0))
    trains = jax.tree.map(lambda _: True, start)
    schedule = coop_schedule(BASE, epochs=2, steps_per_epoch=1)
    moved = run(sgd(schedule, trains, momentum=0.0, weight_decay=0.0), start, 2)
    expected = jax.tree.map(lambda a, b: -1e-5 * a - BASE * b, gradients(0), gradients(1))
    assert largest_difference(moved, expected) <= 1e-8


def test_frozen_leaves_never_change_in_spite_of_decay_and_gradient():
    start = jax.tree.map(jnp.asarray, gradients(99))
    trains = {"context": False, "net": {"bias": True}}
    end = run(sgd(0.1, trains, weight_decay=0.5), start, 5)
    assert (end["context"] == start["context"]).all()
    everything = run(sgd(0.1, jax.tree.map(lambda _: True, start), weight_decay=0.5), start, 5)
    assert (end["net"]["bias"] == everything["net"]["bias"]).all()
    assert largest_difference(end["net"], start["net"]) > 0.1


@pytest.mark.parametrize("rule", [adamw, sgd])
def test_single_leaves_are_kept_from_decay(rule):
    start = gradients(99)
    trains = {"context": True, "net": {"bias": True}}
    decays = {"context": True, "net": {"bias": False}}
    some = run(rule(0.1, trains, weight_decay=0.5, decays=decays), start, 3)
    everything = run(rule(0.1, trains, weight_decay=0.5), start, 3)
    nothing = run(rule(0.1, trains, weight_decay=0.0), start, 3)
    assert largest_difference(some["context"], everything["context"]) == 0
    assert largest_difference(some["net"], nothing["net"]) == 0
    assert largest_difference(everything, nothing) > 1e-2
    fixed = {"context": False, "net": {"bias": True}}
    alone = run(rule(0.1, fixed, weight_decay=0.5, decays=decays), start, 3)
    assert largest_difference(alone["context"], start["context"]) == 0


def test_frozen_leaves_never_change_under_adamw():
    start = jax.tree.map(jnp.asarray, gradients(99))
    end = run(adamw(0.1, {"context": True, "net": {"bias": False}}, weight_decay=0.5), start, 3)
    assert (end["net"]["bias"] == start["net"]["bias"]).all()
    assert largest_difference(end["context"], start["context"]) > 0.1


def test_the_average_is_the_weighted_sum_of_each_epoch_s_last_parameters():
    start = jax.tree.map(jnp.asarray, gradients(99))
    trains = {"context": True, "net": {"bias": False}}
    inner = sgd(0.1, trains)
    optimizer = average_epochs(inner, (0.2, 0.7, 0.1), steps_per_epoch=2)
    prompts, state = start, optimizer.init(start)
    for step in range(6):
        updates, state = optimizer.update(gradients(step), state, prompts)
        prompts = optax.apply_updates(prompts, updates)
    ends = [run(inner, start, steps) for steps in (2, 4, 6)]
    assert largest_difference(prompts, ends[-1]) == 0
    expected = jax.tree.map(lambda a, b, c: 0.2 * a + 0.7 * b + 0.1 * c, *ends)
    assert largest_difference(state.average, expected) <= 1e-6


@pytest.mark.parametrize(("ours", "theirs"), [(sgd, "SGD"), (adamw, "AdamW")])
def test_rates_per_leaf_equal_torch_s_parameter_groups(ours, theirs, torch):
    start = jax.tree.map(lambda x: 3 * x, gradients(99))
    factors = {"context": 1.0, "net": {"bias": 0.1}}
    tensors = [torch.tensor(x, requires_grad=True) for x in jax.tree.leaves(start)]
    groups = [
        {"params": [tensor], "lr": 0.1 * factor}
        for tensor, factor in zip(tensors, jax.tree.leaves(factors), strict=True)
    ]
    more = {"momentum": 0.9} if ours is sgd else {}
    optimizer = getattr(torch.optim, theirs)(groups, weight_decay=0.1, **more)
    for step in range(5):
        for tensor, gradient in zip(tensors, jax.tree.leaves(gradients(step)), strict=True):
            tensor.grad = torch.from_numpy(gradient)
        optimizer.step()
    trains = jax.tree.map(lambda _: True, start)
    found = run(scale_rates(ours(0.1, trains, weight_decay=0.1), factors), start, 5)
    expected = [tensor.detach().numpy() for tensor in tensors]
    assert largest_difference(jax.tree.leaves(found), expected) <= 1e-5
