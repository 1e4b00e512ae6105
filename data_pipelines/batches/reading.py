"""An iterator of batches that reads ahead, and whose position can be saved and restored."""

import gc
import multiprocessing
import os
import signal
import sys
import weakref
from collections.abc import Callable

import grain
import numpy as np
from absl import flags

from data_pipelines.errors import DataError
from prompt_jax.inputs.training_batches import Batch, Positioned

# By which grain's worker processes, and its error about one that was killed, are recognised.
_NAME = "grain-process-prefetch"
_DIED = "terminated unexpectedly"
# What a killed worker held in shared memory, Python's tracker of it frees at the end. Its warning
# would stand after the sentence that says what happened.
_QUIET_TRACKER = "ignore:resource_tracker"


class Batches(Positioned):
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
        super().__init__(total)
        self._make = make
        self._num_threads = num_threads
        self._num_workers = num_workers
        self._reader: grain.DatasetIterator[Batch] | None = None
        self._workers: list[multiprocessing.process.BaseProcess] = []
        self._stop: Callable[[], object] = lambda: None

    def __next__(self) -> Batch:
        """The next batch; raises what reading it raised.

        After an error the position is still that of the batch that could not be made.

        Raises:
            DataError: a worker process was killed.
        """
        if self._position == self._total:
            self.close()
            raise StopIteration
        if self._reader is None:
            self._reader = self._start()
        try:
            batch = next(self._reader)
        except Exception as error:
            dead = self._dead_worker(error)
            self.close()
            if dead is None:
                raise
            raise DataError(
                f"{dead}, so no more images are read; the system kills a process when memory "
                "runs out: set fewer num_workers, or free memory, and run again"
            ) from error
        if self._num_workers:
            # The workers' arrays lie in shared memory, which must not be in use when Python ends.
            batch = {key: np.array(array) for key, array in batch.items()}
            if len(self._workers) < self._num_workers:
                self._workers = _reading_processes()
        self._position += 1
        return batch

    def close(self) -> None:
        """Stop threads and workers; a later `next` would start them again."""
        if self._reader is None:
            return
        self._reader, self._workers = None, []
        self._stop()
        if self._num_workers:
            # Grain's last batch of each worker is held by the circle of an error and its traceback.
            gc.collect()
            # A thread of grain's frees the memory; what it has not freed when Python ends leaks.
            freeing = getattr(grain.multiprocessing.SharedMemoryArray, "_del_thread_pool", None)
            if freeing is not None:
                freeing.apply(int)

    def _dead_worker(self, error: Exception) -> str | None:
        """What became of a worker that was killed, in words."""
        if not self._num_workers:
            return None
        for worker in self._workers:
            if worker.exitcode:
                return f"the reading process {worker.pid} {_ending(worker.exitcode)}"
        # One that ends before its first batch is known to grain alone.
        return f"a reading process ended: {error}" if _DIED in str(error) else None

    def _start(self) -> grain.DatasetIterator[Batch]:
        if self._num_workers and not flags.FLAGS.is_parsed():
            # Grain asks absl for its own flags when it starts workers, which fails in a program
            # without absl. A later `app.run` parses them all the same.
            flags.FLAGS.mark_as_parsed()
        if self._num_workers and _QUIET_TRACKER not in sys.warnoptions:
            sys.warnoptions.append(_QUIET_TRACKER)  # the tracker's process takes them over
        # Grain is told where to begin, instead of being set back: its own positions are other
        # ones for other numbers of workers.
        numbers = grain.MapDataset.range(self._position, self._total)
        # Whole batches wait in the buffer, so two per thread are enough to keep the threads busy.
        threads = grain.ReadOptions(self._num_threads, 2 * self._num_threads)
        workers = grain.MultiprocessingOptions(self._num_workers, per_worker_buffer_size=2)
        batches = numbers.map(self._make).to_iter_dataset(threads)
        reader = iter(batches.mp_prefetch(workers, _leave_interrupts))
        # Also at the end of Python, before it takes apart what grain needs to stop its workers.
        self._stop = weakref.finalize(self, reader.close)
        return reader


def _leave_interrupts(number: int, count: int) -> None:
    """In a worker: Ctrl-C reaches it too, but the process that reads from it decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _reading_processes() -> list[multiprocessing.process.BaseProcess]:
    return [child for child in multiprocessing.active_children() if _NAME in child.name]


def _ending(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return f"was killed by signal {name} (exit code {code})"
