"""Ctrl-C and SIGTERM: heard and answered at once, also while a program compiles.

Python calls a signal's handler when its main thread is back in the interpreter. A compilation keeps
it away for minutes, and what the handler raises can be lost in a callback. So C writes the signal's
number into a pipe, and a thread that waits for it answers.

Nothing heavy is imported: this must be there before what takes seconds to import.
"""

import contextlib
import math
import os
import signal
import sys
import threading
import time
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPING = "stopping after this step, then a checkpoint; again: at once"
AT_ONCE = "stopped at once"
SECONDS_TO_FLUSH = 1.0
ONE_STOP = (
    0.25  # seconds in which signals are one: `timeout` sends its own twice, to process and group
)

_CLEAR_LINE, _SHOW_CURSOR = "\r\x1b[2K", "\x1b[?25h"  # what a bar on a terminal leaves behind


class StopRequest:
    """Turns Ctrl-C and SIGTERM into a request that a loop answers between two steps.

    In a command that listens, a second signal ends the process, and the first one too while no step
    is done, for then nothing would be lost. Elsewhere, e.g. in a notebook, a second one does what
    it did before the loop; the handlers from before are back after it.

    Attributes:
        asked: whether the loop shall stop.
    """

    def __init__(self):
        """Nothing asked yet."""
        self.asked = False
        self._has_steps = False
        self._before = {}

    def step_done(self) -> None:
        """Tells it that there is something now to write a checkpoint of."""
        self._has_steps = True

    def ask(self) -> bool:
        """Asks for a stop; returns whether the loop will answer, which it does the first time."""
        answered = self._has_steps and not self.asked
        self.asked = True
        return answered

    def __enter__(self):
        if _listener is not None:
            _listener.request = self
            return self
        # Signals reach the main thread alone; elsewhere (notebooks' workers) there is none to set.
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._handle) for s in SIGNALS}
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if not self.asked:
            self.asked = True
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
        if self.asked and kind is None:  # after the loop had looked for the last time
            raise KeyboardInterrupt("stopped; run again to go on")


class Listener:
    """Answers signals in place of their handlers, until the process ends.

    Attributes:
        request: of the loop that would finish its step.
        number: the first signal that came; 0: none.
    """

    def __init__(self, words: str):
        """`words`: said when the process ends at once, e.g. "stopped"."""
        self.request: StopRequest | None = None
        self.number = 0
        self._words = words
        self._answered = -math.inf  # when a loop was asked to stop

    def start(self) -> None:
        """Takes over; in the main thread.

        A signal that the shell lets background jobs ignore is heard too: a stop loses nothing.
        """
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        for number in SIGNALS:
            signal.signal(number, _leave_it_to_the_thread)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(target=self._wait, args=(reading,), daemon=True).start()

    def _wait(self, reading):
        while received := os.read(reading, 1):
            self.hear(received[0])

    def hear(self, number: int) -> None:
        """Answers one signal."""
        if number not in SIGNALS:
            return
        is_first = not self.number
        self.number = self.number or number
        request = self.request
        if is_first and request is not None and request.ask():
            self._answered = time.monotonic()
            say(STOPPING)
        elif time.monotonic() - self._answered > ONE_STOP:
            end(number, self._words if is_first else AT_ONCE)


def listen(words: str) -> None:
    """Answers Ctrl-C and SIGTERM from now on, for a command; `words`: its last ones."""
    global _listener
    if _listener is None:
        _listener = Listener(words)
        _listener.start()


def stop_listening() -> None:
    """From now on a signal ends the process silently: nothing is left to do but to exit."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def is_heard() -> bool:
    """Whether a signal came."""
    return _listener is not None and _listener.number > 0


def exit_code() -> int:
    """Of a command that was stopped: 130 by Ctrl-C, 143 by SIGTERM."""
    return 128 + ((_listener.number if _listener else 0) or signal.SIGINT)


def say(words: str) -> None:
    """Writes a line to stderr without Python's buffers, whose lock the main thread may hold."""
    start = _CLEAR_LINE if os.isatty(2) else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{start}{words}\n".encode())


def end(number: int, words: str) -> None:
    """Ends the process with the signal's exit code. Files are written whole, so none is torn."""
    say(words)
    leave(128 + number)


def leave(code: int) -> None:
    """Exits without Python's clean-up, which takes seconds after JAX and is no use to anyone."""
    if os.isatty(2):
        with contextlib.suppress(OSError):
            os.write(2, _SHOW_CURSOR.encode())
    # The main thread may be at work in these buffers for ever.
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


def _leave_it_to_the_thread(number: int, frame: FrameType | None) -> None:
    """Python's part of a handler; without one, C would not write to the pipe."""
    del number, frame


_listener: Listener | None = None
