"""Reads batches ahead in threads or processes, with a position that can be saved."""

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

# Identify grain's worker processes, and its error for a killed one.
_NAME = "grain-process-prefetch"
_DIED = "terminated unexpectedly"
# Python's resource tracker frees the shared memory of a killed worker; its warning would follow the
# error message.
_QUIET_TRACKER = "ignore:resource_tracker"


class Batches(Positioned):
    """Makes batches 0 to `total` - 1 ahead in threads or worker processes.

    `set_state` resumes at a position of `get_state`, bit for bit, with any number of threads and
    workers.
    """

    def __init__(
        self,
        make: Callable[[int], Batch],
        total: int,
        num_threads: int | None = None,
        num_workers: int = 0,
    ):
        """Prepares reading; threads and workers start at the first `next`.

        Args:
            make: returns the batch of a given number, as a pure function.
            total: the number of batches.
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
        """Returns the next batch; raises the errors of reading it.

        After an error the position is that of the failed batch.

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
                f"{dead}; the system kills a process when memory runs out: set fewer num_workers, "
                "or free memory, and run again"
            ) from error
        if self._num_workers:
            # The workers' arrays are in shared memory, which must not be in use when Python exits.
            batch = {key: np.array(array) for key, array in batch.items()}
            if len(self._workers) < self._num_workers:
                self._workers = _reading_processes()
        self._position += 1
        return batch

    def close(self) -> None:
        """Stops threads and workers; a later `next` starts them again."""
        if self._reader is None:
            return
        self._reader, self._workers = None, []
        self._stop()
        if self._num_workers:
            # The last batch of each worker is in a reference cycle of an error and its traceback.
            gc.collect()
            # A thread of grain frees the memory; the rest would leak when Python exits.
            freeing = getattr(grain.multiprocessing.SharedMemoryArray, "_del_thread_pool", None)
            if freeing is not None:
                freeing.apply(int)

    def _dead_worker(self, error: Exception) -> str | None:
        """Describes a killed worker; returns None if there is none."""
        if not self._num_workers:
            return None
        for worker in self._workers:
            if worker.exitcode:
                return f"the reading process {worker.pid} {_ending(worker.exitcode)}"
        # A worker that exits before its first batch is known only to grain.
        return f"a reading process ended: {error}" if _DIED in str(error) else None

    def _start(self) -> grain.DatasetIterator[Batch]:
        if self._num_workers and not flags.FLAGS.is_parsed():
            # Grain reads its absl flags when it starts workers, which fails in a program without
            # absl. A later `app.run` still parses them.
            flags.FLAGS.mark_as_parsed()
        if self._num_workers and _QUIET_TRACKER not in sys.warnoptions:
            sys.warnoptions.append(_QUIET_TRACKER)  # the tracker's process takes them over
        # Grain starts at the position: its own saved state depends on the number of workers.
        numbers = grain.MapDataset.range(self._position, self._total)
        # The buffer holds whole batches, so two per thread keep the threads busy.
        threads = grain.ReadOptions(self._num_threads, 2 * self._num_threads)
        workers = grain.MultiprocessingOptions(self._num_workers, per_worker_buffer_size=2)
        batches = numbers.map(self._make).to_iter_dataset(threads)
        reader = iter(batches.mp_prefetch(workers, _ignore_interrupts))
        # Also at exit, before Python destroys what grain needs to stop its workers.
        self._stop = weakref.finalize(self, reader.close)
        return reader


def _ignore_interrupts(number: int, count: int) -> None:
    """Ignores Ctrl-C in a worker; the main process handles it."""
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
