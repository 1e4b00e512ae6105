"""A directory that takes another one's place in one step: one of the two is always there, whole."""

import contextlib
import ctypes
import errno
import fcntl
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator

from prompt_jax.errors import PromptError
from prompt_jax.storage.files import UNFINISHED, sync_folder

EARLIER = ".earlier"
_CURRENT, _EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of Linux; macOS has the second as well
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # that file system, or that system


@contextlib.contextmanager
def replacing(
    folder: pathlib.Path, check: Callable[[pathlib.Path], bool]
) -> Iterator[pathlib.Path]:
    """Yields an empty directory beside `folder`, which takes its place when the block ends.

    Where the block raises, or the process is killed, `folder` is as it was; what a kill left beside
    it, ".NAME.unfinished", is removed by the next call. On file systems that cannot exchange two
    directories (NFS), there is a moment in which the earlier one has the name ".NAME.earlier"; the
    next call puts it back if the process was killed then.

    Args:
        folder: new, or one that may be replaced; a link is followed.
        check: raises if `folder` holds what may not be removed; returns whether it holds
            anything. Called first, and again before the exchange.

    Raises:
        PromptError: another process is at it, or the directory cannot be exchanged.
        OSError: the directory beside it cannot be made.
    """
    folder = folder.resolve()
    aside, earlier = (folder.with_name(f".{folder.name}{end}") for end in (UNFINISHED, EARLIER))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _claimed(aside):
        _settle(folder, earlier)
        _refuse_immovable(folder)
        check(folder)
        yield aside
        _sync(aside)
        if check(folder):
            _exchange(aside, folder, earlier)
        else:  # a directory may be moved onto an empty one
            aside.rename(folder)
        sync_folder(folder.parent)


@contextlib.contextmanager
def _claimed(aside: pathlib.Path) -> Iterator[None]:
    """Makes a directory that no other process has, and removes what has its name afterwards."""
    with contextlib.ExitStack() as held:
        if os.path.lexists(aside):
            held.callback(os.close, _lock(aside))
            shutil.rmtree(aside)
        aside.mkdir()
        held.callback(os.close, _lock(aside))
        try:
            yield
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _lock(folder: pathlib.Path) -> int:
    """Returns an open directory that is this process's until it is closed, or the process ends."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)
        raise PromptError(
            f"another process is writing {folder}; wait until it has ended, then run again"
        ) from None
    return opened


def _settle(folder: pathlib.Path, earlier: pathlib.Path) -> None:
    """Ends what a kill stopped in the middle of `_exchange`."""
    if not os.path.lexists(earlier):
        return
    if not folder.exists():
        earlier.rename(folder)
    else:
        shutil.rmtree(earlier)


def _refuse_immovable(folder: pathlib.Path) -> None:
    if os.path.ismount(folder):
        why = "is where a disk is mounted, which no other directory can take the place of"
    elif folder.exists() and pathlib.Path.cwd().is_relative_to(folder):
        why = "is the current directory, or around it, and would be another one afterwards"
    else:
        return
    raise PromptError(f"{folder} {why}; name a new folder, e.g. {folder / 'export'}")


def _exchange(aside: pathlib.Path, folder: pathlib.Path, earlier: pathlib.Path) -> None:
    shutil.copymode(folder, aside)
    if not _swap(aside, folder):
        folder.rename(earlier)
        aside.rename(folder)
        shutil.rmtree(earlier, ignore_errors=True)


def _swap(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Exchanges two directories in one step; returns False where that is not possible."""
    system = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if hasattr(system, "renameat2"):
        failed = system.renameat2(_CURRENT, names[0], _CURRENT, names[1], _EXCHANGE)
    elif hasattr(system, "renamex_np"):
        failed = system.renamex_np(*names, _EXCHANGE)
    else:
        return False
    if failed and ctypes.get_errno() not in _CANNOT:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))
    return not failed


def _sync(folder: pathlib.Path) -> None:
    """Waits until a directory and all in it are on disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)
