"""Handles Ctrl-C and SIGTERM at once, even while a program compiles.

Python runs a signal handler only when the main thread is back in the interpreter. A compilation can
keep it away for minutes, and an exception of the handler can be lost in a callback. So a thread
reads the signals from Python's wakeup pipe (`signal.set_wakeup_fd`) and handles them; no library
does this without an event loop in the main thread.

Only the standard library is imported: this must run before imports that take seconds.
"""

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPING = "stopping after this step, with a checkpoint; interrupt again to stop at once"
AT_ONCE = "stopped at once"
RESUMES = "stopped; run again to resume"
"""The message of a stopped command that resumes, once it has saved something."""
UNSAVED = "stopped before anything was saved; run again to start from the beginning"
SECONDS_TO_FLUSH = 1.0
# Seconds in which signals count as one: `timeout` sends its own twice, to process and group.
ONE_STOP = 0.25

_CLEAR_LINE, _SHOW_CURSOR = "\r\x1b[2K", "\x1b[?25h"  # undo a progress bar on a terminal


class StopRequest:
    """Turns Ctrl-C and SIGTERM into a request to stop, which a loop checks between two steps.

    In a command that called `listen`, a second signal ends the process, and so does the first one
    before any step is done, when nothing is lost. Elsewhere, e.g. in a notebook, a second signal
    goes to the earlier handlers, which are restored after the loop.

    Attributes:
        requested: whether the loop should stop.
    """

    def __init__(self):
        self.requested = False
        self._has_steps = False
        self._before = {}

    def step_done(self) -> None:
        """Records that there is a step to write a checkpoint of."""
        self._has_steps = True

    def request_stop(self) -> bool:
        """Requests a stop; returns whether the loop will finish its step, as it does once."""
        may_finish = self._has_steps and not self.requested
        self.requested = True
        return may_finish

    def __enter__(self):
        if _listener is not None:
            _listener.request = self
            return self
        # Handlers can be set in the main thread only, not in a notebook's worker thread.
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._handle) for s in SIGNALS}
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if not self.requested:
            self.requested = True
            print(STOPPING, file=sys.stderr, flush=True)
            return
        self._restore()
        signal.raise_signal(number)

    def _restore(self):
        while self._before:
            signal.signal(*self._before.popitem())

    def __exit__(self, kind, *_):
        if _listener is not None:
            _listener.request = None
        self._restore()
        if self.requested and kind is None:  # after the loop's last check
            raise KeyboardInterrupt(RESUMES)


class Listener:
    """Handles signals in a thread of its own, until the process ends.

    Attributes:
        request: the request of the running loop, which may finish its step.
        number: the first signal received; 0: none.
    """

    def __init__(self, words: str):
        """Sets the words to print when the process ends at once, e.g. "stopped"."""
        self.request: StopRequest | None = None
        self.number = 0
        self._words = words
        self._requested_at = -math.inf  # when a loop was asked to stop

    def start(self) -> None:
        """Installs the handlers and starts the thread; call it in the main thread.

        SIGINT, which shells let background jobs ignore, is handled too: a stop loses nothing.
        """
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        for number in SIGNALS:
            signal.signal(number, _ignore)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(target=self._wait, args=(reading,), daemon=True).start()

    def _wait(self, reading):
        while received := os.read(reading, 1):
            self.handle(received[0])

    def handle(self, number: int) -> None:
        """Handles one signal."""
        if number not in SIGNALS:
            return
        is_first = not self.number
        self.number = self.number or number
        request = self.request
        if is_first and request is not None and request.request_stop():
            self._requested_at = time.monotonic()
            print_line(STOPPING)
        elif time.monotonic() - self._requested_at > ONE_STOP:
            words = UNSAVED if self._words == RESUMES and not has_saved else self._words
            end(number, words if is_first else AT_ONCE)


def listen(words: str) -> None:
    """Handles Ctrl-C and SIGTERM from now on; `words` are printed when the command is stopped."""
    global _listener
    if _listener is None:
        _listener = Listener(words)
        _listener.start()


def record_saved() -> None:
    """Records that there is a checkpoint or result, from which the same command resumes."""
    global has_saved
    has_saved = True


def stop_listening() -> None:
    """Lets signals end the process silently from now on, or another library handle them."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)


def was_interrupted() -> bool:
    """Returns whether a signal was received."""
    return _listener is not None and _listener.number > 0


def exit_code() -> int:
    """Returns the exit code of a stopped command: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + ((_listener.number if _listener else 0) or signal.SIGINT)


def print_line(words: str) -> None:
    """Writes a line to stderr, past Python's buffers, whose lock the main thread may hold."""
    start = _CLEAR_LINE if os.isatty(2) else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{start}{words}\n".encode())


def end(number: int, words: str) -> None:
    """Ends the process with the exit code of the signal; files are written atomically."""
    print_line(words)
    if before_exit is not None:
        before_exit(128 + number, words)
    exit_now(128 + number)


def exit_now(code: int) -> None:
    """Exits without Python's cleanup, which takes seconds after JAX and has no effect here."""
    if os.isatty(2):
        with contextlib.suppress(OSError):
            os.write(2, _SHOW_CURSOR.encode())
    # The main thread may hold these buffers forever.
    flushing = threading.Thread(target=_flush, daemon=True)
    flushing.start()
    flushing.join(SECONDS_TO_FLUSH)
    if workers := getattr(sys.modules.get("multiprocessing"), "active_children", None):
        for worker in workers():
            worker.kill()
    os._exit(code)


def _flush():
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _ignore(number: int, frame: FrameType | None) -> None:
    """Does nothing; a Python handler must be set for the signal to be written to the pipe."""
    del number, frame


_listener: Listener | None = None
has_saved = False
# Called before a signal ends the process, with its exit code and message; see `hosts`.
before_exit: Callable[[int, str], None] | None = None
