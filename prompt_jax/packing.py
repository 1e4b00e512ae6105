"""Class names packed into rows of equal length, so that short ones do not pay for long ones."""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

# Fuller rows balance better, but every token is compared with its whole row.
CLASSES_PER_ROW = 16
# Row lengths of few rows are multiples of this: other names then often need no new compilation.
STEP = 4
MANY_ROWS = 32


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
    number = len(suffixes)
    rows = -(-number // CLASSES_PER_ROW)
    per_row = -(-number // rows)
    order = _balance([len(suffix) for suffix in suffixes], rows, per_row)
    lengths = [sum(len(suffixes[k]) for k in row) for row in order]
    step = STEP if rows < MANY_ROWS else 1
    length = -(-max(lengths) // step) * step
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
    shortest = min(lengths)
    above = np.zeros(rows, int)
    members: list[list[int]] = [[] for _ in range(rows)]
    for k in sorted(range(len(lengths)), key=lambda k: -lengths[k]):
        row = int(above.argmin())
        members[row].append(k)
        above[row] += lengths[k] - shortest
        if len(members[row]) == per_row:
            above[row] = np.iinfo(int).max
    return members
