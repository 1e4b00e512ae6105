"""Attention of the image tower, without and with vision prompts."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from PIL import Image

from data_pipelines.examples import Dataset, Example
from experiments.report import tower_passes
from experiments.report.sections import attention
from prompt_jax import methods
from prompt_jax.clip import CLIP
from prompt_jax.clip.blocks import attend
from prompt_jax.inputs.images.preprocessing import CLIP as OWN

CLIP_TINY = CLIP(tiny.CONFIG)
PROMPTED = ("vpt", "ivlp", "maple", "promptsrc", "pro_mpt")


def read(example: Example) -> Image.Image:
    rng = np.random.default_rng(int(example.image))
    return Image.fromarray(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8))


def make_run(name: str):
    """Returns what a section reads of a run, and prompts large enough to have an effect."""
    method = methods.get(name)
    settings = method.Settings()
    task = methods.make_task(method, CLIP_TINY, tiny.frozen_parameters(), tiny.CLASSES, settings)
    prompts = jax.tree.map(lambda leaf: 5 * leaf, method.init(jax.random.key(1), task))
    examples = tuple(
        Example(str(n), n % len(tiny.CLASSES), tiny.CLASSES[n % len(tiny.CLASSES)])
        for n in range(9)
    )
    dataset = Dataset("noise", "a photo of a {}.", (), (), examples, read)
    run = SimpleNamespace(
        config=SimpleNamespace(method=name),
        method=method,
        backbone=SimpleNamespace(clip=CLIP_TINY, frozen=tiny.frozen_parameters()),
        plan=SimpleNamespace(
            train=dataset,
            tests={"test": dataset},
            batches=SimpleNamespace(inputs=SimpleNamespace(preprocessing=OWN)),
        ),
        tests={"test": [task]},
    )
    return run, prompts


@pytest.fixture(scope="module")
def images() -> jax.Array:
    return jax.random.normal(jax.random.key(2), (2, 32, 32, 3))


def test_attention_times_values_is_the_output_of_the_last_block_s_attention():
    frozen, layer = tiny.frozen_parameters(), tiny.CONFIG.image_layers - 1
    tokens = jax.random.normal(jax.random.key(0), (3, 8, tiny.CONFIG.image_width))
    here = CLIP_TINY.image_layers(frozen)[layer]
    weights = here.class_attention(tokens)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-6)
    key, value = here.key_value(tokens)
    seen = jnp.einsum("bhs,bshd->bhd", weights, value).reshape(3, 1, -1)
    np.testing.assert_allclose(
        seen, attend(here.query(tokens[:, :1]), key, value), rtol=1e-5, atol=1e-6
    )
    params = {"params": here.params}
    attended = here.block.apply(params, seen, method=lambda block, x: block.out(x))
    finished = here.block.apply(params, tokens[:, :1] + attended, method="add_mlp")
    expected = CLIP_TINY.image_block(frozen, layer, tokens)
    np.testing.assert_allclose(finished, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", PROMPTED)
def test_the_last_pass_of_the_method_is_recorded(name, images):
    run, prompts = make_run(name)
    without, with_prompts = tower_passes.record_passes(run, prompts, "test", images)
    frozen = tiny.frozen_parameters()
    np.testing.assert_allclose(
        without.features, CLIP_TINY.encode_image(frozen, images), rtol=1e-4, atol=1e-5
    )
    assert with_prompts is not None
    plain = 1 + tiny.CONFIG.patches
    assert without.attention.shape == (2, tiny.CONFIG.image_heads, plain)
    assert with_prompts.attention.shape[-1] > plain
    np.testing.assert_allclose(with_prompts.attention.sum(axis=-1), 1, rtol=1e-5)
    if name != "pro_mpt":  # whose classes depend on the image
        task = run.tests["test"][0]
        prepared = run.method.prepare(prompts, task)
        logits = run.method.forward(prompts, prepared, task, images).logits[-1]
        classes = {"vpt": task.constants}.get(name, prepared)
        classes = classes[0] if name == "maple" else classes
        found = methods.method.cosine_logits(
            task, methods.method.normalize(with_prompts.features), classes
        )
        np.testing.assert_allclose(found, logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["vpt", "pro_mpt"])
def test_images_are_beside_two_maps(name):
    run, prompts = make_run(name)
    section = attention.section(run, prompts, "test", number=3)
    (gallery,) = section.blocks
    assert [card.title for card in gallery.cards] == ["sea_horse", "sea_horse", "sea_horse"]
    for card in gallery.cards:
        assert len(card.images) == 3 and len({p.size for p in card.images}) == 1
        assert np.abs(np.asarray(card.images[1], int) - np.asarray(card.images[2])).max() > 2
    assert ("last iteration" in gallery.caption) == (name == "pro_mpt")


@pytest.mark.parametrize("name", ["coop", "cocoop", "zero_shot"])
def test_without_vision_prompts_there_is_no_section(name):
    run, prompts = make_run(name)
    assert attention.section(run, prompts, "test") is None


def test_the_brightest_patch_has_the_most_attention():
    weights = np.array([0.0, 0.0, 0.4, 0.0])
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    light = np.asarray(attention.overlay(grey, weights, 0.4).convert("L"), float)
    quarters = light.reshape(2, 32, 2, 32).mean(axis=(1, 3)).ravel()
    assert quarters.argmax() == 2
