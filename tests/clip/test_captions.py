"""Captions are truncated to the free slots and packed into few shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import FROZEN, TINY, largest_difference
from video_rows import BY_FIGURES, CAPTIONS, prompts_of, task_of

from prompt_jax import methods
from prompt_jax.clip import normalize, tokenizer
from prompt_jax.clip.packing import pack, pack_captions, stack
from prompt_jax.clip.text import TextTower, causal
from prompt_jax.clip.vocabulary.captions import tokenize_captions
from prompt_jax.errors import PromptError

ROW = BY_FIGURES["vop"]
TASK, PROMPTS = task_of(ROW), prompts_of(ROW)
LONG = " ".join(CAPTIONS * 6)
encode = jax.jit(methods.get_encoders("vop").encode_texts)


@jax.jit
def encode_all_slots(text_prompts, tokens):
    """Computes the plain form of VoP's text tower on token ids int[N, 77 - n].

    All 77 slots are computed; before each layer with prompts, they are inserted after SOS, and
    their outputs are removed after it.
    """
    tower = TextTower(TINY.config, TINY.dtype, parent=None)
    number = text_prompts.shape[1]

    def run(step, *args):
        return tower.apply({"params": FROZEN["text"]}, *args, method=step)

    x = run("embed", tokens)
    for layer in range(TINY.config.text_layers):
        prompted = layer < len(text_prompts)
        if prompted:
            prompts = jnp.broadcast_to(text_prompts[layer], (len(x), *text_prompts.shape[1:]))
            x = jnp.concatenate([x[:, :1], prompts, x[:, 1:]], axis=1)
        if layer == 0:
            x = run("place", x, jnp.arange(x.shape[1]))
        params = {"params": FROZEN["text"][f"block_{layer}"]}
        x = tower.make_block(parent=None).apply(params, x, causal(x.shape[1]))
        if prompted:
            x = jnp.delete(x, slice(1, 1 + number), axis=1, assume_unique_indices=True)
    eot = jnp.argmax(tokens == tokenizer.EOT, axis=1)
    return normalize(run("head", x[jnp.arange(len(x)), eot]))


def padded(captions, prompts):
    """Returns token ids int32[N, 77 - n] with SOS."""
    rows = [[tokenizer.SOS, *own] for own in tokenize_captions(captions, prompts).tokens]
    return np.array([row + [0] * (77 - prompts - len(row)) for row in rows], np.int32)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_prompts_in_the_first_layers_equal_the_plain_form(depth):
    captions = [*CAPTIONS, LONG]
    prompts = {"text_prompts": 10 * PROMPTS["text_prompts"][:depth]}
    packed = pack_captions(tokenize_captions(captions, 4).tokens)
    features = encode(prompts, TASK, packed)
    plain = encode_all_slots(prompts["text_prompts"], padded(captions, 4))
    assert largest_difference(features, plain) <= 2e-6
    assert largest_difference(features, encode({}, TASK, packed)) > 0.01


def test_a_caption_has_the_same_feature_alone_and_packed():
    tokens = tokenize_captions([*CAPTIONS, LONG] * 5, 4).tokens
    together = encode(PROMPTS, TASK, pack_captions(tokens))
    split = encode(PROMPTS, TASK, pack_captions(tokens, groups=4))
    alone = [encode(PROMPTS, TASK, pack_captions([own]))[0] for own in tokens[:4]]
    assert largest_difference(together, split) <= 1e-5
    assert largest_difference(together, jnp.stack(alone * 5)) <= 1e-5


def test_prompts_take_slots_and_long_captions_are_truncated_with_a_note():
    rows = tokenize_captions([LONG, "cooking", LONG], text_prompts=8)
    assert rows.cut == [0, 2]
    assert len(rows.tokens[0]) == 77 - 8 - 1  # SOS is not included
    assert rows.tokens[0][:-1] == tokenizer.encode(LONG)[:67]
    assert rows.tokens[0][-1] == rows.tokens[1][-1] == tokenizer.EOT
    assert tokenize_captions(["cooking " * 75]).cut == []
    assert tokenize_captions(["cooking " * 76]).cut == [0]


def test_prompts_that_leave_no_slot_are_rejected():
    with pytest.raises(PromptError, match="text_prompts=75 leaves no slot for a word.*use 74"):
        tokenize_captions(["cooking"], text_prompts=75)
    assert len(tokenize_captions(["cooking ham"], text_prompts=74).tokens[0]) == 2


def test_batches_of_captions_have_few_shapes_and_little_padding():
    rng = np.random.default_rng(0)
    shapes, share = set(), []
    for _ in range(100):
        lengths = rng.integers(6, 25, 32)
        packed = pack_captions([[1] * length for length in lengths])
        shapes.add(packed.tokens.shape)
        share.append(1 - lengths.sum() / packed.tokens.size)
    assert len(shapes) <= 5
    assert np.mean(share) < 0.1


def test_rows_of_captions_are_split_over_devices():
    packed = pack_captions([[1, 2]] * 20, groups=8)
    assert packed.tokens.shape[0] == 8
    assert len(packed.place) == 20


def test_stacked_batches_have_equal_row_lengths():
    batches = [pack_captions([[1] * n, [2] * 3]) for n in (4, 30, 9)]
    stacked = stack(batches)
    assert stacked.tokens.shape == (3, 1, 36)
    for number, one in enumerate(batches):
        length = one.tokens.shape[1]
        assert largest_difference(stacked.tokens[number, :, :length], one.tokens) == 0
        assert largest_difference(stacked.eot[number], one.eot) == 0
        assert not np.asarray(stacked.tokens[number, :, length:]).any()


def test_no_captions_give_empty_rows():
    assert pack([]).tokens.shape == (0, 0)
