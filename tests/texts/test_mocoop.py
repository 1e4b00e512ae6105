"""MoCoOp: its router, its experts and the terms of its loss equal the published code's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import (
    BATCH,
    CLASSES,
    FIGURES,
    FROZEN,
    TINY,
    largest_difference,
    relative_difference,
)
from rows import BY_FIGURES, arrays, task_of

from prompt_jax import methods
from prompt_jax.clip import normalize
from prompt_jax.errors import PromptError
from prompt_jax.methods.images import mocoop, mocoop_norms
from prompt_jax.training import train

FIGURE, ROW = FIGURES["mocoop"], BY_FIGURES["mocoop"]
METHOD = mocoop.METHOD


@pytest.fixture(scope="module")
def task():
    return task_of(ROW)


@pytest.fixture(scope="module")
def prompts():
    return arrays(ROW, "param")


@pytest.fixture(scope="module")
def features():
    return jax.jit(TINY.encode_image)(FROZEN, BATCH["image"])


@pytest.fixture(scope="module")
def prepared(prompts, task):
    return jax.jit(METHOD.prepare)(prompts, task)


def test_experts_and_prototypes_equal_the_published_code(task, prepared):
    assert largest_difference(prepared, FIGURE["expert_features_norm"]) <= 1e-5
    assert largest_difference(task.constants.prototypes, FIGURE["prototypes_norm"]) <= 1e-5


def test_the_router_and_its_target_equal_the_published_code(prompts, task, features, prepared):
    images = normalize(features)
    routes = mocoop.route(prompts, images)
    assert largest_difference(routes, FIGURE["gate_logits"]) <= 1e-5
    weights = mocoop.gate(routes, 2)
    assert (jnp.argsort(-weights, axis=-1)[:, :2] == FIGURE["gate_idx"]).all()
    prototypes = task.constants.prototypes
    cosines, wanted = mocoop.target(prototypes, images, BATCH["label"], 2)
    assert largest_difference(cosines, FIGURE["gate_cosines"]) <= 1e-5
    assert largest_difference(wanted, FIGURE["gate_target"]) <= 1e-5
    mixed = jnp.einsum("bg,gkd->bkd", weights, prepared)
    assert largest_difference(mixed, FIGURE["mixed_features"]) <= 1e-5


def test_the_terms_of_the_loss_equal_the_published_code(prompts, task):
    _, output = train.loss_and_output(METHOD, prompts, task, BATCH)
    assert float(output.losses["text"]) == pytest.approx(5 * FIGURE["text_loss"], abs=1e-5)
    assert float(output.losses["gate"]) == pytest.approx(float(FIGURE["gate_loss"]), abs=1e-5)
    alone = train.loss_of(methods.Output(output.logits), BATCH["label"])
    assert float(alone) == pytest.approx(float(FIGURE["ce"]), abs=5e-5)


def test_an_image_depends_on_its_chosen_experts_alone(prompts, task, features, prepared):
    base = METHOD.forward(prompts, prepared, task, features).logits[0]
    for expert in range(4):
        changed = prepared.at[expert].set(jnp.roll(prepared[expert], 1, axis=0))
        logits = METHOD.forward(prompts, changed, task, features).logits[0]
        moved = np.abs(np.asarray(logits - base)).max(axis=-1) > 0
        assert (moved == (FIGURE["gate_idx"] == expert).any(axis=-1)).all()


def test_one_chosen_expert_is_its_own_classifier(prompts, features, prepared):
    settings = mocoop.Settings(ROW.settings.templates, ROW.settings.groups, chosen=1)
    task = methods.make_task(METHOD, TINY, FROZEN, CLASSES, settings)
    logits = METHOD.forward(prompts, prepared, task, features).logits[0]
    expert = FIGURE["gate_idx"][:, 0]
    expected = 100 * jnp.einsum("bd,bkd->bk", normalize(features), prepared[expert])
    assert largest_difference(logits, expected) <= 1e-4


def test_experts_start_as_the_first_templates_of_their_groups(task):
    fresh = METHOD.init(jax.random.key(0), task)
    assert not fresh["shift"].any()
    experts = jax.jit(METHOD.prepare)(fresh, task)
    for expert, template in enumerate(ROW.settings.first_templates):
        text = template.removesuffix(".")
        plain = normalize(mocoop.encode_templates(TINY, FROZEN, (text,), CLASSES))
        assert largest_difference(experts[expert], plain) <= 1e-5


def test_further_classes_only_enter_the_text_term(prompts, task, features, prepared):
    given = ("a new thing", "Giant schnauzer")  # the second is a class
    settings = mocoop.Settings(ROW.settings.templates, ROW.settings.groups, further_classes=given)
    wider = methods.make_task(METHOD, TINY, FROZEN, CLASSES, settings)
    assert wider.constants.prototypes.shape == (4, len(CLASSES) + 1, 32)
    every = methods.make_task(METHOD, TINY, FROZEN, [*CLASSES, "a new thing"], settings)

    def terms(task, prepared):
        rng = jax.random.key(0)
        found = METHOD.learn(prompts, prepared, task, features, BATCH["label"], rng)
        return {name: float(value) for name, value in found.losses.items()}

    before, after = terms(task, prepared), terms(wider, prepared)
    expected = terms(every, jax.jit(METHOD.prepare)(prompts, every))
    assert after["text"] == pytest.approx(expected["text"], rel=1e-5)
    assert abs(after["text"] - before["text"]) > 1e-3
    assert after["gate"] == pytest.approx(before["gate"], rel=1e-6)
    logits = METHOD.forward(prompts, prepared, wider, features).logits
    assert largest_difference(logits[0], FIGURE["logits"]) <= 1e-4


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"groups": (1, 1)}, r"settings\.groups=\(1, 1\) must be numbers from 1 with the sum 13"),
        ({"groups": (0, 13)}, r"settings\.groups=\(0, 13\)"),
        ({"templates": ("a photo",), "groups": (1,)}, r"'a photo' must contain \"{}\" once"),
        ({"templates": ("{}.",), "groups": (1,)}, "must have words beside the class name"),
        ({"chosen": 7}, r"settings\.chosen=7 must be from 1 to 6"),
        ({"chosen": 0}, r"settings\.chosen=0 must be from 1 to 6"),
        ({"gate_weight": -1.0}, r"settings\.gate_weight=-1\.0 must be at least 0"),
    ],
)
def test_settings_out_of_range_are_rejected_by_name(wrong, message):
    with pytest.raises(PromptError, match=message):
        mocoop.Settings(**wrong)


@pytest.mark.slow
def test_gradients_of_layer_norms_equal_the_published_code(prompts):
    method = methods.get("mocoop_norms")
    settings = mocoop_norms.Settings(ROW.settings.templates, ROW.settings.groups)
    task = methods.make_task(method, TINY, FROZEN, CLASSES, settings)
    fresh = method.init(jax.random.key(0), task)
    given = {**prompts, "norms": fresh["norms"]}
    loss = jax.jit(jax.grad(lambda p: train.loss_and_output(method, p, task, BATCH)[0]))
    gradients, names = loss(given), {"scale": "weight", "bias": "bias"}
    blocks = "ln.grad.visual.transformer.resblocks"
    ours = {
        f"{blocks}.{block.removeprefix('block_')}.{norm}.{names[leaf]}": x
        for block, norms in gradients["norms"]["image"].items()
        for norm, leaves in norms.items()
        for leaf, x in leaves.items()
    }
    theirs = {name: FIGURE[name] for name in FIGURE if name.startswith("ln.grad.")}
    assert ours.keys() == theirs.keys() and len(ours) == 3 * 4
    assert relative_difference(ours, theirs) <= 1e-4
    plain = {name: gradients[name] for name in prompts}
    assert relative_difference(plain, arrays(ROW, "grad")) <= 1e-4
    rates = method.trains(fresh, settings)
    assert set(jax.tree.leaves(rates["norms"])) == {0.1}
    assert set(jax.tree.leaves({**rates, "norms": 1.0})) == {1.0}


def test_the_given_layer_norms_are_those_of_the_backbone(prompts, task, features, prepared):
    method = methods.get("mocoop_norms")
    settings = mocoop_norms.Settings(ROW.settings.templates, ROW.settings.groups)
    own = methods.make_task(method, TINY, FROZEN, CLASSES, settings)
    given = {**prompts, "norms": method.init(jax.random.key(0), own)["norms"]}
    found = jax.jit(method.forward)(given, prepared, own, BATCH["image"]).logits[0]
    assert largest_difference(found, FIGURE["logits"]) <= 1e-4
    with pytest.raises(PromptError, match=r"settings\.norm_rate=-1 must be at least 0"):
        mocoop_norms.Settings(norm_rate=-1)
