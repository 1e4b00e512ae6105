"""Training batches with a position that can be saved and restored."""

import sys
from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol

import numpy as np

from prompt_jax.errors import DataError
from prompt_jax.inputs.draws import check_training, share, shuffled_rows

Batch = dict[str, np.ndarray]


class TrainingBatches(Protocol):
    """The interface of the training loop to its batches; see `Batches`."""

    def __next__(self) -> dict[str, Any]: ...

    def get_state(self) -> dict[str, Any]: ...

    def state_after(self, batches: int) -> dict[str, Any]: ...

    def set_state(self, state: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class Positioned(Iterator[Batch]):
    """Batches 0 to `total` - 1; each depends only on its number."""

    def __init__(self, total: int):
        self._total = total
        self._position = 0

    def get_state(self) -> dict[str, int]:
        """Returns the number of the next batch, for `set_state`; can be kept as JSON."""
        return {"next_index": self._position}

    def state_after(self, batches: int) -> dict[str, int]:
        """Returns the state after `batches` batches from the start."""
        return {"next_index": batches}

    def set_state(self, state: dict[str, int]) -> None:
        """Continues at a state from `get_state`.

        Raises:
            DataError: the state is invalid, or after the last batch.
        """
        position = state.get("next_index")
        if not isinstance(position, int) or not 0 <= position <= self._total:
            raise DataError(
                f"saved position {state}: next_index must be from 0 to {self._total}; the "
                "position belongs to other data, or to another batch_size"
            )
        self.close()
        self._position = position

    def close(self) -> None:
        """Stops reading; a later `next` starts again."""


class Batches(Positioned):
    """Batches from a generator."""

    def __init__(self, read: Callable[[range], Generator[Batch]], total: int = sys.maxsize):
        """Takes a generator function of batch numbers, which is called at the first `next`."""
        super().__init__(total)
        self._read = read
        self._reader: Generator[Batch] | None = None

    def __next__(self) -> Batch:
        """Returns the next batch; an error does not advance the position."""
        if self._position == self._total:
            raise StopIteration
        if self._reader is None:
            self._reader = self._read(range(self._position, self._total))
        try:
            batch = next(self._reader)
        except Exception:
            self.close()
            raise
        self._position += 1
        return batch

    def close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()


def feature_batches(
    features: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    seed: int,
    num_epochs: int | None = None,
    shard_index: int = 0,
    shard_count: int = 1,
) -> Batches:
    """Returns training batches of cached features, in the order of images of the same seed.

    Epoch e takes every example's view e mod V.

    Args:
        features: float32[V, n, d], V views of the n examples in their order; of videos' frames
            float32[V, n, F, d].
        labels: int32[n].
        batch_size: examples per batch, of all hosts together.
        seed: of the order, 0 to 2**32 - 1.
        num_epochs: when to stop; None never stops.
        shard_index, shard_count: see `draws.share`.

    Returns:
        Iterator of {"image": float32[B, d] or [B, F, d], "label": int32[B]}.

    Raises:
        DataError: a setting is out of range, or the shapes do not fit together.
    """
    if features.ndim not in (3, 4) or labels.shape != features.shape[1:2] or not len(features):
        raise DataError(
            f"features {list(features.shape)} and labels {list(labels.shape)}: must be "
            "[views, n, d] or [views, n, F, d], and [n], with at least one view"
        )
    steps = check_training(len(labels), batch_size, seed, num_epochs)
    part = share(min(batch_size, len(labels)), shard_index, shard_count)
    rows_of = shuffled_rows(len(labels), batch_size, seed, part)

    def read(numbers: range) -> Generator[Batch]:
        for number in numbers:
            epoch, _, rows = rows_of(number)
            image = features[epoch % len(features), rows].astype(np.float32, copy=False)
            yield {"image": image, "label": labels[rows].astype(np.int32, copy=False)}

    return Batches(read, sys.maxsize if num_epochs is None else steps * num_epochs)
