"""Prefill and extend compute the same features as the plain 77-token encoding, at a lower cost."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import largest_difference, random_clip

from data_pipelines.scenes import CLASSES
from prompt_jax.clip import CLIP, VARIANTS, normalize
from prompt_jax.clip.packing import pack
from prompt_jax.clip.text import TextTower, causal, one_class_a_row
from prompt_jax.prompts import ClassTokens, encode_classes, tokenize_classes

SLOTS = 77
SOS, EOT = 62, 63  # in the random CLIP's vocabulary of 64
CLIP_AND_FROZEN = random_clip()
encode = jax.jit(encode_classes, static_argnums=0)


def random_classes(lengths, words_before=0, padding=2):
    """Returns class tokens of random names of these lengths after `words_before` shared words."""
    rng = np.random.default_rng(7)
    suffix = np.zeros((len(lengths), max(lengths) + 1 + padding), np.int32)
    for row, length in zip(suffix, lengths, strict=True):
        row[: length + 1] = [*rng.integers(1, SOS, length), EOT]
    prefix = np.array([SOS, *rng.integers(1, SOS, words_before)], np.int32)
    packed = pack([row[: length + 1] for row, length in zip(suffix, lengths, strict=True)])
    eot = jnp.asarray(lengths, jnp.int32)
    return ClassTokens(jnp.asarray(prefix), jnp.asarray(suffix), eot, packed)


def encode_all_slots(clip, frozen, classes, context=None, deep_prompts=()):
    """Encodes all 77 slots of every class in every block; returns the feature at EOT."""
    tower = TextTower(clip.config, clip.dtype, parent=None)

    def run(step, *args):
        return tower.apply({"params": frozen["text"]}, *args, method=step)

    leading = () if context is None else context.shape[:-2]
    parts = [jnp.broadcast_to(classes.prefix, (classes.number, len(classes.prefix)))]
    parts = [run("embed", parts[0])]
    if context is not None:
        one_per_class = jnp.expand_dims(context, -3)
        parts.append(
            jnp.broadcast_to(one_per_class, (*leading, classes.number, *context.shape[-2:]))
        )
    parts.append(run("embed", classes.suffix))
    parts = [jnp.broadcast_to(p, (*leading, *p.shape[-3:])) for p in parts]
    before = sum(p.shape[-2] for p in parts[:-1])
    padding = SLOTS - before - classes.suffix.shape[-1]
    empty = run("embed", jnp.zeros((classes.number, padding), jnp.int32))
    parts.append(jnp.broadcast_to(empty, (*leading, *empty.shape)))
    x = run("place", jnp.concatenate(parts, axis=-2), jnp.arange(SLOTS))
    for layer in range(clip.config.text_layers):
        if 0 < layer <= len(deep_prompts):
            prompts = deep_prompts[layer - 1]
            x = x.at[..., 1 : 1 + len(prompts), :].set(prompts)
        params = frozen["text"][f"block_{layer}"]
        x = tower.make_block(parent=None).apply({"params": params}, x, causal(SLOTS))
    return run("head", x[..., jnp.arange(classes.number), before + classes.eot, :])


def vectors(*shape, seed=0):
    """Returns random context vectors with the magnitude of trained ones."""
    return 0.3 * jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize(
    "words_before, context, deep_prompts",
    [
        (0, None, None),
        (2, (3, 32), None),
        (0, (4, 5, 32), None),
        (2, (2, 32), (2, 2, 32)),
        (0, (3, 4, 32), (1, 4, 32)),
    ],
    ids=str,
)
def test_shared_prefix_equals_the_77_token_encoding(words_before, context, deep_prompts):
    classes = random_classes([3, 1, 6, 2, 2], words_before)
    context = None if context is None else vectors(*context)
    deep_prompts = None if deep_prompts is None else vectors(*deep_prompts, seed=1)
    clip, frozen = CLIP_AND_FROZEN
    short = encode(clip, frozen, classes, context, deep_prompts)
    deep = () if deep_prompts is None else deep_prompts
    plain = jax.jit(encode_all_slots, static_argnums=0)(clip, frozen, classes, context, deep)
    assert short.shape == plain.shape
    assert float(jnp.std(plain)) > 0.1  # otherwise the difference below means nothing
    assert largest_difference(short, plain) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    "words_before, context, deep_prompts",
    [(2, (3, 32), None), (0, (4, 5, 32), None), (0, (3, 4, 32), (1, 4, 32))],
    ids=str,
)
def test_a_kept_sos_column_changes_neither_features_nor_gradients(
    words_before, context, deep_prompts
):
    clip, frozen = CLIP_AND_FROZEN
    classes = random_classes([3, 1, 6, 2], words_before)
    sos = clip.prefill(frozen, clip.embed_text(frozen, classes.prefix[:1]))
    deep_prompts = None if deep_prompts is None else vectors(*deep_prompts, seed=1)

    def loss(context, classes):
        features = encode(clip, frozen, classes, context, deep_prompts)
        return jnp.sum(normalize(features)[..., 0] ** 2), features

    run = jax.jit(jax.grad(loss, has_aux=True))
    plain, kept = (
        run(vectors(*context), each) for each in (classes, dataclasses.replace(classes, sos=sos))
    )
    assert float(jnp.abs(plain[0]).max()) > 1e-3
    assert largest_difference(plain, kept) <= 1e-5
    other = jax.tree.map(jnp.zeros_like, sos)
    assert (
        largest_difference(run(vectors(*context), dataclasses.replace(classes, sos=other)), plain)
        > 1e-3
    )


def test_encode_text_equals_the_77_token_encoding():
    clip, frozen = CLIP_AND_FROZEN
    classes = random_classes([2, 5, 1])
    tokens = np.concatenate([np.full((3, 1), SOS), np.asarray(classes.suffix)], axis=1)
    features = jax.jit(clip.encode_text)(frozen, jnp.asarray(tokens))
    plain = jax.jit(encode_all_slots, static_argnums=0)(clip, frozen, classes)
    assert largest_difference(features, plain) <= 1e-5


def test_a_class_feature_depends_on_its_tokens_up_to_eot_only():
    clip, frozen = CLIP_AND_FROZEN
    classes = random_classes([3, 1, 5])

    @jax.jit
    @jax.jacrev
    def by_suffix(suffix):
        cache = clip.prefill(frozen, clip.embed_text(frozen, classes.prefix))
        position = one_class_a_row(suffix)
        features = clip.extend(frozen, cache, suffix, position, classes.eot[:, None])
        return jnp.sum(features**2, axis=(-2, -1))

    by_class = by_suffix(clip.embed_text(frozen, classes.suffix))
    size = np.abs(np.asarray(by_class)).max(axis=-1)  # [feature of class, class, slot]
    for k, eot in enumerate(np.asarray(classes.eot)):
        assert (size[k, k, : eot + 1] > 0).all()
        assert (size[k, k, eot + 1 :] == 0).all()
        assert (np.delete(size[k], k, axis=0) == 0).all()


def test_the_prefix_does_not_depend_on_the_classes():
    clip, frozen = CLIP_AND_FROZEN
    prefix = vectors(6, 32)
    prefill = jax.jit(clip.prefill)
    shorter, longer = prefill(frozen, prefix[:4]), prefill(frozen, prefix)
    assert largest_difference(shorter, [(k[:4], v[:4]) for k, v in longer]) <= 1e-6


def test_bucket_padding_does_not_change_features():
    clip, frozen = CLIP_AND_FROZEN
    tight, padded = (random_classes([3, 1, 4], padding=padding) for padding in (0, 9))
    features = [encode(clip, frozen, classes) for classes in (tight, padded)]
    assert largest_difference(*features) <= 1e-6


def test_other_names_in_the_same_bucket_need_no_compilation():
    clip, frozen = random_clip(vocab_size=49408)
    traces = []

    @jax.jit
    def encode_counted(frozen, classes):
        traces.append(classes.suffix.shape)
        return encode_classes(clip, frozen, classes)

    first = encode_counted(frozen, tokenize_classes("{}.", ["cat", "fire truck"]))
    second = encode_counted(frozen, tokenize_classes("{}.", ["palm tree", "dog"]))
    assert len(traces) == 1
    assert largest_difference(first, second) > 0.01
    encode_counted(frozen, tokenize_classes("{}.", ["cat", "a very long name of a class"]))
    assert len(traces) == 2


def test_bfloat16_is_close_to_float32():
    clip, frozen = CLIP_AND_FROZEN
    half = CLIP(clip.config, jnp.dtype("bfloat16"))
    classes, context = random_classes([3, 1, 5]), vectors(4, 32)
    exact, rough = (encode(c, frozen, classes, context) for c in (clip, half))
    assert rough.dtype == jnp.float32
    cosines = jnp.sum(normalize(exact) * normalize(rough), axis=-1)
    assert float(cosines.min()) > 0.999


@pytest.mark.slow
def test_at_most_an_eighth_of_the_77_token_flops():
    clip = CLIP(VARIANTS["ViT-B/16"])  # 12 layers, 512 wide, 8 heads; shapes only, no memory
    frozen = jax.eval_shape(clip.init, jax.random.key(0))
    classes = tokenize_classes("{}.", CLASSES[:100])
    context = jax.ShapeDtypeStruct((4, 5, 512), jnp.float32)

    def flops(encode):
        def run(frozen, context):
            return encode(clip, frozen, classes, context)

        analysis = jax.jit(run).lower(frozen, context).compile().cost_analysis()
        return (analysis or {}).get("flops", math.nan)

    shared, plain = flops(encode_classes), flops(encode_all_slots)
    print(f"GFLOP: {shared / 1e9:.0f}; 77 tokens: {plain / 1e9:.0f}, {plain / shared:.1f} times")
    assert shared <= plain / 8
