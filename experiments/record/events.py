"""TensorBoard event files of a training run.

tensorboardX's `SummaryWriter` is not used: its thread ends at the first write that fails, e.g. on a
full disk, and training then waits forever for the full queue.
"""

import contextlib
import pathlib
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping


@contextlib.contextmanager
def _as_if_absent(package: str) -> Iterator[None]:
    """Hides a package from imports within the block, unless it is loaded already."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


# tensorboardX imports an installed PyTorch, which takes seconds and is not needed here.
with _as_if_absent("torch"):
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.record_writer import RecordWriter
    from tensorboardX.summary import scalar

SECONDS_BETWEEN_FLUSHES = 10.0  # each waits for the disk


class Events:
    """An event file. If it cannot be written, a note is printed once and training continues."""

    def __init__(self, folder: pathlib.Path, start: int):
        """Continues after step `start`; TensorBoard drops events of later steps."""
        self._folder = folder
        self._file: RecordWriter | None = None
        self._flushed = time.monotonic()
        self._attempt(self._open, start + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the scalars of a step, by tag."""
        self._attempt(self._write, step, values)

    def close(self) -> None:
        """Writes the remaining events."""
        self._attempt(self._flush)
        self._close()

    def _open(self, first):
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = RecordWriter(str(self._folder / _file_name(self._folder)))
        self._add(Event(file_version="brain.Event:2"))
        self._add(Event(step=first, session_log=SessionLog(status=SessionLog.START)))
        self._flush()

    def _write(self, step, values):
        for tag, value in values.items():
            self._add(Event(step=step, summary=scalar(tag, value)))
        if time.monotonic() - self._flushed > SECONDS_BETWEEN_FLUSHES:
            self._flush()

    def _add(self, event):
        if self._file is not None:
            event.wall_time = time.time()
            self._file.write(event.SerializeToString())

    def _flush(self):
        self._flushed = time.monotonic()
        if self._file is not None:
            self._file.flush()

    def _close(self):
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError, ValueError):  # it fails as the write before it did
                file.close()

    def _attempt(self, function: Callable[..., None], *args) -> None:
        try:
            function(*args)
        except (OSError, ValueError) as error:  # ValueError: the file is closed
            self._close()
            reason = getattr(error, "strerror", None) or str(error)
            print(
                f"note: {self._folder} cannot be written to ({reason}): training continues "
                "without TensorBoard events; metrics.jsonl has the same values",
                file=sys.stderr,
                flush=True,
            )


def _file_name(folder):
    """Returns a name after all that are there, as files are read in the order of their names."""
    there = (
        re.match(r"events\.out\.tfevents\.(\d{1,12})\b", path.name) for path in folder.iterdir()
    )
    after = max((int(match[1]) + 1 for match in there if match), default=0)
    return f"events.out.tfevents.{max(int(time.time()), after):010}.{socket.gethostname()}"
