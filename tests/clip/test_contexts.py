"""Class-specific contexts, name positions, depths and context words."""

import jax
import jax.numpy as jnp
import pytest
from reference import CLASSES, FROZEN, TINY, largest_difference
from rows import BY_FIGURES, arrays, task_of

from prompt_jax import methods
from prompt_jax.clip import normalize, tokenizer
from prompt_jax.errors import PromptError
from prompt_jax.methods.images import coop, ivlp, maple, vpt
from prompt_jax.prompts import words_after


def encode(method, prompts, task):
    """Returns the classes' text features."""
    return jax.jit(method.prepare)(prompts, task)


@pytest.mark.slow
def test_a_part_of_the_trained_classes_keeps_its_contexts():
    row = BY_FIGURES["coop_csc"]
    method, prompts = methods.get("coop"), arrays(row, "param")
    every = encode(method, prompts, task_of(row))
    chosen = [4, 1]
    names = [CLASSES[i] for i in chosen]
    part = methods.make_task(method, TINY, FROZEN, names, row.settings, trained=chosen)
    assert largest_difference(encode(method, prompts, part), every[jnp.asarray(chosen)]) <= 1e-6


def test_a_class_without_its_own_context_is_rejected():
    settings = coop.Settings(class_specific=True)
    unseen = [0, methods.UNSEEN]
    with pytest.raises(PromptError, match=r"1 of 2 classes, e.g. 'dog'.*few_shot"):
        methods.make_task(
            methods.get("coop"), TINY, FROZEN, ["cat", "dog"], settings, trained=unseen
        )


def test_class_specific_contexts_start_from_the_words_or_at_random():
    method = methods.get("coop")
    words = coop.Settings(context_length=4, context_words="a photo of a", class_specific=True)
    task = methods.make_task(method, TINY, FROZEN, CLASSES[:2], words)
    context = method.init(jax.random.key(0), task)["context"]
    assert (context == context[:1]).all()
    task = task.replace(settings=coop.Settings(context_length=4, class_specific=True))
    context = method.init(jax.random.key(0), task)["context"]
    assert float(jnp.abs(context[0] - context[1]).min()) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "position, text",
    [("middle", "a photo {} of forest."), ("front", "{} a photo of forest.")],
)
def test_a_context_of_word_embeddings_equals_the_plain_text(position, text):
    """With word embeddings as context, every layout equals a plain text.

    The names differ in length.
    """
    names = ["cat", "yellow lady slipper orchid"]
    method = methods.get("coop")
    settings = coop.Settings(context_length=4, class_specific=True, name_position=position)
    task = methods.make_task(method, TINY, FROZEN, names, settings)
    words = TINY.embed_text(FROZEN, jnp.asarray(tokenizer.encode("a photo of forest")))
    context = jnp.broadcast_to(words, (len(names), *words.shape))
    tokens = jnp.asarray(tokenizer.tokenize([text.format(name) for name in names]))
    expected = normalize(jax.jit(TINY.encode_text)(FROZEN, tokens))
    assert largest_difference(encode(method, {"context": context}, task), expected) <= 1e-5


def test_insert_puts_new_tokens_after_each_row_s_position():
    tokens = jnp.asarray([[[1.0], [2], [3]], [[4], [5], [6]], [[7], [8], [9]]])
    new = jnp.broadcast_to(jnp.asarray([[10.0], [20]]), (3, 2, 1))
    result = coop.insert(tokens, new, jnp.asarray([0, 2, 3]))[..., 0]
    assert result.tolist() == [[10, 20, 1, 2, 3], [4, 5, 10, 20, 6], [7, 8, 9, 10, 20]]


@pytest.mark.parametrize(
    "name, settings, shapes",
    [
        ("vpt", vpt.Settings(), [(3, 8, 64)]),
        ("ivlp", ivlp.Settings(), [(4, 2, 64), (3, 2, 64)]),
        ("maple", maple.Settings(), [(2, 64), (2, 2, 64), (3, 64), (3, 64, 64)]),
    ],
)
def test_prompts_are_at_most_as_deep_as_the_tower(name, settings, shapes):
    method = methods.get(name)

    def init(rng):
        return method.init(rng, methods.make_task(method, TINY, FROZEN, ["cat"], settings))

    prompts = jax.eval_shape(init, jax.random.key(0))
    assert [leaf.shape for leaf in jax.tree.leaves(prompts)] == shapes


def test_two_vectors_replace_two_words_and_the_rest_stays():
    method = methods.get("ivlp")
    task = methods.make_task(method, TINY, FROZEN, CLASSES, ivlp.Settings(depth=1))
    prompts = method.init(jax.random.key(0), task)
    words = TINY.embed_text(FROZEN, jnp.asarray(tokenizer.encode("a photo of a")))
    assert (prompts["text"][0] == words[:2]).all()
    assert (words_after(TINY, FROZEN, 2, "a photo of a") == words[2:]).all()
    assert words_after(TINY, FROZEN, 5, "a photo of a").shape == (0, 64)
    # Without deep prompts this is the text of zero-shot CLIP.
    zero_shot = methods.get("zero_shot")
    expected = methods.make_task(zero_shot, TINY, FROZEN, CLASSES, zero_shot.Settings()).constants
    assert largest_difference(encode(method, prompts, task), expected) <= 1e-6


@pytest.mark.parametrize(
    "settings, field",
    [
        (lambda: coop.Settings(context_length=0), "context_length=0"),
        (lambda: coop.Settings(name_position="centre"), "name_position 'centre'"),
        (lambda: vpt.Settings(vision_prompts=0), "vision_prompts=0"),
        (lambda: ivlp.Settings(depth=0), "depth=0"),
        (lambda: maple.Settings(context_length=-1), "context_length=-1"),
    ],
)
def test_settings_out_of_range_are_rejected(settings, field):
    with pytest.raises(PromptError, match=field):
        settings()
