"""Packs texts into rows of equal length, which avoids most of the padding."""

import dataclasses
from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from prompt_jax.clip import tokenizer

# More classes per row balance better, but each token's attention covers its whole row.
CLASSES_PER_ROW = 16
# Captions are about four times as long as names.
CAPTIONS_PER_ROW = 4
# With few rows, the row length is a multiple of this: new names often need no new compilation.
STEP = 4
MANY_ROWS = 32
# Caption lengths change in every batch, and each row length is compiled once: row lengths are
# restricted to this many values between two powers of two.
LENGTHS_PER_OCTAVE = 8
# Where other classes shall not need another program: 32, 48, 64, 96, …
FEW_PER_OCTAVE = 2


@flax.struct.dataclass
class PackedTokens:
    """The tokens of K classes after the shared prefix, several classes per row.

    Attributes:
        tokens: int32[N, R], token ids; zeros after a row's last class.
        position: int32[N, R], each token's index within its class. A token attends to as many
            tokens before it.
        eot: int32[N, Q], index of EOT in the row for up to Q classes; 0 for unused entries.
        place: int32[K], index of each class in the flattened `eot`.
        groups: number of groups of N / groups rows, for as many parts of a mesh. The first group
            has the first ceil(K / groups) classes, the second the next, and so on; the last may
            have fewer classes or none, and its other rows are empty.
    """

    tokens: jax.Array
    position: jax.Array
    eot: jax.Array
    place: jax.Array
    groups: int = flax.struct.field(pytree_node=False, default=1)


def pack(
    suffixes: Sequence[Sequence[int]], groups: int = 1, few_lengths: bool = False
) -> PackedTokens:
    """Packs the token ids of K classes, each a list that ends with EOT, into ceil(K / 16) rows.

    The number of rows depends on K and the number of groups only. Their length is that of the
    longest balanced row, rounded up to a multiple of `STEP` if there are fewer than `MANY_ROWS`;
    with `few_lengths`, to one of `FEW_PER_OCTAVE` lengths.
    """
    if few_lengths:
        return _pack(suffixes, groups, CLASSES_PER_ROW, _few_step)
    few = len(suffixes) <= CLASSES_PER_ROW * (MANY_ROWS - 1)
    return _pack(suffixes, groups, CLASSES_PER_ROW, lambda length: STEP if few else 1)


def pack_captions(
    captions: Sequence[Sequence[int]], groups: int = 1, few_lengths: bool = False
) -> PackedTokens:
    """Packs the token ids of a batch of N captions, each a list that ends with EOT.

    Like `pack`, but into ceil(N / 4) rows with one of few lengths.
    """
    step = _few_step if few_lengths else _octave_step
    return _pack(captions, groups, CAPTIONS_PER_ROW, step)


def stack(batches: Sequence[PackedTokens]) -> PackedTokens:
    """Stacks batches of equally many texts along a new first axis, one batch per run."""
    longest = max(packed.tokens.shape[1] for packed in batches)

    def lengthen(rows):
        return np.pad(rows, ((0, 0), (0, longest - rows.shape[1])))

    rows = [
        dataclasses.replace(one, tokens=lengthen(one.tokens), position=lengthen(one.position))
        for one in batches
    ]
    return jax.tree.map(lambda *arrays: jnp.asarray(np.stack(arrays)), *rows)


def make_room(texts: PackedTokens, number: int) -> tuple[PackedTokens, jax.Array]:
    """Inserts free slots for prompts in front of each text's EOT.

    Args:
        texts: packed texts, each ends with EOT.
        number: n free slots per text, at least 1.

    Returns:
        the texts, with token 0 in the free slots; and int32[N, R + n Q], the index of each free
        slot within its text, -1 for all other slots.
    """
    length, per_row = texts.tokens.shape[1], texts.eot.shape[1]
    slot = jnp.arange(length + number * per_row)
    ends = (texts.tokens == tokenizer.EOT).astype(jnp.int32)
    place = slot[:length] + number * jnp.cumsum(ends, axis=1)  # in the longer row
    # The token in each slot. In a free slot it is the next token, which is an EOT.
    source = jax.vmap(jnp.searchsorted, in_axes=(0, None))(place, slot)
    beyond = source == length
    source = jnp.minimum(source, length - 1)

    def at_source(array):
        return jnp.take_along_axis(array, source, axis=1)

    ahead = jnp.where(beyond, 0, at_source(place) - slot)
    free = jnp.where(ahead > 0, number - ahead, -1)
    tokens = jnp.where(beyond | (ahead > 0), 0, at_source(texts.tokens))
    position = at_source(texts.position + number * ends) - ahead
    position = jnp.where(beyond, 0, position)
    eot = texts.eot + number * (1 + jnp.arange(per_row))
    return dataclasses.replace(texts, tokens=tokens, position=position, eot=eot), free


def _octave_step(length):
    return max(STEP, 2 ** (length.bit_length() - 1) // LENGTHS_PER_OCTAVE)


def _few_step(length):
    return max(STEP, 2 ** (length.bit_length() - 1) // FEW_PER_OCTAVE)


def _pack(suffixes, groups, most, find_step):
    """Packs texts into `groups` groups of equally many rows, with up to `most` texts each.

    `find_step` maps the least length of the rows to the rounding step.
    """
    number = len(suffixes)
    of_group = -(-number // groups)
    rows = -(-of_group // most)
    per_row = -(-of_group // rows) if rows else 0
    order: list[list[int]] = []
    for first in range(0, groups * of_group, of_group or 1):
        some = range(first, min(first + of_group, number))
        members = _balance([len(suffixes[k]) for k in some], rows, per_row)
        order += [[first + k for k in row] for row in members]
    length = max((sum(len(suffixes[k]) for k in row) for row in order), default=0)
    step = find_step(length)
    length = -(-length // step) * step
    tokens, position = (np.zeros((len(order), length), np.int32) for _ in range(2))
    eot, place = np.zeros((len(order), per_row), np.int32), np.zeros(number, np.int32)
    for row, classes in enumerate(order):
        end = 0
        for column, k in enumerate(classes):
            start, end = end, end + len(suffixes[k])
            tokens[row, start:end] = suffixes[k]
            position[row, start:end] = np.arange(end - start)
            eot[row, column] = end - 1
            place[k] = row * per_row + column
    arrays = {"tokens": tokens, "position": position, "eot": eot, "place": place}
    return PackedTokens(groups=groups, **jax.tree.map(jnp.asarray, arrays))


def _balance(lengths: list[int], rows: int, per_row: int) -> list[list[int]]:
    """Assigns at most `per_row` texts to each row, with row lengths as even as possible.

    Greedy, longest first. Lengths are counted relative to the shortest text: the shortest texts
    come last and fill all rows evenly.
    """
    shortest = min(lengths, default=0)
    above = np.zeros(rows, int)
    members: list[list[int]] = [[] for _ in range(rows)]
    for k in sorted(range(len(lengths)), key=lambda k: -lengths[k]):
        row = int(np.argmin(above))
        members[row].append(k)
        above[row] += lengths[k] - shortest
        if len(members[row]) == per_row:
            above[row] = np.iinfo(int).max
    return members
