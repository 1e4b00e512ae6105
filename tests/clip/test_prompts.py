"""Class tokens, context vectors and generators."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import FROZEN, TINY, adapt, largest_difference, random_clip

from prompt_jax import methods
from prompt_jax.clip import tokenizer
from prompt_jax.errors import PromptError
from prompt_jax.methods.images import promptsrc
from prompt_jax.prompts import (
    BUCKETS,
    PHOTO,
    encode_classes,
    generate,
    generate_layers,
    init_context,
    init_generator,
    init_linear,
    tokenize_classes,
)
from prompt_jax.text import class_texts

NAMES = ["cat", "fire truck", "giant_schnauzer"]


def whole_prompts(classes):
    """Returns the token ids of every class from SOS to EOT, lists of int."""
    prefix = np.asarray(classes.prefix).tolist()
    rows = zip(np.asarray(classes.suffix), np.asarray(classes.eot), strict=True)
    return [prefix + row[: eot + 1].tolist() for row, eot in rows]


@pytest.mark.parametrize(
    "template, shared",
    [
        (PHOTO, ["a", "photo", "of", "a"]),
        ("{}.", []),
        ("{} texture.", []),
        ("a photo of a {}, a type of pet.", ["a", "photo", "of", "a"]),
    ],
)
def test_prefix_and_suffix_are_the_template_split_before_the_name(template, shared):
    classes = tokenize_classes(template, NAMES)
    texts = [template.format(name.replace("_", " ")) for name in NAMES]
    expected = [[tokenizer.SOS, *tokenizer.encode(text), tokenizer.EOT] for text in texts]
    assert whole_prompts(classes) == expected
    assert classes.prefix.tolist() == [tokenizer.SOS, *tokenizer.encode(" ".join(shared))]
    assert classes.number == len(NAMES)
    assert classes.suffix.shape[1] in BUCKETS


def test_a_common_start_of_names_is_not_part_of_the_prefix():
    classes = tokenize_classes(PHOTO, ["sea lion", "sea turtle"])
    assert len(classes.prefix) == 5


def test_the_prefix_ends_before_a_token_that_joins_template_and_name():
    classes = tokenize_classes("a foot{}.", ["ball", "print"])
    expected = [tokenizer.encode(text) for text in ("a football.", "a footprint.")]
    assert [row[1:-1] for row in whole_prompts(classes)] == expected


def test_padding_is_zero_and_lengths_are_bucketed():
    for words in (1, 3, 9, 20):
        classes = tokenize_classes("{}.", ["cat", " ".join(["cat"] * words)])
        suffix, eot = np.asarray(classes.suffix), np.asarray(classes.eot)
        assert suffix.shape[1] == min(b for b in BUCKETS if b >= words + 2)
        assert suffix[0, eot[0]] == tokenizer.EOT
        assert (suffix[0, eot[0] + 1 :] == 0).all()


def test_a_prompt_may_fill_all_slots_but_no_more():
    fits = tokenize_classes("{}", [" ".join(["cat"] * 75)])
    assert 1 + fits.suffix.shape[1] == 77
    with pytest.raises(PromptError, match="takes 78 tokens; the text tower has 77"):
        tokenize_classes("{}", ["dog", " ".join(["cat"] * 76)])


@pytest.mark.parametrize("taken", [0, 4, 16, 40])
def test_every_name_that_fits_after_a_context_is_accepted(taken):
    room = 77 - 1 - taken - 2  # SOS, the full stop and EOT
    fits = tokenize_classes("{}.", ["dog", "cat " * room], taken=taken)
    assert 1 + taken + fits.suffix.shape[1] == 77
    of_context = rf", {taken} of them context vectors" if taken else ""
    message = rf"class 'cat cat .*takes 78 tokens{of_context}; the text tower has 77"
    with pytest.raises(PromptError, match=message):
        tokenize_classes("{}.", ["dog", "cat " * (room + 1)], taken=taken)


@pytest.mark.parametrize("name", methods.METHODS)
def test_methods_declare_the_slots_of_their_context(name):
    """Tests that the longest name that `make_task` accepts can be encoded by the method."""
    clip, frozen = random_clip()
    method = methods.get(name)
    # By default, these two do not fill the template.
    fills = {
        "caps_adapter": {"classifier": "dataset"},
        "description": {"mode": "cupl", "templates": "dataset"},
    }
    settings = method.Settings(**fills.get(name, {}))
    texts = [PHOTO, *(promptsrc.TEACHER_TEMPLATES if name == "promptsrc" else ())]
    words = max(len(tokenizer.encode(text.replace("{}", ""))) for text in texts) - 1
    room = 77 - 3 - max(method.context_slots(settings), words)

    def run(words, images):
        names = ["cat " * words, "dog"]
        texts = class_texts.stand_in(method.texts, names)
        task = methods.make_task(method, clip, frozen, names, settings, texts=texts)
        prompts = method.init(jax.random.key(0), task)
        if method.adaptation:
            prompts = adapt(method, prompts, task, jnp.ones((1, 2, 16)), [0, 1])
        prepared = method.prepare(prompts, task)
        return method.forward(
            prompts, prepared, task, methods.encode_input(method, task, images)
        ).logits

    images = jnp.zeros((1, clip.config.image_size, clip.config.image_size, 3))
    assert jax.eval_shape(lambda x: run(room, x), images).shape[1:] == (1, 2)
    with pytest.raises(PromptError, match="cat cat .*takes 78 tokens"):
        jax.eval_shape(lambda x: run(room + 1, x), images)


def test_a_method_without_declared_slots_uses_its_true_length():
    """A name of 49 tokens after a context of 26 fits; padded to a bucket it would not."""
    clip, frozen = random_clip()

    def prepare(prompts, task):
        return encode_classes(task.clip, task.frozen, task.names, prompts)

    method = methods.get("zero_shot")._replace(prepare=prepare)
    context = jnp.zeros((26, clip.config.text_width))
    for words, fits in ((47, True), (49, False)):
        names = ["cat " * words, "dog"]
        task = methods.make_task(method, clip, frozen, names, method.Settings())
        if fits:
            assert jax.eval_shape(prepare, context, task).shape == (2, clip.config.embed_dim)
        else:
            with pytest.raises(PromptError, match="context and class names take 78 tokens"):
                jax.eval_shape(prepare, context, task)


@pytest.mark.parametrize(
    "template, names, message",
    [
        ("a photo.", NAMES, "template='a photo.' must contain"),
        ("{} and {}", NAMES, "must contain"),
        (PHOTO, [], "at least one class name"),
    ],
)
def test_invalid_templates_and_names_are_rejected(template, names, message):
    with pytest.raises(PromptError, match=message):
        tokenize_classes(template, names)


def test_context_and_names_that_exceed_the_slots_are_rejected():
    clip, frozen = random_clip()
    classes = tokenize_classes("{}.", ["cat"])
    with pytest.raises(PromptError, match=r"take 79 tokens, more than the text tower's 77"):
        encode_classes(clip, frozen, classes, jnp.zeros((74, 32)))


def test_context_words_are_last():
    words = "a photo of a"
    context = init_context(jax.random.key(0), TINY, FROZEN, 6, words)
    random = init_context(jax.random.key(0), TINY, FROZEN, 6)
    embedded = FROZEN["text"]["token_embedding"][jnp.asarray(tokenizer.encode(words))]
    assert float(jnp.abs(embedded).max()) > 0
    assert (context[2:] == embedded).all()
    assert (context[:2] == random[:2]).all()


def test_random_context_is_normal_with_standard_deviation_of_a_fiftieth():
    context = init_context(jax.random.key(0), TINY, FROZEN, 100)
    assert context.shape == (100, 64)
    assert float(jnp.std(context)) == pytest.approx(0.02, rel=0.05)


def test_more_words_than_vectors_are_rejected():
    with pytest.raises(PromptError, match="3 vectors .* take 4 tokens"):
        init_context(jax.random.key(0), TINY, FROZEN, 3, "a photo of a")


@pytest.mark.parametrize("copies, bias_shape", [(None, (200,)), (5, (5, 200))])
def test_linear_layers_are_initialized_like_pytorch(copies, bias_shape, torch):
    layer = init_linear(jax.random.key(0), 64, 200, copies)
    assert layer["kernel"].shape == (64, 200)
    assert layer["bias"].shape == bias_shape
    torch.manual_seed(0)
    theirs = torch.nn.Linear(64, 200)
    for part, tensor in {"kernel": theirs.weight, "bias": theirs.bias}.items():
        ours, other = layer[part], tensor.detach()
        assert float(jnp.abs(ours).max()) <= 1 / 8
        assert float(jnp.abs(ours).max()) == pytest.approx(float(other.abs().max()), rel=0.05)
        assert float(jnp.std(ours)) == pytest.approx(float(other.std()), rel=0.15)


def torch_generator(torch, generator, layer=None):
    """Returns the generator as torch modules, with one layer's biases if there are several."""
    modules = []
    for name in ("linear1", "linear2"):
        kernel, bias = (np.array(generator[name][part]) for part in ("kernel", "bias"))
        module = torch.nn.Linear(*kernel.shape)
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(kernel.T.copy()))
            module.bias.copy_(torch.from_numpy(bias if layer is None else bias[layer]))
        modules.append(module)
    return torch.nn.Sequential(modules[0], torch.nn.ReLU(), modules[1])


def test_generator_equals_a_torch_sequential(torch):
    generator = init_generator(jax.random.key(0), 32, 24)
    assert generator["linear1"]["kernel"].shape == (32, 2)
    x = np.random.default_rng(0).normal(size=(3, 32)).astype(np.float32)
    expected = torch_generator(torch, generator)(torch.from_numpy(x)).detach().numpy()
    assert largest_difference(generate(generator, jnp.asarray(x)), expected) <= 1e-6


def test_generator_with_a_bias_per_layer_equals_one_torch_sequential_per_layer(torch):
    generator = init_generator(jax.random.key(0), 32, 24, copies=3)
    x = np.random.default_rng(0).normal(size=(2, 4, 32)).astype(np.float32)
    y = generate_layers(generator, jnp.asarray(x))
    assert y.shape == (2, 3, 4, 24)
    for layer in range(3):
        expected = torch_generator(torch, generator, layer)(torch.from_numpy(x)).detach().numpy()
        assert largest_difference(y[:, layer], expected) <= 1e-6


@pytest.mark.parametrize(
    "name", ["zero_shot", "vop_p", "vilt_independent", "a5", "vifi_vl_prompting"]
)
def test_methods_of_videos_accept_every_name_that_fits(name):
    clip, frozen = random_clip()
    encoders = methods.get_encoders(name)
    method, settings = methods.recognize(encoders), encoders.Settings()
    own = tokenizer.encode(encoders.template(settings, PHOTO).replace("{}", "cat"))
    room = 77 - 2 - encoders.text_prompts(settings) - (len(own) - 1)

    def task(words):
        return methods.make_task(method, clip, frozen, ["cat " * words, "dog"], settings)

    task(room)
    with pytest.raises(PromptError, match=r"class 'cat cat .* takes 78 tokens.*has 77: shorten"):
        task(room + 1)
