"""TensorBoard's view of a training: event files, written at once and never waited for.

tensorboardX's own writer hands events to a thread through a queue; a clock that is set back ends
the thread, and training then waits for the full queue for ever.
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
    """Imports within find no such package, unless it is loaded already."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


# It loads PyTorch where that is installed, which takes seconds, and nothing here uses it.
with _as_if_absent("torch"):
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.record_writer import RecordWriter
    from tensorboardX.summary import scalar

SECONDS_BETWEEN_FLUSHES = 10.0  # one waits for the disk


class Events:
    """An event file; one that cannot be written is said once, and training goes on without it."""

    def __init__(self, folder: pathlib.Path, start: int):
        """Goes on after step `start`: TensorBoard forgets what it was told of later steps."""
        self._folder = folder
        self._file: RecordWriter | None = None
        self._flushed = time.monotonic()
        self._attempt(self._open, start + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """The scalars of a step, by their tags."""
        self._attempt(self._write, step, values)

    def close(self) -> None:
        """Writes what is left."""
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
            with contextlib.suppress(OSError, ValueError):  # what could not be written still cannot
                file.close()

    def _attempt(self, function: Callable[..., None], *args) -> None:
        try:
            function(*args)
        except (OSError, ValueError) as error:  # the latter of a file that is closed
            self._close()
            reason = getattr(error, "strerror", None) or str(error)
            print(
                f"note: {self._folder} cannot be written to ({reason}): training goes on "
                "without lines for TensorBoard; metrics.jsonl has the same",
                file=sys.stderr,
                flush=True,
            )


def _file_name(folder):
    """Later than those there, whatever the clock says: they are read in the order of names."""
    there = (
        re.match(r"events\.out\.tfevents\.(\d{1,12})\b", path.name) for path in folder.iterdir()
    )
    after = max((int(match[1]) + 1 for match in there if match), default=0)
    return f"events.out.tfevents.{max(int(time.time()), after):010}.{socket.gethostname()}"
