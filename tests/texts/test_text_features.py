"""Many texts are encoded in chunks, each once, and kept on disk."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import largest_difference, random_clip

from prompt_jax import text_features
from prompt_jax.clip import normalize, tokenizer
from prompt_jax.errors import PromptError
from prompt_jax.evaluation.programs import encode_texts

CLIP, FROZEN = random_clip(vocab_size=49408, context_length=77)
TEXTS = [f"a {one} beside the {other}" for one in ["cat", "dog", "owl"] for other in range(7)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Makes an empty directory the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "prompt_jax" / "texts"


def plain(texts):
    """Returns the features of texts, encoded together."""
    return np.asarray(encode_texts(CLIP, FROZEN, jnp.asarray(tokenizer.tokenize(texts))))


@pytest.mark.parametrize("at_once", [1024, 5, 1])
def test_chunks_give_the_features_of_single_texts(monkeypatch, at_once):
    monkeypatch.setattr(text_features, "AT_ONCE", at_once)
    found = text_features.encode_each(CLIP, FROZEN, [*TEXTS, TEXTS[0]])
    assert largest_difference(found, plain([*TEXTS, TEXTS[0]])) <= 1e-5


def test_means_count_a_text_as_often_as_its_group_has_it(monkeypatch):
    monkeypatch.setattr(text_features, "AT_ONCE", 4)
    groups = [TEXTS[:3], [TEXTS[0], TEXTS[0], TEXTS[9]], TEXTS]
    each = dict(zip(TEXTS, plain(TEXTS), strict=True))
    expected = np.stack([np.mean([each[text] for text in group], axis=0) for group in groups])
    assert largest_difference(text_features.encode_means(CLIP, FROZEN, groups), expected) <= 1e-5
    traced = jax.jit(lambda frozen: text_features.encode_means(CLIP, frozen, groups))(FROZEN)
    assert largest_difference(traced, expected) <= 1e-5


def test_features_are_kept_on_disk_by_texts_and_backbone(monkeypatch, cache):
    monkeypatch.setattr(text_features, "LEAST_KEPT", 1)
    first = text_features.encode_each(CLIP, FROZEN, TEXTS)
    [file] = cache.iterdir()
    calls = []
    run = text_features._run
    monkeypatch.setattr(text_features, "_run", lambda *args: calls.append(1) or run(*args))
    assert np.array_equal(text_features.encode_each(CLIP, FROZEN, TEXTS), first)
    assert not calls
    # Other texts, another order, other weights and another compute type are encoded again.
    text_features.encode_each(CLIP, FROZEN, TEXTS[::-1])
    other = FROZEN | {"text": jax.tree.map(lambda x: x + 1, FROZEN["text"])}
    text_features.encode_each(CLIP, other, TEXTS)
    half = dataclasses.replace(CLIP, dtype=jnp.dtype("bfloat16"))
    text_features.encode_each(half, FROZEN, TEXTS)
    assert len(calls) == 3 and len(list(cache.iterdir())) == 4
    # Weights of the image tower do not matter.
    text_features.encode_each(CLIP, FROZEN | {"image": {}}, TEXTS)
    assert len(calls) == 3 and file.exists()


def test_a_damaged_file_is_computed_again(monkeypatch, cache, capsys):
    monkeypatch.setattr(text_features, "LEAST_KEPT", 1)
    first = text_features.encode_each(CLIP, FROZEN, TEXTS)
    [file] = cache.iterdir()
    content = file.read_bytes()
    for damage in (b"", content[:100], b"x" * len(content)):
        file.write_bytes(damage)
        assert np.array_equal(text_features.encode_each(CLIP, FROZEN, TEXTS), first)
        assert "is computed again" in capsys.readouterr().err
        assert file.read_bytes() == content


def test_a_cache_that_cannot_be_written_is_noted(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(text_features, "LEAST_KEPT", 1)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    found = text_features.encode_each(CLIP, FROZEN, TEXTS[:2])
    assert largest_difference(found, plain(TEXTS[:2])) <= 1e-5
    assert "features of texts are not kept" in capsys.readouterr().err


def test_few_texts_are_not_kept(cache):
    text_features.encode_each(CLIP, FROZEN, TEXTS)
    assert not cache.exists()


def test_a_text_that_is_too_long_is_named():
    with pytest.raises(PromptError, match=r"descriptions: 'cat cat.*takes 102 tokens.*has 77"):
        text_features.encode_each(CLIP, FROZEN, ["a dog", "cat " * 100], "descriptions")
    with pytest.raises(PromptError, match="group 1 has no texts"):
        text_features.encode_means(CLIP, FROZEN, [["a"], []])


def test_normalized_features_have_norm_one():
    found = text_features.encode_each(CLIP, FROZEN, TEXTS)
    assert largest_difference(found, normalize(found)) <= 1e-6
