"""The diagnosis of untrained prompts measures what it claims to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import diagnosis
from prompt_jax.clip import CLIP, loading
from prompt_jax.errors import PromptError


@pytest.fixture(scope="module")
def embedded():
    sizes, frozen = loading.load("embedded")
    return CLIP(sizes), frozen


@pytest.fixture(scope="module")
def drawn():
    images, labels = diagnosis.draw_images("plain", 48)
    return images[:4], labels[:4]


def test_attention_to_prompts_equals_that_of_the_parameters(embedded, drawn):
    clip, frozen = embedded
    images, sizes = drawn[0], clip.config
    prompts = jax.random.normal(jax.random.key(0), (1, 3, sizes.image_width))
    tokens = clip.embed_image(frozen, images)
    own = jnp.broadcast_to(prompts[0], (len(images), *prompts.shape[1:]))
    x = np.asarray(jnp.concatenate([tokens, own], axis=1), np.float64)
    block = jax.tree.map(np.asarray, frozen["image"]["block_0"])
    centred = x - x.mean(-1, keepdims=True)
    x = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    x = x * block["ln_1"]["scale"] + block["ln_1"]["bias"]
    query, key, _ = np.split(x @ block["qkv"]["kernel"] + block["qkv"]["bias"], 3, axis=-1)
    heads = (sizes.image_heads, sizes.image_width // sizes.image_heads)
    query, key = (y.reshape(*y.shape[:2], *heads) for y in (query[:, :1], key))
    weights = np.exp(np.einsum("bqhd,bshd->bhqs", query, key) / np.sqrt(heads[1]))
    expected = (weights[..., -3:].sum(-1) / weights.sum(-1)).mean()
    found = diagnosis.attention_to_prompts(clip, frozen, images, prompts)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4)


def test_copies_of_a_prompt_get_more_attention_and_no_prompts_get_none(embedded, drawn):
    clip, frozen = embedded
    one = jax.random.normal(jax.random.key(0), (1, 1, clip.config.image_width))
    alone, thrice = (
        np.asarray(diagnosis.attention_to_prompts(clip, frozen, drawn[0], prompts))
        for prompts in (one, jnp.repeat(one, 3, axis=1))
    )
    assert ((alone > 0) & (thrice > alone) & (thrice < 1)).all()
    none = jnp.zeros((0, 0, clip.config.image_width))
    assert not np.any(diagnosis.attention_to_prompts(clip, frozen, drawn[0], none))


def test_grey_prompts_are_the_layers_tokens_of_an_empty_image(embedded):
    clip, frozen = embedded
    size = clip.config.image_size
    first, second = diagnosis.grey_tokens(clip, frozen, 2)
    tokens = clip.embed_image(frozen, jnp.zeros((1, size, size, 3)))
    np.testing.assert_allclose(first, tokens[0, 1:].mean(0), rtol=1e-6, atol=1e-6)
    after = clip.image_block(frozen, 0, tokens)
    np.testing.assert_allclose(second, after[0, 1:].mean(0), rtol=1e-6, atol=1e-6)


def test_the_best_scale_minimizes_the_loss(embedded, drawn):
    task = diagnosis.make_task(*embedded)
    found = diagnosis.calibration(task, *drawn)
    assert found["best"] in diagnosis.SCALES
    assert found["best loss"] <= found["loss"]
    assert found["scale"] == pytest.approx(float(jnp.exp(embedded[1]["logit_scale"])))


@pytest.mark.slow
def test_the_command_writes_a_page_and_never_overwrites_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(diagnosis, "PER_CLASS", 1)
    monkeypatch.setattr(diagnosis, "PROMPTS", (2,))
    monkeypatch.setattr(diagnosis, "SEEDS", (1,))
    monkeypatch.setattr(diagnosis, "BATCHES", 2)
    arguments = ["--domains=plain", f"--out={tmp_path}"]
    diagnosis.start(arguments)
    page = (tmp_path / "diagnosis.md").read_text(encoding="utf-8")
    for title in ("p¹, a=2", "vision_generator", "best scale"):
        assert title in page
    assert page.count("| plain") == 2 + 4 + 1
    with pytest.raises(
        PromptError, match=r"diagnosis\.md already exists; delete it or choose another"
    ):
        diagnosis.start(arguments)


def test_an_unknown_domain_is_named():
    with pytest.raises(PromptError, match="unknown domain 'nigth'.*night"):
        diagnosis.start(["--domains=nigth"])
