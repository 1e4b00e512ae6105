"""Texts packed into rows of equal length, so that short ones do not pay for long ones."""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from prompt_jax.clip import tokenizer

# Fuller rows balance better, but every token is compared with its whole row.
CLASSES_PER_ROW = 16
# Captions are some four times as long as names.
CAPTIONS_PER_ROW = 4
# Row lengths of few rows are multiples of this: other names then often need no new compilation.
STEP = 4
MANY_ROWS = 32
# Rows of captions, which are others in every batch, have one of so many lengths from a power of two
# to the next: a program is compiled for each length that comes up.
LENGTHS_PER_OCTAVE = 8


@flax.struct.dataclass
class PackedTokens:
    """The own tokens of K classes, several classes in a row, one behind the other.

    Attributes:
        tokens: int32[N, R], token ids; zeros behind a row's last class.
        position: int32[N, R], each token's place within its own class, from 0. A token sees as
            many tokens before it.
        eot: int32[N, Q], where in its row each of up to Q classes ends; 0 where there is none.
        place: int32[K], where each class stands among the N * Q of `eot`.
    """

    tokens: jax.Array
    position: jax.Array
    eot: jax.Array
    place: jax.Array


def pack(suffixes: Sequence[Sequence[int]]) -> PackedTokens:
    """Packs K classes' own token ids, each a list that ends with EOT, into ceil(K / 16) rows.

    The number of rows depends on K alone. Their length is what balanced rows need, rounded up to a
    multiple of four unless there are many rows.
    """
    rows = -(-len(suffixes) // CLASSES_PER_ROW)
    return _pack(suffixes, rows, lambda length: STEP if rows < MANY_ROWS else 1)


def pack_captions(captions: Sequence[Sequence[int]], devices: int = 1) -> PackedTokens:
    """Packs a batch of N captions' own token ids, each a list that ends with EOT.

    As `pack`, but into ceil(N / 4) rows of one of few lengths, whatever the captions.

    Args:
        captions: N of them.
        devices: over how many devices the rows are to be split; their number is a multiple.
    """
    rows = -(-len(captions) // CAPTIONS_PER_ROW)
    return _pack(captions, -(-rows // devices) * devices, _octave_step)


def stack(batches: Sequence[PackedTokens]) -> PackedTokens:
    """Batches of equally many texts, one a run, with a first axis over the runs."""
    longest = max(packed.tokens.shape[1] for packed in batches)

    def lengthen(rows):
        return np.pad(rows, ((0, 0), (0, longest - rows.shape[1])))

    rows = [
        PackedTokens(lengthen(one.tokens), lengthen(one.position), one.eot, one.place)
        for one in batches
    ]
    return jax.tree.map(lambda *arrays: jnp.asarray(np.stack(arrays)), *rows)


def make_room(texts: PackedTokens, number: int) -> tuple[PackedTokens, jax.Array]:
    """The same texts with so many free slots in front of each one's EOT, for prompts.

    Args:
        texts: each ends with EOT.
        number: n, at least 1.

    Returns:
        the texts, whose free slots hold token 0; and int32[N, R + n Q], which of its text's free
        slots each slot is, from 0; -1 where it is none.
    """
    length, per_row = texts.tokens.shape[1], texts.eot.shape[1]
    slot = jnp.arange(length + number * per_row)
    ends = (texts.tokens == tokenizer.EOT).astype(jnp.int32)
    place = slot[:length] + number * jnp.cumsum(ends, axis=1)  # in the longer row
    # The token that stands in each slot, or else the next: before it, an EOT, the slot is free.
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
    return PackedTokens(tokens, position, eot, texts.place), free


def _octave_step(length):
    return max(STEP, 2 ** (length.bit_length() - 1) // LENGTHS_PER_OCTAVE)


def _pack(suffixes, rows, find_step):
    """In so many rows, whose length is a multiple of what `find_step` says of the least one."""
    number = len(suffixes)
    per_row = -(-number // rows) if rows else 0
    order = _balance([len(suffix) for suffix in suffixes], rows, per_row)
    lengths = [sum(len(suffixes[k]) for k in row) for row in order]
    length = max(lengths, default=0)
    step = find_step(length)
    length = -(-length // step) * step
    tokens, position = (np.zeros((rows, length), np.int32) for _ in range(2))
    eot, place = np.zeros((rows, per_row), np.int32), np.zeros(number, np.int32)
    for row, classes in enumerate(order):
        end = 0
        for column, k in enumerate(classes):
            start, end = end, end + len(suffixes[k])
            tokens[row, start:end] = suffixes[k]
            position[row, start:end] = np.arange(end - start)
            eot[row, column] = end - 1
            place[k] = row * per_row + column
    return PackedTokens(*map(jnp.asarray, (tokens, position, eot, place)))


def _balance(lengths: list[int], rows: int, per_row: int) -> list[list[int]]:
    """Which classes stand in each row: at most `per_row`, the rows' tokens as even as can be.

    Longest first, into the row that is least above so many shortest names: those come last, and
    fill every row alike.
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
