"""Layers run as a loop compute what unrolled layers compute."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import CLASSES, adapt
from tiny import CONFIG
from video_rows import frames_of

from prompt_jax import methods
from prompt_jax.clip import CLIP, loading
from prompt_jax.clip.blocks import convolve_channels
from prompt_jax.clip.layers import STACKED, scans, stack_layers, unstack_layers
from prompt_jax.clip.packing import pack_captions
from prompt_jax.clip.vocabulary.captions import tokenize_captions
from prompt_jax.errors import PromptError
from prompt_jax.text import class_texts
from prompt_jax.training.train import loss_and_output

LAYERS = 4  # at least two similar layers before the last
UNROLLED = CLIP(dataclasses.replace(CONFIG, image_layers=LAYERS, text_layers=LAYERS))
SCAN = dataclasses.replace(UNROLLED, scan_layers=True)
FROZEN = jax.jit(UNROLLED.init)(jax.random.key(0))
STACK = stack_layers(FROZEN)
SIZE, DIM = CONFIG.image_size, CONFIG.embed_dim
DEPTHS = ("depth", "vision_depth")  # settings that leave later layers without prompts
TEXTS = ("a dog runs", "two cats")
QUICK = ("coop", "vop_f_c")  # the other methods are slow to compile twice


def of_all(names) -> list:
    """Returns all methods as parameters, most of them slow."""
    return [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in names]


def loops(function, *args) -> list[int]:
    """Returns the lengths of all loops in a function."""

    def inner(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "scan":
                yield equation.params["length"]
            for value in equation.params.values():
                for each in value if isinstance(value, (list, tuple)) else [value]:
                    if hasattr(each, "jaxpr"):
                        yield from inner(each.jaxpr)
                    elif hasattr(each, "eqns"):
                        yield from inner(each)

    return list(inner(jax.make_jaxpr(function)(*args).jaxpr))


def run_both(method: methods.Method, kind: str, settings: Any, texts=None) -> tuple[list, list]:
    """Returns losses and gradients of a step, unrolled and as a loop."""
    rng = np.random.default_rng(0)
    frames = (frames_of(method, settings, 2),) if kind == "videos" else ()
    views = (len(method.views),) if method.views else ()
    images = rng.normal(size=(2, *views, *frames, SIZE, SIZE, 3)).astype(np.float32)
    batch = {"image": images, "label": jnp.arange(2)} | ({} if texts is None else {"text": texts})
    prompts, results = None, []
    for clip, frozen in ((UNROLLED, FROZEN), (SCAN, STACK)):
        tower = methods.tower_for(method, clip, kind)
        names = CLASSES if texts is None else ()
        task = methods.make_task(
            method, tower, frozen, names, settings, texts=class_texts.stand_in(method.texts, names)
        )
        if prompts is None:
            prompts = method.init(jax.random.key(1), task)
            if method.adaptation:
                shots = rng.normal(size=(1, 8, DIM)).astype(np.float32)
                labels = np.arange(8) % len(CLASSES)
                prompts = adapt(method, prompts, task, shots, labels)
            # Away from 0, where some methods start and gradients vanish.
            prompts = jax.tree.map(
                lambda x: x + 0.02 * jax.random.normal(jax.random.key(2), x.shape), prompts
            )

        def loss(prompts, task):
            return loss_and_output(method, prompts, task, batch)[0]

        function = jax.value_and_grad(loss) if jax.tree.leaves(prompts) else loss
        results.append(jax.tree.leaves(jax.jit(function)(prompts, task)))
    return results[0], results[1]


def check_equal(unrolled: list, scanned: list) -> None:
    """Checks that arrays differ by at most 1e-5 of the largest entry.

    Small arrays, e.g. gradients that would be zero without rounding, by 1e-6 of the largest of all.
    """
    least = 1e-6 * max(float(np.abs(each).max()) for each in unrolled)
    for expected, found in zip(unrolled, scanned, strict=True):
        most = max(1e-5 * np.abs(expected).max(), least)
        np.testing.assert_allclose(found, expected, rtol=0, atol=most)


def shallow(settings: Any) -> Any:
    """Returns settings with prompts in two layers only."""
    fields = {field.name for field in dataclasses.fields(settings)}
    return dataclasses.replace(settings, **{name: 2 for name in DEPTHS if name in fields})


@pytest.mark.parametrize("name", of_all(methods.METHODS))
def test_image_methods_train_the_same_as_a_loop(name):
    method = methods.get(name)
    check_equal(*run_both(method, "images", shallow(method.Settings())))


@pytest.mark.parametrize("name", of_all(methods.ENCODERS))
def test_video_methods_train_the_same_as_a_loop(name):
    encoders = methods.get_encoders(name)
    settings = shallow(encoders.Settings())
    tokens = tokenize_captions(TEXTS, encoders.text_prompts(settings)).tokens
    check_equal(*run_both(methods.retrieve(encoders), "videos", settings, pack_captions(tokens)))


@pytest.mark.slow
def test_prompts_in_all_layers_train_the_same_as_a_loop():
    for name in ("pro_mpt", "maple", "ivlp"):
        method = methods.get(name)
        check_equal(*run_both(method, "images", method.Settings()))


def test_similar_layers_run_in_one_loop():
    images = jnp.zeros((1, SIZE, SIZE, 3))
    tokens = jnp.zeros((2, 8), jnp.int32)
    assert loops(SCAN.encode_image, STACK, images) == [LAYERS - 1]
    assert loops(SCAN.encode_text, STACK, tokens) == [LAYERS - 1] * 2  # prefill and extend
    assert not loops(UNROLLED.encode_image, FROZEN, images)


def test_prompts_that_enter_some_layers_need_one_loop():
    images, prompts = jnp.zeros((1, SIZE, SIZE, 3)), jnp.zeros((2, 3, CONFIG.image_width))
    assert loops(SCAN.encode_image, STACK, images, prompts) == [LAYERS - 1]


def test_single_layers_replace_the_stacked_ones():
    images = jax.random.normal(jax.random.key(3), (1, SIZE, SIZE, 3))
    changed = {"qkv": {"bias": FROZEN["image"]["block_1"]["qkv"]["bias"] + 1}}
    image = FROZEN["image"]["block_1"] | {"qkv": FROZEN["image"]["block_1"]["qkv"] | changed["qkv"]}
    expected = UNROLLED.encode_image(
        FROZEN | {"image": FROZEN["image"] | {"block_1": image}}, images
    )
    stacked = STACK | {"image": STACK["image"] | {"block_1": changed}}
    np.testing.assert_allclose(SCAN.encode_image(stacked, images), expected, atol=1e-5)
    assert np.abs(SCAN.encode_image(STACK, images) - expected).max() > 1e-3


def test_stacking_is_undone_without_loss():
    assert STACK["image"][STACKED]["fc"]["bias"].shape == (LAYERS, CONFIG.image_mlp)
    restored = unstack_layers(STACK)
    assert jax.tree.structure(restored) == jax.tree.structure(FROZEN)
    jax.tree.map(np.testing.assert_array_equal, restored, FROZEN)
    assert unstack_layers(FROZEN) == FROZEN
    known = loading.fingerprint(UNROLLED.config, FROZEN)
    assert loading.fingerprint(UNROLLED.config, STACK) == known


def test_accelerators_run_layers_as_a_loop():
    assert [scans(platform) for platform in ("cpu", "gpu", "cuda", "tpu")] == [False, *[True] * 3]


def test_a_loop_takes_kernels_in_the_compute_type():
    clip = dataclasses.replace(SCAN, dtype=jnp.dtype("bfloat16"))
    block = clip.arrange(FROZEN)["image"][STACKED]
    assert block["fc"]["kernel"].dtype == jnp.bfloat16
    assert block["fc"]["bias"].dtype == block["ln_1"]["scale"].dtype == jnp.float32
    assert clip.arrange(FROZEN, exact=True)["image"][STACKED]["fc"]["kernel"].dtype == jnp.float32
    assert UNROLLED.arrange(FROZEN) is FROZEN
    images = jax.random.normal(jax.random.key(3), (2, SIZE, SIZE, 3))
    rounded, converted = (clip.encode_image(clip.arrange(FROZEN, x), images) for x in (False, True))
    np.testing.assert_array_equal(rounded, converted)


def test_the_first_text_layer_runs_once_for_all_images():
    context = jnp.zeros((2, 3, CONFIG.text_width))  # of two images
    tokens, eot = jnp.zeros((5, 4, CONFIG.text_width)), jnp.ones((5, 1), int)
    position = jnp.zeros((5, 4), int)

    def encode(frozen):
        return SCAN.extend(frozen, SCAN.prefill(frozen, context), tokens, position, eot)

    # Its tokens do not depend on the image; the contexts that they attend to do.
    assert loops(encode, STACK) == [LAYERS - 1, LAYERS - 2]


@pytest.mark.parametrize("context", [(), (2,)])
def test_the_library_s_attention_is_the_one_written_out(context):
    library = dataclasses.replace(UNROLLED, attention="xla")
    images = jax.random.normal(jax.random.key(3), (2, SIZE, SIZE, 3))
    np.testing.assert_allclose(
        library.encode_image(FROZEN, images), UNROLLED.encode_image(FROZEN, images), atol=1e-5
    )
    prefix = jax.random.normal(jax.random.key(4), (*context, 3, CONFIG.text_width))
    tokens = jax.random.normal(jax.random.key(5), (2, 4, CONFIG.text_width))
    position, eot = jnp.array([[0, 1, 0, 1], [0, 1, 2, 3]]), jnp.array([[1, 3], [3, 0]])

    def encode(clip):
        return clip.extend(FROZEN, clip.prefill(FROZEN, prefix), tokens, position, eot)

    np.testing.assert_allclose(encode(library), encode(UNROLLED), atol=1e-5)


def test_an_unknown_form_of_attention_is_rejected():
    with pytest.raises(PromptError, match="attention"):
        dataclasses.replace(UNROLLED, attention="flash")


def before_each_sublayer(tower: str, width: int) -> dict:
    """Returns random adapters in front of both sublayers of all layers of a tower."""
    rng = np.random.default_rng(5)

    def draw(*shape):
        return jnp.asarray(0.2 * rng.normal(size=shape), jnp.float32)

    def adapter():
        down = {"kernel": draw(width, 4), "bias": draw(4)}
        return {"down": down, "up": {"kernel": draw(4, width), "bias": draw(width)}}

    names = ("before_attention", "before_mlp")
    return {tower: {f"block_{n}": {name: adapter() for name in names} for n in range(LAYERS)}}


def overlay(tree: Any, own: Any) -> Any:
    """Returns parameters with those of `own` added."""
    if not isinstance(own, dict):
        return own
    return {**tree, **{name: overlay(tree.get(name, {}), each) for name, each in own.items()}}


def adapted(adapter: dict, x: jax.Array) -> jax.Array:
    """Returns tokens with the output of an adapter added."""
    hidden = x @ adapter["down"]["kernel"] + adapter["down"]["bias"]
    hidden = jax.nn.gelu(hidden, approximate=False)
    return x + hidden @ adapter["up"]["kernel"] + adapter["up"]["bias"]


def test_adapters_in_front_of_the_sublayers_of_the_image_tower():
    images = jax.random.normal(jax.random.key(3), (2, 3, SIZE, SIZE, 3))
    own = before_each_sublayer("image", CONFIG.image_width)
    tokens = UNROLLED.embed_image(FROZEN, images)
    for number in range(LAYERS):
        layer, each = UNROLLED.image_layers(FROZEN)[number], own["image"][f"block_{number}"]
        tokens = adapted(each["before_attention"], tokens)
        tokens = tokens + layer.self_attention(tokens)
        tokens = layer.add_mlp(adapted(each["before_mlp"], tokens))
    expected = UNROLLED.image_head(FROZEN, tokens)
    for clip, frozen in ((UNROLLED, FROZEN), (SCAN, STACK)):
        found = clip.encode_image(overlay(frozen, own), images)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(UNROLLED.encode_image(FROZEN, images) - expected).max() > 1e-3


def test_adapters_in_front_of_the_sublayers_of_the_text_tower():
    own = before_each_sublayer("text", CONFIG.text_width)
    tokens = jnp.array([[49406, 5, 6, 49407, 0], [49406, 7, 49407, 0, 0]])
    x = FROZEN["text"]["token_embedding"][tokens] + FROZEN["text"]["position_embedding"][:5]
    mask = jnp.tril(jnp.ones((5, 5), bool))
    for number in range(LAYERS):
        layer, each = UNROLLED.text_layers(FROZEN)[number], own["text"][f"block_{number}"]
        x = adapted(each["before_attention"], x)
        x = layer.add_attention(x, *layer.key_value(x), mask)
        x = layer.add_mlp(adapted(each["before_mlp"], x))
    expected = UNROLLED.text_head(FROZEN, x[jnp.arange(2), jnp.array([3, 2])])
    for clip, frozen in ((UNROLLED, FROZEN), (SCAN, STACK)):
        found = clip.encode_text(overlay(frozen, own), tokens)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_step_between_the_sublayers_sees_all_frames():
    images = jax.random.normal(jax.random.key(3), (2, 3, SIZE, SIZE, 3))
    weights = jnp.linspace(0.5, 1.5, LAYERS)

    def encode(clip, frozen):
        def step(run, tokens, weight):
            def mix(x):
                return x + weight * jnp.roll(x, 1, axis=1)

            return run(tokens, between=mix)

        tokens = clip.embed_image(frozen, images)
        return clip.image_head(frozen, clip.run_image_layers(frozen, step, tokens, list(weights)))

    tokens = UNROLLED.embed_image(FROZEN, images)
    for number, weight in enumerate(weights):
        layer = UNROLLED.image_layers(FROZEN)[number]
        tokens = tokens + layer.self_attention(tokens)
        tokens = layer.add_mlp(tokens + weight * jnp.roll(tokens, 1, axis=1))
    expected = UNROLLED.image_head(FROZEN, tokens)
    little = dataclasses.replace(UNROLLED, memory=1)
    for clip, frozen in ((UNROLLED, FROZEN), (SCAN, STACK), (little, FROZEN)):
        np.testing.assert_allclose(encode(clip, frozen), expected, atol=1e-5)
    assert loops(lambda frozen: encode(SCAN, frozen), STACK) == [LAYERS - 1]


def test_hidden_words_are_read_before_the_head():
    tokens = jnp.array([[5, 6, 49407], [7, 49407, 0]])
    embedded, slots = FROZEN["text"]["token_embedding"][tokens], jnp.array([[2, 0], [1, 0]])
    position = jnp.broadcast_to(jnp.arange(3), tokens.shape)
    sos = UNROLLED.prefill(FROZEN, FROZEN["text"]["token_embedding"][49406][None])
    hidden = UNROLLED.extend(FROZEN, sos, embedded, position, slots, hidden=True)
    assert hidden.shape == (2, 2, CONFIG.text_width)
    features = UNROLLED.extend(FROZEN, sos, embedded, position, slots)
    np.testing.assert_allclose(UNROLLED.text_head(FROZEN, hidden), features, atol=1e-6)


@pytest.mark.parametrize("sizes, axes", [((3,), (1,)), ((3, 3), (1, 2)), ((5, 1), (2, 1))])
def test_depthwise_convolutions_pad_with_zeros(sizes, axes):
    x = jax.random.normal(jax.random.key(6), (2, 4, 3, 8))
    kernel, bias = jax.random.normal(jax.random.key(7), (*sizes, 8)), jnp.arange(8.0)
    moved = jnp.moveaxis(x, axes, range(1, 1 + len(axes)))
    rest = moved.reshape(2, *moved.shape[1 : 1 + len(axes)], -1, 8)
    letters = "XY"[: len(axes)]
    expected = jnp.stack(
        [
            jax.lax.conv_general_dilated(
                rest[..., n, :],
                kernel[..., None, :],
                (1,) * len(axes),
                "SAME",
                dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
                feature_group_count=8,
            )
            for n in range(rest.shape[-2])
        ],
        axis=-2,
    )
    expected = jnp.moveaxis(expected.reshape(moved.shape), range(1, 1 + len(axes)), axes) + bias
    found = convolve_channels(x, kernel, bias, axes)
    np.testing.assert_allclose(found, expected, atol=1e-5)
