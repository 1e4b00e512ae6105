"""What every command does: hears Ctrl-C from its first moment, and puts failures into a sentence.

Nothing heavy is imported: a command's own imports come after `run` listens.
"""

import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from prompt_jax.cli import interrupts
from prompt_jax.errors import DataError, escape, escape_lines, shorten

USAGE_ERROR, CLOSED_OUTPUT = 2, 141
MOST_NUMBER = 10**6  # of a flag that counts something
_LONGEST_LINE = 2000

_FULL = "free space, then run again"
_REFUSED = "change its permissions or name another place, then run again"
_GONE = "put it back, or name another place, then run again"
_ADVICE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "allow larger files (ulimit -f) or name another place, then run again",
    errno.EROFS: "name a place that can be written to",
    errno.EACCES: _REFUSED,
    errno.EPERM: _REFUSED,
    errno.EIO: "the disk or its connection fails; mend it or name another place, then run again",
    errno.ENOENT: _GONE,
    errno.ENOTDIR: _GONE,
    errno.ESTALE: _GONE,
    errno.EISDIR: "a folder is where a file belongs; move it away, then run again",
    errno.EEXIST: "something else has its name; move it away, then run again",
    errno.ENAMETOOLONG: "choose a shorter one",
    errno.EMFILE: "allow more open files (ulimit -n), then run again",
    errno.ENFILE: "too many files are open on this machine; run again when there are fewer",
}


def explain(
    function: Callable[..., Any],
    *args: Any,
    mistakes: tuple[type[Exception], ...] = (DataError,),
) -> int:
    """Calls `function`; what a person can mend becomes one line and exit code 2, no traceback.

    Args:
        function: the command. What it returns is the exit code, None being 0.
        *args: its arguments.
        mistakes: errors whose message is a sentence for people.

    Returns:
        The exit code: 130 or 143 after Ctrl-C or SIGTERM, 141 when nobody reads the output.
    """
    try:
        code = function(*args)
        sys.stdout.flush()
    except mistakes as error:
        return _refuse(str(error))
    except BrokenPipeError:
        return _closed_output()
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0)
        if advice is None:
            raise
        return _refuse(f"{_where(error)}{error.strerror}; {advice}")
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich meets it first, and exits
            return _closed_output()
        raise
    except KeyboardInterrupt as stop:
        print(str(stop) or "stopped", file=sys.stderr)
        return interrupts.exit_code()
    return code or 0


def _refuse(sentence: str) -> int:
    # What a stranger's file holds may be quoted, and be long.
    lines = escape_lines(sentence).split("\n")
    lines = [line if len(line) <= _LONGEST_LINE else _cut(line) for line in lines]
    print("error: " + "\n".join(lines), file=sys.stderr)
    return USAGE_ERROR


def _cut(line: str) -> str:
    half = _LONGEST_LINE // 2
    return f"{line[:half]} … {line[-half:]}"


def _where(error: OSError) -> str:
    names = [name for name in (error.filename, error.filename2) if name is not None]
    # A write to a file that is open already does not say which one.
    return escape(" -> ".join(map(str, names)) + ": ") if names else ""


def _closed_output() -> int:
    # What is left in the buffer would be written, and fail, once more when Python ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return CLOSED_OUTPUT


def whole(least: int = 1, most: int = MOST_NUMBER) -> Callable[[str], int]:
    """Returns the `type` of an argparse flag: a whole number from `least` to `most`."""
    import argparse  # by now the command listens

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


def run(
    module: str,
    name: str,
    argv: Sequence[str] | None,
    words: str = "stopped",
    explained: Callable[..., int] = explain,
) -> int:
    """Runs a command: listens to Ctrl-C and SIGTERM, imports its module, calls it, explains.

    Args:
        module: its module.
        name: the function there.
        argv: what that is called with.
        words: said when it is stopped with nothing to finish.
        explained: `explain`, or one that knows more mistakes.
    """
    interrupts.listen(words)
    code = explained(lambda: getattr(importlib.import_module(module), name)(argv))
    if code or interrupts.is_heard():
        interrupts.leave(code)
    interrupts.stop_listening()
    return code
