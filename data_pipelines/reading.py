"""An iterator of batches that reads ahead, and whose position can be saved and restored."""

import os
from collections.abc import Callable, Iterator

import grain
import numpy as np
from absl import flags

from data_pipelines.errors import DataError

Batch = dict[str, np.ndarray]


class Batches(Iterator[Batch]):
    """Batches 0 to `total` - 1, made ahead in threads or worker processes.

    `get_state()` is the position as a small dict; `set_state()` continues there, bit for bit,
    with the same or another number of threads and workers.
    """

    def __init__(
        self,
        make: Callable[[int], Batch],
        total: int,
        num_threads: int | None = None,
        num_workers: int = 0,
    ):
        """Threads and workers start with the first `next`.

        Args:
            make: makes the batch of a given number, from the number alone.
            total: how many there are.
            num_threads: reading threads (of each worker, if there are workers); 0 reads in the
                calling thread; None: one per core, at most 4, or one per worker.
            num_workers: reading processes; 0 reads in threads of this process.

        Raises:
            DataError: a number below 0.
        """
        if num_threads is None:
            num_threads = 1 if num_workers else min(4, os.cpu_count() or 1)
        for name, value in (("num_threads", num_threads), ("num_workers", num_workers)):
            if value < 0:
                raise DataError(f"{name}={value}: must be 0 or more")
        self._make = make
        self._total = total
        self._num_threads = num_threads
        self._num_workers = num_workers
        self._position = 0
        self._reader: grain.DatasetIterator[Batch] | None = None

    def __next__(self) -> Batch:
        """The next batch; raises what reading it raised."""
        if self._position == self._total:
            self.close()
            raise StopIteration
        if self._reader is None:
            self._reader = self._start()
        batch = next(self._reader)
        self._position += 1
        return batch

    def get_state(self) -> dict[str, int]:
        """The number of the next batch, for `set_state`; can be kept as JSON."""
        return {"next_index": self._position}

    def state_after(self, batches: int) -> dict[str, int]:
        """What `get_state` gives after so many batches from the start."""
        return {"next_index": batches}

    def set_state(self, state: dict[str, int]) -> None:
        """Continue at a position that `get_state` gave.

        Raises:
            DataError: it is not one, or lies behind the last batch.
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
        """Stop threads and workers; a later `next` would start them again."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _start(self) -> grain.DatasetIterator[Batch]:
        if self._num_workers and not flags.FLAGS.is_parsed():
            # Grain asks absl for its own flags when it starts workers, which fails in a program
            # without absl. A later `app.run` parses them all the same.
            flags.FLAGS.mark_as_parsed()
        # Grain is told where to begin, instead of being set back: its own positions are other
        # ones for other numbers of workers.
        numbers = grain.MapDataset.range(self._position, self._total)
        # Whole batches wait in the buffer, so two per thread are enough to keep the threads busy.
        threads = grain.ReadOptions(self._num_threads, 2 * self._num_threads)
        workers = grain.MultiprocessingOptions(self._num_workers, per_worker_buffer_size=2)
        return iter(numbers.map(self._make).to_iter_dataset(threads).mp_prefetch(workers))
