"""Packed, unpacked and chunked class names give the same features and gradients."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import largest_difference, random_clip, relative_difference

from prompt_jax.clip import CLIP, VARIANTS, tokenizer
from prompt_jax.clip.memory import default_budget, sparing_options
from prompt_jax.clip.packing import CLASSES_PER_ROW, make_room, pack
from prompt_jax.errors import PromptError
from prompt_jax.prompts import encode_classes, encode_embedded, tokenize_classes

SHARED = Path(os.environ.get("PROMPT_JAX_SHARED", Path(__file__).parents[3] / "shared"))
IMAGENET = SHARED / "data" / "imagenet" / "classnames.txt"
CLIP_AND_FROZEN = random_clip(vocab_size=49408)
# Less than one row of these classes needs, so that each row is a chunk.
LITTLE_MEMORY = 1
NAMES = [
    *("cat", "fire truck", "giant schnauzer", "kiwi", "dog", "ox", "a b c d e f g h i j k l m"),
    *(f"sea lion number {n}" for n in range(5)),
    *(f"palm tree {'very ' * (n % 4)}tall" for n in range(5)),
    *("pagoda", "eel", "yak"),
]
encode = jax.jit(encode_classes, static_argnums=0)


def random_suffixes(lengths):
    """Returns different token ids, from 1 on."""
    ends = np.cumsum(lengths)
    return [
        list(range(end - length + 1, end + 1)) for length, end in zip(lengths, ends, strict=True)
    ]


def padding(packed, lengths):
    """Returns the share of the slots without a token."""
    return 1 - sum(lengths) / packed.tokens.size


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_every_class_is_in_one_row_once(lengths):
    suffixes = random_suffixes(lengths)
    packed = jax.tree.map(np.asarray, pack(suffixes))
    assert len(packed.tokens) == -(-len(lengths) // CLASSES_PER_ROW)
    rows, columns = np.divmod(packed.place, packed.eot.shape[1])
    found = np.zeros_like(packed.tokens)
    for suffix, row, column in zip(suffixes, rows, columns, strict=True):
        eot = packed.eot[row, column]
        piece = slice(eot + 1 - len(suffix), eot + 1)
        assert packed.tokens[row, piece].tolist() == suffix
        assert packed.position[row, piece].tolist() == list(range(len(suffix)))
        found[row, piece] += 1
    assert found.max() == 1
    assert ((packed.tokens == 0) == (found == 0)).all()
    assert (packed.position[found == 0] == 0).all()


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 4))
def test_free_slots_before_eot_move_nothing_else(lengths, number):
    words = [suffix[:-1] for suffix in random_suffixes([length + 1 for length in lengths])]
    packed = jax.tree.map(jnp.asarray, pack([[*own, tokenizer.EOT] for own in words]))
    with_room, free = (jax.tree.map(np.asarray, each) for each in make_room(packed, number))
    assert free.shape == with_room.tokens.shape == with_room.position.shape
    rows, columns = np.divmod(with_room.place, with_room.eot.shape[1])
    for own, row, column in zip(words, rows, columns, strict=True):
        eot = with_room.eot[row, column]
        piece = slice(eot - len(own) - number, eot + 1)
        assert with_room.tokens[row, piece].tolist() == [*own, *[0] * number, tokenizer.EOT]
        assert with_room.position[row, piece].tolist() == [*range(len(own) + number + 1)]
        assert free[row, piece].tolist() == [*[-1] * len(own), *range(number), -1]
    assert (free >= 0).sum() == number * len(words)
    assert (with_room.tokens > 0).sum() == sum(lengths) + len(words)


def test_a_thousand_names_of_many_lengths_need_little_padding():
    lengths = 2 + np.random.default_rng(0).geometric(0.45, 1000)
    packed = pack(random_suffixes(lengths))
    assert lengths.max() > 3 * lengths.mean() - 2  # otherwise one length for all would do
    assert padding(packed, lengths) < 0.1


@pytest.mark.skipif(not IMAGENET.is_file(), reason=f"{IMAGENET} is absent")
def test_imagenet_s_names_need_little_padding():
    lines = IMAGENET.read_text(encoding="utf-8").splitlines()
    names = [line.split(" ", 1)[1] for line in lines]
    for part in (names, names[:500], names[500:], names[::2]):
        classes = tokenize_classes("{}.", part)
        lengths = np.asarray(classes.eot) + 1
        assert padding(classes.packed, lengths) < 0.1
        assert 1 - lengths.sum() / classes.suffix.size > 0.5  # one class a row


def test_few_classes_share_one_row():
    assert pack(random_suffixes([4])).tokens.shape == (1, 4)
    assert pack(random_suffixes([3, 4, 3, 6, 3])).tokens.shape == (1, 20)


def unpacked(clip, frozen, classes, context, deep_prompts):
    """Encodes one class per row, from the embedded suffixes."""
    prefix = clip.embed_text(frozen, classes.prefix)
    if context is not None:
        prefix = jnp.broadcast_to(prefix, (*context.shape[:-2], *prefix.shape))
        prefix = jnp.concatenate([prefix, context], axis=-2)
    suffix = clip.embed_text(frozen, classes.suffix)
    return encode_embedded(clip, frozen, prefix, suffix, classes.eot, deep_prompts)


def value_and_gradients(encode, clip, classes, context, deep_prompts):
    """Returns features, and gradients of a function of them that distinguishes the classes."""

    def loss(trainable, frozen, classes):
        features = encode(clip, frozen, classes, *trainable)
        weights = jnp.cos(jnp.arange(features[0].size)).reshape(features[0].shape)
        return jnp.sum(weights * features**2), features

    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, features), gradients = run((context, deep_prompts), CLIP_AND_FROZEN[1], classes)
    return features, gradients


def vectors(seed, *shape):
    """Returns random context vectors with the magnitude of trained ones."""
    return 0.3 * jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.slow
@pytest.mark.parametrize("deep", [False, True])
def test_packed_unpacked_and_chunked_are_equal(deep):
    clip, _ = CLIP_AND_FROZEN
    chunked = dataclasses.replace(clip, memory=LITTLE_MEMORY)
    classes = tokenize_classes("{}.", NAMES)
    arguments = (classes, vectors(0, 3, 4, 32), vectors(1, 2, 4, 32) if deep else None)
    features, gradients = value_and_gradients(unpacked, clip, *arguments)
    assert float(jnp.std(features)) > 0.1  # otherwise the differences below mean nothing
    others = [value_and_gradients(encode_classes, each, *arguments) for each in (clip, chunked)]
    if not deep:
        others.append(value_and_gradients(unpacked, chunked, *arguments))
    for other_features, other_gradients in others:
        assert largest_difference(other_features, features) <= 1e-5
        assert relative_difference(other_gradients, gradients) <= 1e-5


def test_a_class_has_the_same_feature_alone_and_packed():
    clip, frozen = CLIP_AND_FROZEN
    context = vectors(0, 2, 4, 32)
    alone, among = (
        encode(clip, frozen, tokenize_classes("{}.", names), context)
        for names in (NAMES[:1], NAMES)
    )
    assert alone.shape == (2, 1, 16)
    assert largest_difference(alone[:, 0], among[:, 0]) <= 1e-5


def test_renaming_one_class_changes_no_other():
    clip, frozen = CLIP_AND_FROZEN
    changed = 3
    assert NAMES[changed] == "kiwi"
    names = [*NAMES[:changed], "emu", *NAMES[changed + 1 :]]
    before, after = (tokenize_classes("{}.", each) for each in (NAMES, names))
    assert (before.packed.place == after.packed.place).all()
    features = [np.asarray(encode(clip, frozen, classes)) for classes in (before, after)]
    differ = np.abs(features[0] - features[1]).max(axis=-1)
    assert differ[changed] > 0.01
    assert (np.delete(differ, changed) == 0).all()


def test_gradients_stay_within_a_row_and_a_class():
    """Tests that a feature depends only on the tokens of its own class."""
    clip, frozen = CLIP_AND_FROZEN
    packed = tokenize_classes("{}.", NAMES[:4]).packed

    @jax.jit
    @jax.jacrev
    def by_token(tokens):
        cache = clip.prefill(frozen, clip.embed_text(frozen, jnp.array([49406])))
        features = clip.extend(frozen, cache, tokens, packed.position, packed.eot)
        return jnp.sum(features[0] ** 2, axis=-1)

    size = np.abs(by_token(clip.embed_text(frozen, packed.tokens))[:, 0]).max(axis=-1)  # [Q, R]
    for k, eot in enumerate(np.asarray(packed.eot)[0]):
        start = eot - packed.position[0, eot]
        slots = np.arange(packed.tokens.shape[1])
        own = (slots >= start) & (slots <= eot)
        assert (size[k, own] > 0).all()
        assert (size[k, ~own] == 0).all()


class FakeDevice:
    """A device with a known memory size, or none."""

    def __init__(self, statistics, platform="gpu"):
        self.memory_stats = lambda: statistics
        self.platform = platform


@pytest.mark.parametrize(
    "device, budget",
    [
        (FakeDevice({"bytes_limit": 16 * 10**9}), 4 * 10**9),
        (FakeDevice(None), None),
        (FakeDevice({}), None),
    ],
)
def test_the_default_budget_is_a_share_of_the_device_s_memory(monkeypatch, device, budget):
    monkeypatch.setattr(jax, "local_devices", lambda: [device, device])
    assert default_budget() == budget


def test_on_a_cpu_the_default_budget_is_a_share_of_the_host_s_memory():
    assert 2**26 < (default_budget() or 0) < 2**46


@pytest.mark.slow
def test_a_budget_bounds_the_memory_of_the_text_tower():
    config = dataclasses.replace(VARIANTS["ViT-B/16"], text_layers=2)  # shapes only
    classes = tokenize_classes("{}.", [f"name {'of ' * (n % 5)}{n}" for n in range(200)])
    context = jax.ShapeDtypeStruct((8, 5, 512), jnp.float32)

    def needed(memory):
        clip = CLIP(config, memory=memory)
        frozen = jax.eval_shape(clip.init, jax.random.key(0))

        @jax.jit
        @jax.grad
        def gradient(context, frozen, classes):
            return jnp.sum(encode_classes(clip, frozen, classes, context) ** 2)

        analysis: Any = gradient.lower(context, frozen, classes).compile().memory_analysis()
        return analysis.temp_size_in_bytes

    budget = 2**27
    whole, chunked = needed(None), needed(budget)
    print(f"MB: {whole / 1e6:.0f}; with a budget of {budget / 1e6:.0f}: {chunked / 1e6:.0f}")
    assert whole > 2 * budget
    assert chunked < 1.5 * budget


def test_recomputed_image_blocks_have_the_same_gradients():
    clip, frozen = CLIP_AND_FROZEN
    images = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
    prompts = 0.3 * jax.random.normal(jax.random.key(1), (2, 3, 32))

    def value_and_gradient(clip):
        def loss(prompts, frozen):
            return jnp.sum(clip.encode_image(frozen, images, prompts) ** 2)

        return jax.jit(jax.value_and_grad(loss))(prompts, frozen)

    expected = value_and_gradient(clip)
    result = value_and_gradient(dataclasses.replace(clip, memory=LITTLE_MEMORY))
    assert relative_difference(result, expected) <= 1e-5


@pytest.mark.slow
def test_recomputed_image_blocks_need_less_memory():
    config = dataclasses.replace(VARIANTS["ViT-B/16"], image_layers=6)  # shapes only
    images = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    prompts = jax.ShapeDtypeStruct((2, 6, 8, 768), jnp.float32)

    def needed(memory):
        clip = CLIP(config, memory=memory)
        frozen = jax.eval_shape(clip.init, jax.random.key(0))

        def loss(prompts, frozen, images):
            tokens = clip.embed_image(frozen, images)

            def iterate(prompts, _):  # as ProMPT does
                features = clip.encode_tokens(frozen, tokens, prompts)
                return prompts + features[:, None, None, :1], jnp.sum(features**2)

            return jnp.sum(jax.lax.scan(iterate, prompts, length=2)[1])

        gradient = jax.jit(jax.grad(loss), compiler_options=sparing_options())
        analysis: Any = gradient.lower(prompts, frozen, images).compile().memory_analysis()
        return analysis.temp_size_in_bytes

    whole, recomputed = needed(None), needed(LITTLE_MEMORY)
    print(f"MB: {whole / 1e6:.0f}; recomputed: {recomputed / 1e6:.0f}")
    # Without the option, XLA recomputes blocks long before their backward passes.
    assert recomputed < whole / (2 if sparing_options() else 1.5)


def test_a_budget_of_zero_is_rejected():
    with pytest.raises(PromptError, match="memory=0 must be at least 1 byte, or None"):
        CLIP(VARIANTS["ViT-B/16"], memory=0)
