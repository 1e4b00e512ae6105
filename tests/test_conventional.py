"""Our methods equal an independent PyTorch implementation on the same weights."""

import dataclasses
import functools

import action_rows
import flax.traverse_util
import jax
import needs_torch  # noqa: F401
import numpy as np
import pytest
import torch
import video_rows
from reference import BATCH, CLASSES, CONFIG, FROZEN, TINY, largest_difference, relative_difference
from rows import BY_FIGURES, arrays, task_of

from experiments.benchmark import cells
from experiments.benchmark.cells import CLASSIFIERS
from experiments.benchmark.counterparts import torch_methods
from experiments.benchmark.flops import count_products
from experiments.benchmark.ours import jax_side, work
from prompt_jax import methods
from prompt_jax.clip.vocabulary.captions import tokenize_captions
from prompt_jax.training import train

STATE = jax_side.openai_state(CONFIG, FROZEN)


def conventional(row):
    """Returns the counterpart of a row of the methods' table."""
    prompts = arrays(row, "param")
    handover = work.hand_over(row.method, TINY, row.settings, prompts, CLASSES)
    return torch_methods.build(handover, STATE)


def conventional_vop(row):
    """Returns the counterpart of a row of videos and captions."""
    tokens = tokenize_captions(video_rows.CAPTIONS, row.settings.text_prompts).tokens
    prompts = video_rows.prompts_of(row)
    handover = work.hand_over("vop", TINY, row.settings, prompts, tokens)
    return torch_methods.build(handover, STATE)


def gradients_of(module):
    """Returns the gradients by our names."""
    return {name: p.grad.numpy() for name, p in module.prompts.items() if p.grad is not None}


def ours(method, prompts, task, batch):
    """Returns our logits, and our gradients by flat names."""

    def loss(prompts):
        value, output = train.loss_and_output(method, prompts, task, batch)
        return value, output.logits

    gradients, logits = jax.jit(jax.grad(loss, has_aux=True))(prompts)
    return logits, flax.traverse_util.flatten_dict(gradients, sep="/")


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_logits_and_gradients_equal_the_conventional_code(name):
    row = BY_FIGURES[name]
    module = conventional(row)
    logits = module(torch.tensor(np.asarray(BATCH["image"])).permute(0, 3, 1, 2))
    module.loss(logits, torch.tensor(np.asarray(BATCH["label"])).long()).backward()
    expected_logits, expected = ours(methods.get(name), arrays(row, "param"), task_of(row), BATCH)
    assert largest_difference(logits.detach().numpy(), expected_logits) <= 1e-4
    found = gradients_of(module)
    assert found.keys() == expected.keys()
    assert relative_difference(found, expected) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maple", "pro_mpt"])
def test_the_text_part_does_the_same_work_on_both_sides(name):
    # For the other two methods it is the method itself, on features.
    row = BY_FIGURES[name]
    features = np.random.default_rng(0).standard_normal((2, CONFIG.embed_dim), np.float32)
    labels = np.array([1, 4])
    module = conventional(row)
    logits = module.text_logits(torch.tensor(features))
    module.loss(logits, torch.tensor(labels)).backward()
    batch = {"image": jax.numpy.asarray(features), "label": jax.numpy.asarray(labels)}
    method, prompts = work.text_part(name), arrays(row, "param")
    expected_logits, expected = ours(method, prompts, task_of(row), batch)
    assert largest_difference(logits.detach().numpy(), expected_logits) <= 1e-4
    found = gradients_of(module)
    assert {"context"} <= found.keys()
    assert relative_difference(found, {key: expected[key] for key in found}) <= 1e-4
    # Parameters that the text part does not use get no gradient on either side.
    assert not any(np.any(expected[key]) for key in expected.keys() - found.keys())


@pytest.mark.parametrize("name", ["vop", "vop_renorm"])
def test_vop_equals_the_conventional_code(name):
    row = video_rows.BY_FIGURES[name]
    module, batch, task = conventional_vop(row), video_rows.batch_of(row), video_rows.task_of(row)
    assert module.tokens.shape == (3, 77 - row.settings.text_prompts)
    logits = module(torch.tensor(np.asarray(batch["image"])).movedim(-1, -3))
    module.loss(logits, torch.arange(3)).backward()
    method = methods.retrieve(methods.get_encoders("vop"))
    expected_logits, expected = ours(method, video_rows.prompts_of(row), task, batch)
    assert largest_difference(logits.detach().numpy(), expected_logits) <= 1e-4
    found = gradients_of(module)
    assert found.keys() == expected.keys() == {"text_prompts", "vision_prompts"}
    assert relative_difference(found, expected) <= 1e-4


def test_the_text_part_of_vop_does_the_same_work_on_both_sides():
    row = video_rows.BY_FIGURES["vop_renorm"]
    features = np.random.default_rng(0).standard_normal((3, CONFIG.embed_dim), np.float32)
    module, task = conventional_vop(row), video_rows.task_of(row)
    logits = module.text_logits(torch.tensor(features))
    module.loss(logits, torch.arange(3)).backward()
    batch = video_rows.batch_of(row) | {"image": jax.numpy.asarray(features)}
    method, prompts = work.text_part("vop"), video_rows.prompts_of(row)
    expected_logits, expected = ours(method, prompts, task, batch)
    assert largest_difference(logits.detach().numpy(), expected_logits) <= 1e-4
    found = gradients_of(module)
    assert found.keys() == {"text_prompts"} and not np.any(expected.pop("vision_prompts"))
    assert relative_difference(found, expected) <= 1e-4


def vilt_on_both_sides(method, videos):
    """Returns (logits, gradients) of the counterpart, and ours by `method`; `videos` of both."""
    row = action_rows.BY_FIGURES["vilt_clip"]
    prompts, labels = action_rows.prompts_of(row), np.asarray(BATCH["label"])
    handover = work.hand_over("vilt_clip", TINY, row.settings, prompts, CLASSES)
    module = torch_methods.build(handover, STATE)
    theirs = torch.tensor(np.array(videos))
    logits = module(theirs.movedim(-1, -3)) if videos.ndim == 5 else module.text_logits(theirs)
    loss = module.loss(logits, torch.tensor(labels).long())
    loss.backward()
    batch = {"image": jax.numpy.asarray(videos), "label": labels}
    expected = ours(method, prompts, action_rows.task_of(row), batch)
    return (logits.detach().numpy(), gradients_of(module)), expected, loss.item()


def test_vilt_clip_equals_the_conventional_code():
    method = methods.recognize(methods.get_encoders("vilt_clip"))
    (logits, found), (expected_logits, expected), loss = vilt_on_both_sides(
        method, video_rows.VIDEOS
    )
    figures = action_rows.FIGURES["vilt_clip"]
    assert largest_difference(logits, expected_logits) <= 1e-4
    assert loss == pytest.approx(float(figures["loss"]), abs=5e-5)
    assert found.keys() == expected.keys() and len(found) == 6
    assert relative_difference(found, expected) <= 1e-4


def test_the_text_part_of_vilt_clip_does_the_same_work_on_both_sides():
    features = np.random.default_rng(0).standard_normal((3, CONFIG.embed_dim), np.float32)
    (logits, found), (expected_logits, expected), _ = vilt_on_both_sides(
        work.text_part("vilt_clip"), features
    )
    assert largest_difference(logits, expected_logits) <= 1e-4
    # Vision-led prompts affect the texts; the map to vision does not.
    assert expected.keys() - found.keys() == {"text_to_vision/kernel", "text_to_vision/bias"}
    assert not any(np.any(expected[key]) for key in expected.keys() - found.keys())
    assert relative_difference(found, {key: expected[key] for key in found}) <= 1e-4


def test_the_frozen_weights_of_the_counterpart_have_no_gradient():
    module = conventional(BY_FIGURES["coop"])
    trained = [name for name, p in module.named_parameters() if p.requires_grad]
    assert trained == ["prompts.context"]


def test_products_in_loops_are_counted_once_per_iteration():
    matrix = jax.numpy.ones((8, 8))

    def looped(x):
        return jax.lax.scan(lambda c, _: (c @ matrix, None), x, length=3)[0].sum()

    assert count_products(looped, matrix) == 3 * 2 * 8**3
    # The gradient of each product by its left side is one more.
    assert count_products(jax.jit(jax.grad(looped)), matrix) == 2 * 3 * 2 * 8**3


@pytest.mark.slow
def test_the_count_of_a_step_matches_xla_s_and_includes_every_iteration():
    row = BY_FIGURES["pro_mpt"]
    method, counted = methods.get("pro_mpt"), []
    for number in (1, 2, 3):
        settings = dataclasses.replace(row.settings, iterations=number)
        task = methods.make_task(method, TINY, FROZEN, CLASSES, settings)
        loss = functools.partial(train.loss_and_output, method)
        counted.append(count_products(loss, arrays(row, "param"), task, BATCH))
        if number == 1:
            program = jax.jit(loss).lower(arrays(row, "param"), task, BATCH)
            # XLA counts sums and activations too.
            assert counted[0] < program.cost_analysis()["flops"] < 1.3 * counted[0]
    assert counted[2] - counted[1] == counted[1] - counted[0] > counted[0] / 2


def test_the_benchmark_lists_the_records_that_have_a_counterpart():
    """The lists are written out, because the counterpart's process must not import JAX."""
    assert set(cells.TOWERS) <= torch_methods.METHODS.keys()
    there = {name: one for name, one in torch_methods.METHODS.items() if name not in cells.TOWERS}
    own_protocols = {name: one.own_protocol for name, one in methods.RECORDS["videos"].items()}
    of_videos = {name: own_protocols[name] for name in there if name not in methods.METHODS}
    assert set(cells.CLASSIFIERS) == there.keys() & methods.METHODS.keys()
    assert set(cells.PAIRS) == {name for name, own in of_videos.items() if own == "retrieval"}
    assert set(cells.ACTIONS) == {name for name, own in of_videos.items() if own != "retrieval"}
    assert cells.FRAMES.keys() == of_videos.keys()
