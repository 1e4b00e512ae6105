"""Records what a reader does outside of its directory, by Python's audit events.

Files that compiled libraries open raise no event. All readers here open a file in Python first,
except that of videos, whose library must open no other; and what a library writes is visible in the
working directory.
"""

import contextlib
import os
import sys
import sysconfig
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
# Code and data of Python, such as modules and codecs, may be read at any time.
_CODE = [str(REPOSITORY), sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()]
_SYSTEM = ["/usr/lib", "/usr/share/zoneinfo", "/proc/", "/sys/", "/dev/null", "/dev/urandom"]
_CODE_PATHS = tuple(os.path.realpath(path) for path in _CODE)
_READABLE = (*_CODE_PATHS, *_CODE, *_SYSTEM)
_STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.spawn")
_RUNS = (*_STARTS, "subprocess.Popen", "pty.spawn", "ctypes.dlopen", "webbrowser.open")
_CHANGES = ("os.remove", "os.rename", "os.link", "os.symlink", "os.truncate", "os.chmod")
_FOLDERS = ("os.mkdir", "os.rmdir", "shutil.rmtree", "shutil.move", "shutil.copyfile")
_LISTS = ("os.listdir", "os.scandir")


class Event(NamedTuple):
    """`sort`: "code" for programs, code and connections, "outside" for files; `what` happened."""

    sort: str
    what: str


class _Watch(NamedTuple):
    allowed: tuple[str, ...]
    reads_anywhere: bool
    events: list[Event]


_watch: _Watch | None = None
_installed = False


@contextlib.contextmanager
def watch(*allowed: Path, reads_anywhere: bool = False) -> Iterator[list[Event]]:
    """Records access outside of some directories; the list grows while the block runs.

    Args:
        *allowed: directories in which anything may be read and written.
        reads_anywhere: whether to record only writes elsewhere.
    """
    global _watch, _installed
    if not _installed:
        # A hook cannot be removed, so there is one, which does nothing between the blocks.
        sys.addaudithook(_hook)
        _installed = True
    _watch = _Watch(tuple(map(str, allowed)), reads_anywhere, [])
    try:
        yield _watch.events
    finally:
        _watch = None


def _hook(event: str, arguments: tuple) -> None:
    global _watch
    watched = _watch
    if watched is None:
        return
    _watch = None  # the check itself is not recorded
    try:
        sort = _judge(watched, event, arguments)
        if sort and len(watched.events) < 20:
            watched.events.append(Event(sort, f"{event} {arguments!r}"[:300]))
    finally:
        _watch = watched


def _judge(watched: _Watch, event: str, arguments: tuple) -> str:
    if event == "open":
        path, mode, flags = arguments
        writes = any(letter in (mode or "") for letter in "wax+")
        writes = writes or bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        return "" if _is_allowed(watched, path, writes) else "outside"
    if event in _LISTS:
        return "" if _is_allowed(watched, arguments[0], False) else "outside"
    if event in _CHANGES or event in _FOLDERS:
        paths = arguments[:2] if event in ("os.rename", "os.link", "shutil.move") else arguments[:1]
        return "" if all(_is_allowed(watched, path, True) for path in paths) else "outside"
    if event.startswith(("socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.")):
        return "code"
    if event == "exec":
        name = str(getattr(arguments[0], "co_filename", ""))
        is_module = os.path.abspath(name).startswith(_CODE_PATHS) or name.startswith("<frozen")
        return "" if is_module or _is_generating() else "code"
    return "code" if event in _RUNS else ""


def _is_generating() -> bool:
    """Returns whether a module is being imported or a named tuple created, which generate code.

    Named tuples, as pandas makes of rows, accept only identifiers as names.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith("<frozen importlib") or code is namedtuple.__code__:
            return True
        frame = frame.f_back
    return False


def _is_allowed(watched: _Watch, path: object, writes: bool) -> bool:
    if path is None or isinstance(path, int):  # an open file
        return True
    name = os.path.normpath(os.path.join(os.getcwd(), os.fsdecode(path)))
    if name.startswith(watched.allowed) or name == os.devnull:
        return True
    return not writes and (watched.reads_anywhere or name.startswith(_READABLE))
