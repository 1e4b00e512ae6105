"""Replaces a directory atomically: either the old or the new one is there, complete."""

import contextlib
import ctypes
import errno
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator

from prompt_jax.errors import PromptError
from prompt_jax.storage.files import UNFINISHED, lock, sync_folder

EARLIER = ".earlier"
_CURRENT, _EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of Linux; macOS has the second too
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # by the file system or the kernel


@contextlib.contextmanager
def replacing(
    folder: pathlib.Path, check: Callable[[pathlib.Path], bool]
) -> Iterator[pathlib.Path]:
    """Yields an empty directory next to `folder`, which replaces it when the block ends.

    If the block raises or the process is killed, `folder` stays unchanged; a leftover
    ".NAME.unfinished" is removed by the next call. On file systems that cannot exchange two
    directories (NFS), the old one is briefly named ".NAME.earlier"; if the process is killed at
    that moment, the next call restores it.

    Args:
        folder: a new directory, or one that may be replaced; links are followed.
        check: raises if `folder` must not be replaced; returns whether it holds anything.
            Called first, and again before the exchange.

    Raises:
        PromptError: another process is writing it, or it cannot be exchanged.
        OSError: the directory next to it cannot be created.
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
        else:  # renaming onto an empty directory is allowed
            aside.rename(folder)
        sync_folder(folder.parent)


@contextlib.contextmanager
def _claimed(aside: pathlib.Path) -> Iterator[None]:
    """Creates and locks a directory; removes whatever has its name afterwards."""
    with contextlib.ExitStack() as held:
        if os.path.lexists(aside):
            held.callback(os.close, lock(aside))
            shutil.rmtree(aside)
        aside.mkdir()
        held.callback(os.close, lock(aside))
        try:
            yield
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _settle(folder: pathlib.Path, earlier: pathlib.Path) -> None:
    """Completes or reverts an `_exchange` during which the process was killed."""
    if not os.path.lexists(earlier):
        return
    if not folder.exists():
        earlier.rename(folder)
    else:
        shutil.rmtree(earlier)


def _refuse_immovable(folder: pathlib.Path) -> None:
    if os.path.ismount(folder):
        why = "is a mount point, which cannot be replaced"
    elif folder.exists() and pathlib.Path.cwd().is_relative_to(folder):
        why = "contains the current directory, which would be replaced"
    else:
        return
    raise PromptError(f"{folder} {why}; name a new directory, e.g. {folder / 'export'}")


def _exchange(aside: pathlib.Path, folder: pathlib.Path, earlier: pathlib.Path) -> None:
    shutil.copymode(folder, aside)
    if not _swap(aside, folder):
        folder.rename(earlier)
        aside.rename(folder)
        shutil.rmtree(earlier, ignore_errors=True)


def _swap(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Exchanges two directories atomically; returns False if that is not supported."""
    system = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if hasattr(system, "renameat2"):
        failed = system.renameat2(_CURRENT, names[0], _CURRENT, names[1], _EXCHANGE)
    elif hasattr(system, "renamex_np"):
        failed = system.renamex_np(*names, _EXCHANGE)
    else:
        return False
    if failed and ctypes.get_errno() not in _UNSUPPORTED:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))
    return not failed


def _sync(folder: pathlib.Path) -> None:
    """Waits until a directory and its content are on disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)
