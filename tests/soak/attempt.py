"""Tests one input with its reader, and records the outcome."""

import os
import shutil
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data_pipelines.errors import DataError
from prompt_jax.errors import PromptError

from . import files, guard
from .files import Files
from .kind import Kind, Wrong, source_of

MEMORY = 2 * 10**9  # bytes that a process may use
SECONDS = 10.0  # seconds that an input may take
_LONGEST_MESSAGE = 5000  # characters that a message may have

ACCEPTED, REFUSED = "accepted", "refused"


class Outcome(NamedTuple):
    """The outcome of one input.

    Attributes:
        kind, number: identify the input.
        verdict: "accepted", "refused", or a kind of failure: "raw exception",
            "outside" (access to other files), "code" (a program, code or a connection), "written"
            (a file in the working directory), "wrong" (misread), "message" (not printable),
            "memory", "hang", "crash" (the process died).
        cause: the cause of a failure in one line, by which failures are grouped.
        detail: a traceback, or other details.
        seconds, peak: time, and peak memory of the process in bytes.
        warned: a warning that a user would see; not a failure.
    """

    kind: str
    number: int
    verdict: str
    cause: str = ""
    detail: str = ""
    seconds: float = 0.0
    peak: int = 0
    warned: str = ""

    @property
    def failed(self) -> bool:
        """Returns whether it counts as a failure."""
        return self.verdict not in (ACCEPTED, REFUSED)


def attempt(kind: Kind, examples: Sequence[Files], seed: int, number: int, folder: Path) -> Outcome:
    """Creates an input in `folder`/input, reads it in `folder`/work, and removes both."""
    work = empty(folder / "work")
    given = empty(folder / "input")
    files.write(kind.build(examples, source_of(seed, kind.name, number)), given)
    before = os.getcwd()
    os.chdir(work)
    reset_peak()
    held = peak_memory()
    began = time.perf_counter()
    try:
        with (
            warnings.catch_warnings(record=True) as warned,
            guard.watch(folder, reads_anywhere=kind.reads_anywhere) as events,
        ):
            warnings.simplefilter("always")
            # ml_collections loads config files through it.
            warnings.filterwarnings("ignore", "the load_module", DeprecationWarning)
            verdict, cause, detail = _read(kind, given)
    finally:
        os.chdir(before)
    seconds, peak = time.perf_counter() - began, peak_memory()
    if events:
        worst = min(events, key=lambda event: event.sort)  # code is checked before files
        verdict, cause = worst.sort, worst.what.partition(" ")[0]
        detail = "\n".join(event.what for event in events) + "\n" + detail
    elif written := [path.name for path in work.iterdir()]:
        verdict, cause, detail = "written", ", ".join(written[:3])[:80], detail
    elif peak - held > MEMORY:
        verdict, cause = "memory", f"more than {MEMORY / 1e9:g} GB, {verdict} then"
    elif seconds > SECONDS:
        verdict, cause = "hang", f"more than {SECONDS:g} s, {verdict} then"
    return Outcome(kind.name, number, verdict, cause, detail, seconds, peak, _words(warned))


def _words(warned: list[warnings.WarningMessage]) -> str:
    if not warned:
        return ""
    first = warned[-1]
    where = f"{Path(first.filename).name}:{first.lineno}"
    return (
        str(first.message)
        if __file__ == first.filename
        else f"{first.category.__name__} at {where}"
    )


def read_example(kind: Kind, example: Files, folder: Path) -> None:
    """Reads a valid example without recording anything.

    Raises:
        whatever its reader raises: an example must pass.
    """
    given = empty(folder / "input")
    files.write(example, given)
    kind.read(given)


def empty(folder: Path) -> Path:
    """Empties the directory."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _read(kind: Kind, given: Path) -> tuple[str, str, str]:
    try:
        kind.read(given)
    except (PromptError, DataError) as error:
        message = str(error)
        try:
            message.encode()
        except UnicodeEncodeError:
            return "message", f"cannot be printed: {_place(error)}", ascii(message)[:2000]
        if len(message) > _LONGEST_MESSAGE:
            warnings.warn(f"a message of {_LONGEST_MESSAGE:,} characters or more", stacklevel=1)
        return REFUSED, "", message
    except Wrong as error:
        return "wrong", str(error)[:60], str(error)
    except (Exception, SystemExit) as error:
        # RecursionError's traceback has a thousand lines.
        detail = "".join(traceback.format_exception(error, limit=-8))
        return "raw exception", f"{type(error).__name__} at {_place(error)}", detail[-4000:]
    return ACCEPTED, "", ""


def _place(error: BaseException) -> str:
    """Returns the innermost line of this repository in the error's traceback."""
    root = str(guard.REPOSITORY)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(root)]
    frames = [f for f in frames if "/tests/" not in f.filename] or frames
    if not frames:
        return "?"
    return f"{os.path.relpath(frames[-1].filename, root)}:{frames[-1].lineno}"


def reset_peak() -> None:
    """Resets the recorded peak memory of this process."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_memory() -> int:
    """Returns the peak memory of this process since then, in bytes."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return 0
