"""Words of texts that are masked and guessed from videos, as in M²-CLIP."""

import dataclasses

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from action_rows import FIGURES, m2clip_tree
from reference import CLASSES, FROZEN, TINY, largest_difference
from reference import FIGURES as OF_METHODS
from video_rows import VIDEOS

from prompt_jax import methods
from prompt_jax.clip import CLIP, normalize, tokenizer
from prompt_jax.errors import PromptError
from prompt_jax.heads import masked_words
from prompt_jax.methods.video import m2clip
from prompt_jax.training import optim, train

LIST = " ".join(f"word{index}" for index in range(15))
SETTINGS = m2clip.Settings(hidden=16, head_dropout=0.0, words=LIST)
EXPECTED = FIGURES["m2clip_mlm"]
WIDE = CLIP(dataclasses.replace(TINY.config, embed_dim=64))
METHOD = methods.recognize(m2clip.ENCODERS)
KEY = jax.random.key(0)


def wide_frozen():
    """Returns the tiny CLIP with projections as wide as the text tower."""
    arrays = OF_METHODS["m2clip_mlm"]
    projections = {"image": "clip.visual.proj", "text": "clip.text_projection"}
    return FROZEN | {
        tower: FROZEN[tower] | {"projection": {"kernel": jnp.asarray(arrays[name])}}
        for tower, name in projections.items()
    }


def in_pairs(ours, kind):
    """Returns (path, our array, the figures' array) of all arrays in the figures."""
    ours, expected = (flax.traverse_util.flatten_dict(x, sep="/") for x in (ours, EXPECTED[kind]))
    assert ours.keys() == expected.keys()
    return [(path, ours[path], expected[path]) for path in ours]


def task_of(settings=SETTINGS, clip=WIDE):
    frozen = wide_frozen() if clip is WIDE else FROZEN
    return methods.make_task(METHOD, clip, frozen, CLASSES, settings)


def masked():
    """Returns the texts of the figures with their masked words."""
    tokens, labels = EXPECTED["mlm_tokens"][:, 1:], EXPECTED["mlm_labels"][:, 1:]
    slots = np.argsort(labels < 0, axis=1, kind="stable")[:, :3]  # the first two are masked
    targets = np.take_along_axis(labels, slots, axis=1)
    eot = np.argmax(tokens, axis=1)
    arrays = tokens, eot, slots, np.where(targets < 0, -1, targets)
    return masked_words.Masked(*(jnp.asarray(each, jnp.int32) for each in arrays))


def with_masks():
    """Returns the method with the masks of the figures in place of random ones."""

    def learn(prompts, prepared, task, videos, labels, rng):
        return m2clip.compute_terms(prompts, prepared, task, videos, labels, rng, masked())

    return METHOD._replace(learn=learn)


def test_the_loss_gradients_and_three_steps_equal_the_reference():
    method, task = with_masks(), task_of()
    start = jax.tree.map(jnp.asarray, EXPECTED["param"])
    batch = {"image": VIDEOS, "label": jnp.asarray(EXPECTED["video_labels"])}

    @jax.jit
    def run(prompts, task, batch):
        def loss(prompts):
            return train.loss_and_output(method, prompts, task, batch)

        return jax.value_and_grad(loss, has_aux=True)(prompts)

    (loss, output), gradients = run(start, task, batch)
    assert float(loss) == pytest.approx(float(EXPECTED["loss"]), abs=5e-5)
    assert largest_difference(output.logits[0], EXPECTED["logits"]) <= 1e-4
    guessed = float(EXPECTED["mlm_loss"]) / 10
    assert float(output.losses["words"]) == pytest.approx(guessed, abs=1e-6)
    for path, ours, reference in in_pairs(gradients, "grad"):
        assert largest_difference(ours, reference) <= 1e-4 * np.abs(reference).max(), path

    trains, decays = method.trains(start, SETTINGS), method.decays(start, SETTINGS)
    optimizer = optim.scale_rates(optim.adamw(1e-3, trains, 0.01, decays=decays), trains)
    end, state = start, optimizer.init(start)
    for expected in EXPECTED["adamw_losses"]:
        (loss, _), gradients = run(end, task, batch)
        assert float(loss) == pytest.approx(float(expected), rel=3e-4)
        updates, state = optimizer.update(gradients, state, end)
        end = optax.apply_updates(end, updates)
    (loss, _), _ = run(end, task, batch)
    assert float(loss) == pytest.approx(float(EXPECTED["adamw_loss_after"]), rel=3e-4)
    starts = {path: array for path, array, _ in in_pairs(start, "adamw3")}
    off, moved = [], []
    for path, ours, reference in in_pairs(end, "adamw3"):
        off.append(np.ravel(ours - reference))
        moved.append(np.ravel(reference - starts[path]))
    off, moved = (np.sqrt(np.mean(np.concatenate(parts) ** 2)) for parts in (off, moved))
    assert off <= 2e-4 * moved


def test_guesses_equal_the_reference():
    prompts, task = jax.tree.map(jnp.asarray, EXPECTED["param"]), task_of()
    frames, _ = jax.jit(m2clip.encode_frames)(prompts, task, VIDEOS)
    assert largest_difference(frames, EXPECTED["frame_features"]) <= 2e-5
    frozen = m2clip.add_text_adapters(prompts, task)
    texts, hidden = masked_words.encode(WIDE, frozen, masked())
    expected = jnp.asarray(EXPECTED["text_features_of_videos"])
    assert largest_difference(normalize(texts), normalize(expected)) <= 1e-6
    logits = masked_words.guess(WIDE, task.frozen, prompts["words"], hidden, frames)
    found = logits[:, :2].reshape(6, -1)
    assert largest_difference(found, EXPECTED["mlm_logits"]) <= 1e-4
    # A guess depends on the video.
    other = masked_words.guess(WIDE, task.frozen, prompts["words"], hidden, frames[::-1])
    assert largest_difference(logits, other) > 1e-4


def test_words_of_the_list_are_found_with_their_tokens():
    words = masked_words.find_words(
        ["A video of Abseiling, video", "nothing"], ["video", "abseiling"]
    )
    parts = tokenizer.encode("abseiling")
    assert len(parts) > 1
    assert words.first.tolist() == [[1, 3, 4 + len(parts)], [0, 0, 0]]
    assert words.length.tolist() == [[1, len(parts), 1], [0, 0, 0]]
    assert words.word.tolist() == [[0, 1, 0], [-1, -1, -1]]
    every = masked_words.mask(words, jnp.array([1, 0]), 1.0, KEY)
    (instead,) = tokenizer.encode("mask")
    comma = tokenizer.encode(",")
    row = tokenizer.encode("a") + [instead] + tokenizer.encode("of") + [instead] * len(parts)
    row += [*comma, instead, tokenizer.EOT]
    assert every.tokens[1].tolist() == row and every.eot[1] == len(row) - 1
    assert every.targets.tolist() == [[-1, -1, -1], [0, 1, 0]]
    some = masked_words.mask(words, jnp.zeros(2000, int), 0.15, KEY)
    assert float(jnp.mean(some.targets >= 0)) == pytest.approx(0.15, abs=0.02)
    unmasked = np.asarray(some.targets < 0).all(axis=1)
    assert (np.asarray(some.tokens)[unmasked] == np.asarray(words.tokens[0])).all()


def test_a_list_is_read_with_indices_or_without():
    assert m2clip.Settings(words="Jump 1\nrun 0\n").words == "run jump"
    assert m2clip.Settings(words=" run  jump").words == "run jump"
    again = m2clip.Settings(words="run jump")
    assert dataclasses.replace(again, hidden=3).words == "run jump"


def test_training_masks_words_of_the_classes():
    words = " ".join(name.lower().replace("_", " ").split()[0] for name in CLASSES)
    settings = dataclasses.replace(SETTINGS, words=" ".join(dict.fromkeys(words.split())))
    task = task_of(dataclasses.replace(settings, mask_probability=1.0))
    prompts = METHOD.init(KEY, task)
    batch = {"image": VIDEOS, "label": jnp.array([1, 4, 1])}
    _, output = train.loss_and_output(METHOD, prompts, task, batch)
    number = len(settings.words.split())
    # Guesses are even at the start, up to the small random kernels.
    assert float(output.losses["words"]) == pytest.approx(0.1 * np.log(number), rel=0.1)
    forward = METHOD.forward(prompts, METHOD.prepare(prompts, task), task, VIDEOS)
    assert not forward.losses  # nothing is masked in testing


def test_no_masked_word_is_no_loss():
    logits, none = jnp.ones((2, 3, 4)), jnp.full((2, 3), -1)
    assert float(masked_words.loss(logits, none)) == 0
    one = none.at[1, 2].set(3)
    assert float(masked_words.loss(logits, one)) == pytest.approx(np.log(4))


def test_backbones_and_lists_that_do_not_fit_are_rejected():
    with pytest.raises(PromptError, match="as wide as its text tower, 64; they have 32"):
        METHOD.init(KEY, task_of(clip=TINY))
    task = task_of(dataclasses.replace(SETTINGS, words="zebra lynx"))
    batch = {"image": VIDEOS, "label": jnp.array([1, 4, 1])}
    with pytest.raises(PromptError, match="no text of a class has a word of settings.words"):
        train.loss_and_output(METHOD, METHOD.init(KEY, task), task, batch)


def test_arrays_of_the_figures_are_those_of_the_method():
    fresh = jax.eval_shape(lambda rng: METHOD.init(rng, task_of()), KEY)
    expected = m2clip_tree(lambda name: OF_METHODS["m2clip_mlm"][f"param.{name}"])
    assert jax.tree.map(jnp.shape, fresh) == jax.tree.map(jnp.shape, expected)
