"""The diagnosis of untrained prompts: what it says it measures."""

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
def pictures():
    images, labels = diagnosis.draw_pictures("plain", 48)
    return images[:4], labels[:4]


def test_each_copy_of_a_prompt_gets_the_same_attention(embedded, pictures):
    clip, frozen = embedded
    one = jax.random.normal(jax.random.key(0), (1, 1, clip.config.image_width))
    alone, thrice = (
        # Of one picture: the shares of several do not average so.
        np.asarray(diagnosis.attention_to_prompts(clip, frozen, pictures[0][:1], prompts))
        for prompts in (one, jnp.repeat(one, 3, axis=1))
    )
    assert ((alone > 0) & (thrice > alone) & (thrice < 1)).all()
    none = jnp.zeros((0, 0, clip.config.image_width))
    assert not np.any(diagnosis.attention_to_prompts(clip, frozen, pictures[0], none))


def test_grey_prompts_are_what_the_layers_see_of_an_empty_picture(embedded):
    clip, frozen = embedded
    size = clip.config.image_size
    first, second = diagnosis.grey_tokens(clip, frozen, 2)
    tokens = clip.embed_image(frozen, jnp.zeros((1, size, size, 3)))
    np.testing.assert_allclose(first, tokens[0, 1:].mean(0), rtol=1e-6, atol=1e-6)
    after = clip.image_block(frozen, 0, tokens)
    np.testing.assert_allclose(second, after[0, 1:].mean(0), rtol=1e-6, atol=1e-6)


def test_the_best_scale_is_where_the_loss_is_least(embedded, pictures):
    task = diagnosis.make_task(*embedded)
    found = diagnosis.calibration(task, *pictures)
    assert found["best"] in diagnosis.SCALES
    assert found["best loss"] <= found["loss"]
    assert found["scale"] == pytest.approx(float(jnp.exp(embedded[1]["logit_scale"])))


@pytest.mark.slow
def test_the_command_writes_a_page_and_never_over_another(tmp_path, monkeypatch, capsys):
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
    with pytest.raises(PromptError, match=r"diagnosis\.md is there; delete it or name another"):
        diagnosis.start(arguments)


def test_a_domain_that_is_not_there_is_named():
    with pytest.raises(PromptError, match="unknown domain 'nigth'.*night"):
        diagnosis.start(["--domains=nigth"])
