"""PromptSRC: teacher, regularizers against PyTorch, and the average over epochs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import BATCH, CLASSES, FIGURES, FROZEN, TINY, largest_difference

from prompt_jax import methods
from prompt_jax.clip import CLIP, VARIANTS, normalize, tokenizer
from prompt_jax.errors import PromptError
from prompt_jax.methods.images import promptsrc
from prompt_jax.prompts import encode_prompted_image
from prompt_jax.training import optim, train

METHOD = promptsrc.METHOD
SETTINGS = promptsrc.Settings(depth=3, average_mean=2.0, average_std=0.7)
# The figures' weights contain only the words of their prompts; the templates have others.
VOCABULARY = jax.random.normal(jax.random.key(0), FROZEN["text"]["token_embedding"].shape)


@pytest.fixture(scope="module")
def task():
    return methods.make_task(METHOD, TINY, FROZEN, CLASSES, SETTINGS)


@pytest.fixture(scope="module")
def prompts():
    figures = FIGURES["ivlp"]
    vision, text = figures["param.vision_prompts"], figures["param.text_prompts"]
    return {"text": jnp.asarray(text), "vision": jnp.asarray(vision)}


@pytest.mark.slow
def test_the_teacher_is_the_normalized_mean_over_imagenet_templates():
    frozen = {**FROZEN, "text": {**FROZEN["text"], "token_embedding": 0.02 * VOCABULARY}}
    names = ["lynx", "night_snake"]
    task = methods.make_task(METHOD, TINY, frozen, names, SETTINGS)
    assert len(set(promptsrc.TEACHER_TEMPLATES)) == 60
    total = np.zeros((2, 32))
    for template in promptsrc.TEACHER_TEMPLATES:
        texts = [template.replace("{}", name.replace("_", " ")) for name in names]
        rows = [[tokenizer.SOS, *tokenizer.encode(text), tokenizer.EOT] for text in texts]
        tokens = np.array([row + [0] * (24 - len(row)) for row in rows])
        total += np.asarray(_encode_text(frozen, tokens))
    assert largest_difference(task.constants, normalize(jnp.asarray(total))) <= 1e-5


@jax.jit
def _encode_text(frozen, tokens):
    return TINY.encode_text(frozen, tokens)


@pytest.mark.slow
def test_regularizers_equal_the_published_formulas(task, prompts, torch):
    functional = torch.nn.functional
    images = BATCH["image"]

    @jax.jit
    def run(prompts, task):
        text = METHOD.prepare(prompts, task)
        plain = TINY.encode_image(task.frozen, images)
        seen = encode_prompted_image(TINY, task.frozen, images, prompts["vision"])
        output = METHOD.forward(prompts, text, task, images)
        return (text, normalize(plain), normalize(seen), task.constants), output

    features, output = run(prompts, task)
    assert largest_difference(output.logits[-1], FIGURES["ivlp"]["logits"]) <= 1e-4
    text, plain, prompted, teacher = (torch.tensor(np.asarray(x)) for x in features)
    ours, theirs = 100 * prompted @ text.T, 100 * plain @ teacher.T
    divergence = functional.kl_div(
        functional.log_softmax(ours, dim=1),
        functional.log_softmax(theirs, dim=1),
        reduction="sum",
        log_target=True,
    )
    expected = {
        "text": 25 * functional.l1_loss(text, teacher),
        "image": 10 * functional.l1_loss(prompted, plain),
        "logits": divergence / ours.numel(),
    }
    assert output.losses.keys() == expected.keys()
    for name, value in expected.items():
        assert float(output.losses[name]) == pytest.approx(float(value), rel=1e-4), name


@pytest.mark.slow
def test_the_result_is_the_weighted_mean_of_the_epochs_prompts(task, prompts):
    epochs, steps_per_epoch = 3, 2
    weights = promptsrc.epoch_weights(SETTINGS, epochs)
    inner = optim.sgd(0.01, METHOD.trains(prompts, SETTINGS))
    optimizer = METHOD.optimizer(inner, SETTINGS, epochs, steps_per_epoch)
    step = train.make_step(METHOD, optimizer)
    state = train.init_state(jax.tree.map(jnp.copy, prompts), optimizer)
    expected = jax.tree.map(np.zeros_like, prompts)
    for weight in weights:
        for _ in range(steps_per_epoch):
            state, _ = step(state, task, BATCH)
        expected = jax.tree.map(lambda a, p, w=weight: a + w * p, expected, state.prompts)
    assert largest_difference(state.optimizer.average, expected) <= 1e-5
    assert largest_difference(state.prompts, expected) > 1e-3


def test_published_weights_are_a_gaussian_around_epoch_15():
    epoch = np.arange(1, 21)
    density = np.exp(-((epoch - 15) ** 2) / 2) / np.sqrt(2 * np.pi)
    weights = promptsrc.epoch_weights(promptsrc.Settings(), 20)
    np.testing.assert_allclose(weights, density / density.sum(), rtol=1e-12)


def test_weights_of_few_epochs_are_the_last_ones():
    weights = promptsrc.epoch_weights(promptsrc.Settings(average_mean=500.0), 3)
    np.testing.assert_allclose(weights, [0, 0, 1], atol=1e-12)


@pytest.mark.parametrize("wrong", [{"text_weight": -1.0}, {"average_std": 0.0}])
def test_settings_out_of_range_are_rejected_by_name(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(PromptError, match=rf"settings\.{name}={value} must"):
        promptsrc.Settings(**wrong)


def test_parameter_count_on_vit_b16():
    clip = CLIP(VARIANTS["ViT-B/16"])
    settings = promptsrc.Settings()

    def init(rng):
        # IVLP's task, without the teacher, whose 60 templates take long to trace.
        ivlp = methods.get("ivlp")
        return METHOD.init(rng, methods.make_task(ivlp, clip, clip.init(rng), ["a", "b"], settings))

    prompts = jax.eval_shape(init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(prompts)) == 4 * 9 * (512 + 768)
