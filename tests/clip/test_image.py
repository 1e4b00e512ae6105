"""The image tower: patch embedding, blocks, the last layer, and prompts."""

import jax
import jax.numpy as jnp
import pytest
from reference import largest_difference, random_clip

from prompt_jax.clip import CLIP, blocks, normalize
from prompt_jax.clip.blocks import attend
from prompt_jax.clip.image import ImageTower

CLIP_AND_FROZEN = random_clip()
IMAGES = jax.random.normal(jax.random.key(3), (3, 16, 16, 3))
LAYERS, PATCHES, WIDTH, SLOTS = 3, 16, 32, 4
encode_image = jax.jit(CLIP.encode_image, static_argnums=0)


def deep_prompts(depth, *leading):
    """Returns random prompts for the first `depth` layers."""
    return jax.random.normal(jax.random.key(4), (*leading, depth, SLOTS, WIDTH))


def full_block(clip, frozen, layer, tokens):
    """Applies block `layer` to all tokens, in the last layer too."""
    block = ImageTower(clip.config, clip.dtype, parent=None).make_block(parent=None)
    return block.apply({"params": frozen["image"][f"block_{layer}"]}, tokens)


@jax.jit
def encode_plainly(frozen, images, prompts=None):
    """Applies every layer to all tokens, with prompts between the class token and the patches."""
    clip, _ = CLIP_AND_FROZEN
    tokens = clip.embed_image(frozen, images)
    for layer in range(LAYERS):
        if prompts is not None and layer < prompts.shape[1]:
            image_tokens = jnp.concatenate([tokens[:, :1], tokens[:, -PATCHES:]], axis=1)
            tokens = jnp.concatenate(
                [image_tokens[:, :1], prompts[:, layer], image_tokens[:, 1:]], axis=1
            )
        tokens = full_block(clip, frozen, layer, tokens)
    return clip.image_head(frozen, tokens)


def test_patch_embedding_equals_a_strided_convolution():
    clip, frozen = CLIP_AND_FROZEN
    image = frozen["image"]
    convolved = jax.lax.conv_general_dilated(
        IMAGES,
        image["patch_embedding"]["kernel"],
        window_strides=(4, 4),
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    tokens = convolved.reshape(3, PATCHES, WIDTH) + image["position_embedding"][1:]
    mean, variance = tokens.mean(-1, keepdims=True), tokens.var(-1, keepdims=True)
    expected = (tokens - mean) / jnp.sqrt(variance + 1e-5)
    expected = expected * image["ln_pre"]["scale"] + image["ln_pre"]["bias"]
    assert largest_difference(clip.embed_image(frozen, IMAGES)[:, 1:], expected) <= 1e-5


def test_calling_the_steps_equals_encode_image():
    clip, frozen = CLIP_AND_FROZEN

    @jax.jit
    def drive(frozen, images):
        tokens = clip.embed_image(frozen, images)
        for layer in range(LAYERS):
            tokens = clip.image_block(frozen, layer, tokens)
        assert tokens.shape[1] == 1  # only the class token leaves the last block
        return clip.image_head(frozen, tokens)

    assert largest_difference(drive(frozen, IMAGES), encode_image(clip, frozen, IMAGES)) <= 1e-6


def test_all_layers_share_one_trace(monkeypatch):
    clip, frozen = CLIP_AND_FROZEN
    traced = []

    def counted(query, *seen):
        traced.append(query.shape[1])
        return attend(query, *seen)

    monkeypatch.setattr(blocks, "attend", counted)
    images = jnp.zeros((13, 16, 16, 3))  # a batch size that no other test traces
    jax.eval_shape(clip.encode_image, frozen, images)
    assert traced == [1 + PATCHES, 1]  # three layers, of which the last computes one token only
    traced.clear()
    jax.eval_shape(clip.encode_image, frozen, images, deep_prompts(2, 13))
    # The second layer overwrites the slots of the first, which therefore computes none for them.
    assert traced == [1 + PATCHES, 1 + PATCHES + SLOTS, 1]


def test_dropped_prompt_tokens_still_are_attended_to():
    clip, frozen = CLIP_AND_FROZEN
    tokens = jnp.concatenate([clip.embed_image(frozen, IMAGES), deep_prompts(1, 3)[:, 0]], axis=1)
    seen = clip.image_block(frozen, 0, tokens, queries=1 + PATCHES)
    assert largest_difference(seen, full_block(clip, frozen, 0, tokens)[:, : 1 + PATCHES]) <= 1e-6
    unseen = clip.image_block(frozen, 0, tokens[:, : 1 + PATCHES])
    assert largest_difference(seen, unseen) > 0.01


def test_computing_only_the_class_token_in_the_last_layer_is_exact():
    clip, frozen = CLIP_AND_FROZEN
    pruned, plain = encode_image(clip, frozen, IMAGES), encode_plainly(frozen, IMAGES)
    assert float(jnp.std(plain)) > 0.1
    assert largest_difference(pruned, plain) <= 1e-5


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_prompt_slots_are_overwritten_up_to_the_depth_and_kept_after_it(depth):
    clip, frozen = CLIP_AND_FROZEN
    prompts = deep_prompts(depth, len(IMAGES))
    features = encode_image(clip, frozen, IMAGES, prompts)
    assert largest_difference(features, encode_plainly(frozen, IMAGES, prompts)) <= 1e-5
    assert largest_difference(features, encode_image(clip, frozen, IMAGES)) > 0.01


def test_kept_prompt_slots_change_the_output():
    clip, frozen = CLIP_AND_FROZEN

    @jax.jit
    def without_slots_after_the_first_layer(frozen, prompts):
        tokens = clip.embed_image(frozen, IMAGES)
        tokens = jnp.concatenate([tokens, prompts[:, 0]], axis=1)
        for layer in range(LAYERS):
            tokens = clip.image_block(frozen, layer, tokens)[:, : 1 + PATCHES]
        return clip.image_head(frozen, tokens)

    prompts = deep_prompts(1, len(IMAGES))
    dropped = without_slots_after_the_first_layer(frozen, prompts)
    assert largest_difference(dropped, encode_image(clip, frozen, IMAGES, prompts)) > 0.01


def test_the_order_of_prompts_within_a_layer_does_not_matter():
    clip, frozen = CLIP_AND_FROZEN
    prompts = deep_prompts(2, len(IMAGES))
    features = encode_image(clip, frozen, IMAGES, prompts)
    shuffled = encode_image(clip, frozen, IMAGES, prompts[:, :, jnp.array([2, 0, 3, 1])])
    assert largest_difference(features, shuffled) <= 1e-5
    layers_swapped = encode_image(clip, frozen, IMAGES, prompts[:, ::-1])
    assert largest_difference(features, layers_swapped) > 0.01


def test_prompts_without_an_image_axis_apply_to_all_images():
    clip, frozen = CLIP_AND_FROZEN
    prompts = deep_prompts(2)
    shared = encode_image(clip, frozen, IMAGES, prompts)
    repeated = encode_image(clip, frozen, IMAGES, jnp.stack([prompts] * len(IMAGES)))
    assert largest_difference(shared, repeated) <= 1e-6


def test_embedded_prompts_pass_ln_pre_without_a_position():
    clip, frozen = CLIP_AND_FROZEN
    prompts = deep_prompts(1)
    tokens = clip.embed_image(frozen, IMAGES, prompts)
    assert tokens.shape == (3, 1 + PATCHES + SLOTS, WIDTH)
    centred = prompts[0] - prompts[0].mean(-1, keepdims=True)
    expected = centred / jnp.sqrt(prompts[0].var(-1, keepdims=True) + 1e-5)
    expected = expected * frozen["image"]["ln_pre"]["scale"] + frozen["image"]["ln_pre"]["bias"]
    for image_tokens in tokens[:, 1 + PATCHES :]:
        assert largest_difference(image_tokens, expected) <= 1e-5


def test_bfloat16_is_close_to_float32():
    clip, frozen = CLIP_AND_FROZEN
    half = CLIP(clip.config, jnp.dtype("bfloat16"))
    exact, rough = (encode_image(c, frozen, IMAGES, deep_prompts(2)) for c in (clip, half))
    assert rough.dtype == jnp.float32
    cosines = jnp.sum(normalize(exact) * normalize(rough), axis=-1)
    assert float(cosines.min()) > 0.999
