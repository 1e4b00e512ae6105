"""How batches are read: threads, processes, memory and hosts."""

from dataclasses import dataclass

from prompt_jax.inputs.draws import share


@dataclass(frozen=True)
class ReadOptions:
    """Changes how batches are read, not their contents; hosts only divide them.

    Attributes:
        num_threads: reading threads (of each worker, if there are workers); 0 reads in the
            calling thread; None: one per core, at most 4, or one per worker.
        num_workers: reading processes; 0 reads in threads of this process. A worker takes
            seconds to start, and pays where an image takes long to decode or render.
        cache_bytes: bound on the decoded images or frames kept in memory for later epochs,
            divided among the workers; 0 keeps none.
        shard_index: which host this is, from 0.
        shard_count: how many hosts read; each gets its slice of every batch, in host order.
    """

    num_threads: int | None = None
    num_workers: int = 0
    cache_bytes: int = 256 * 2**20
    shard_index: int = 0
    shard_count: int = 1

    def share(self, size: int) -> slice:
        """Returns the part of a batch that this host reads; see `draws.share`."""
        return share(size, self.shard_index, self.shard_count)

    @property
    def worker_cache_bytes(self) -> int:
        """The cache size of one worker, in bytes."""
        return self.cache_bytes // max(1, self.num_workers)
