"""Runs commands: handles Ctrl-C from the start, and turns errors into one-line messages.

Imports nothing slow: a command's own imports happen after `run` handles signals.
"""

import errno
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from prompt_jax.cli import hosts, interrupts
from prompt_jax.errors import (
    ArgumentError,
    DataError,
    PromptError,
    escape,
    escape_lines,
    shorten,
)

if TYPE_CHECKING:
    import argparse

USAGE_ERROR, CLOSED_OUTPUT = 2, 141
MOST_NUMBER = 10**6  # of a flag that counts something
_LONGEST_LINE = 2000
_FLAGS = {"prepare": "--stats"}  # Python arguments whose flags have other names

_FULL = "free space, then run again"
_REFUSED = "change its permissions or use another path, then run again"
_GONE = "restore it, or use another path, then run again"
_ADVICE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "allow larger files (ulimit -f) or use another path, then run again",
    errno.EROFS: "use a writable path",
    errno.EACCES: _REFUSED,
    errno.EPERM: _REFUSED,
    errno.EIO: "the disk or its connection fails; repair it or use another path, then run again",
    errno.ENOENT: _GONE,
    errno.ENOTDIR: _GONE,
    errno.ESTALE: _GONE,
    errno.EISDIR: "it is a directory, not a file; move it away, then run again",
    errno.EEXIST: "the name is already in use; move that file or directory away, then run again",
    errno.ENAMETOOLONG: "use a shorter one",
    errno.EMFILE: "allow more open files (ulimit -n), then run again",
    errno.ENFILE: "too many files are open on this machine; close some, then run again",
}


def explain(function: Callable[..., Any], *args: Any) -> int:
    """Calls `function`; errors that a user can fix become one-line messages and exit code 2.

    Args:
        function: the command; returns the exit code, or None for 0.
        *args: its arguments.

    Returns:
        The exit code: 130 or 143 after Ctrl-C or SIGTERM, 141 if the output pipe was closed.
    """
    code, reason = _call(function, *args)
    if code:
        hosts.announce_exit(code, reason)
    return code


def _call(function: Callable[..., Any], *args: Any) -> tuple[int, str]:
    """Returns the exit code and the message of `explain`."""
    try:
        code = function(*args)
        sys.stdout.flush()
    except ArgumentError as error:
        return _refuse(str(error.as_flags(_FLAGS)))
    except (PromptError, DataError) as error:
        return _refuse(str(error))
    except BrokenPipeError:
        return _closed_output()
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0)
        if advice is None:
            raise
        return _refuse(f"{_where(error)}{error.strerror}; {advice}")
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich handles it by exiting
            return _closed_output()
        raise
    except KeyboardInterrupt as stop:
        message = str(stop) or "stopped"
        print(message, file=sys.stderr)
        return interrupts.exit_code(), message
    return code or 0, ""


def _refuse(message: str) -> tuple[int, str]:
    # Messages may quote long values of untrusted files.
    lines = escape_lines(message).split("\n")
    lines = [line if len(line) <= _LONGEST_LINE else _cut(line) for line in lines]
    message = "\n".join(lines)
    print(f"error: {message}", file=sys.stderr)
    return USAGE_ERROR, message


def _cut(line: str) -> str:
    half = _LONGEST_LINE // 2
    return f"{line[:half]} … {line[-half:]}"


def _where(error: OSError) -> str:
    names = [name for name in (error.filename, error.filename2) if name is not None]
    # Errors of writes to an open file do not name it.
    return escape(" -> ".join(map(str, names)) + ": ") if names else ""


def _closed_output() -> tuple[int, str]:
    # Otherwise Python would flush the rest of the buffer at exit, and fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return CLOSED_OUTPUT, "its output was closed"


def make_parser(module: str, description: str | None) -> "argparse.ArgumentParser":
    """Returns the parser of `python -m MODULE`, whose --help keeps the description's lines."""
    import argparse  # late: signals are handled by now

    keep = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(f"python -m {module}", None, description, formatter_class=keep)


def note_embedded(backbone: str, what: str = "expect little of it on photographs") -> None:
    """Prints a note if the backbone is the embedded CLIP, with what this means for a command."""
    if backbone == "embedded":
        words = f"note: the embedded CLIP knows only emoji scenes; {what}"
        print(words, file=sys.stderr)


def whole(least: int = 1, most: int = MOST_NUMBER) -> Callable[[str], int]:
    """Returns the `type` of an argparse flag: a whole number from `least` to `most`."""
    import argparse  # late: signals are handled by now

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"{shorten(text)} must be a whole number, at least {least} and at most {most:,}"
            )
        return number

    return parse


def run(module: str, name: str, argv: Sequence[str] | None, words: str = "stopped") -> int:
    """Runs a command: handles Ctrl-C and SIGTERM, imports its module, calls it, explains errors.

    Args:
        module: its module.
        name: the function in that module.
        argv: the function's argument.
        words: message when the command is stopped without a step to finish.
    """
    interrupts.listen(words)
    try:
        code = explain(lambda: getattr(importlib.import_module(module), name)(argv))
    except Exception as error:
        if hosts.count() == 1:
            raise
        hosts.await_lost_host()
        traceback.print_exc()
        hosts.announce_exit(code := 1, f"{type(error).__name__}: {error}".splitlines()[0])
    if code or interrupts.was_interrupted():
        interrupts.exit_now(code)
    interrupts.stop_listening()
    return code
