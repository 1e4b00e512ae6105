"""Downloads the benchmark's image data sets and unpacks them into the expected layout.

    python -m data_pipelines.download caltech101 dtd --root /data
    python -m data_pipelines.download all --root /data

The Hugging Face repository zhengli97/prompt_learning_dataset has every data set of the benchmark
except ImageNet, with its published split. Interrupted downloads resume. The SHA-256 of each archive
is verified. A data set's directory appears only when it is complete; an existing one is left
unchanged. At the end all are checked as by `python -m data_pipelines.check --quick`.

Exit code 0: all are complete; 1: one is incomplete; 2: an error in the command line, or a download
failed.
"""

import sys

from prompt_jax.cli import commands

if __name__ == "__main__":  # before the imports below, so that Ctrl-C works while they run
    sys.exit(commands.run("data_pipelines.download", "main", sys.argv[1:]))

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from data_pipelines import check, datasets
from data_pipelines.catalog.entry import ARCHIVES, Entry
from data_pipelines.checks.findings import passed, report
from data_pipelines.errors import DataError, escape, shorten, unknown
from data_pipelines.fetching import archives, hub
from data_pipelines.fetching.hub import Remote, Repository
from data_pipelines.layouts.layout import expand
from prompt_jax.storage.files import filling

# Below the root, so that an unpacked directory is moved into place by one rename.
_KEPT = ".downloads"
_GB = 10**9


def available() -> dict[str, Entry]:
    """Returns the data sets that have an archive, by name."""
    return {name: entry for name, entry in datasets.TABLE.items() if entry.archives}


def match(names: Sequence[str], repository: Repository) -> dict[str, Remote]:
    """Returns the archive of each data set.

    Raises:
        DataError: one has none, or several.
    """
    found = {}
    for name in names:
        wanted = {_plain(each) for each in datasets.TABLE[name].archives}
        fit = [
            one
            for one in repository.files.values()
            if one.name.lower().endswith(".zip") and _plain(one.name[:-4]) in wanted
        ]
        if len(fit) != 1:
            there = ", ".join(sorted(repository.files)) or "nothing"
            called = " or ".join(f"{each}.zip" for each in datasets.TABLE[name].archives)
            raise DataError(
                f"{name}: {repository.name} has {len(fit)} archives of it instead of one, named "
                f"{called}; it contains {escape(there)}"
            )
        found[name] = fit[0]
    return found


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def check_disk_space(wanted: Mapping[str, Remote], root: Path) -> None:
    """Raises `DataError` if the disk has no room for the downloads, unpacked one by one."""
    parts = (_part(root, one) for one in wanted.values())
    loaded = sum(os.path.getsize(part) for part in parts if part.is_file())
    # Unpacking needs as much again, because images are hardly compressed further.
    needed = sum(one.size for one in wanted.values()) - loaded
    needed += max((one.size for one in wanted.values()), default=0)
    free = shutil.disk_usage(root).free
    if needed > free:
        raise DataError(
            f"{root} has {free / _GB:.1f} GB free, and about {needed / _GB:.1f} GB are needed; "
            "free space, or choose another --root or fewer data sets"
        )


def _part(root: Path, one: Remote) -> Path:
    """Returns the file of a partial download, named by the archive's hash."""
    return root / _KEPT / f"{one.digest[:16]}-{Path(one.name).name}"


def install(path: Path, name: str, root: Path) -> None:
    """Unpacks an archive into a data set's directory, atomically.

    Raises:
        DataError: the archive is rejected; see `archives`.
    """
    layout: Any = datasets.TABLE[name].layout
    with archives.opening(path) as archive:
        home = archives.find_home(archive, layout.marker)
        inside = [info for place, info in archive.members if place[: len(home)] == home]
        total = sum(info.file_size for info in inside)
        if total > (free := shutil.disk_usage(root).free):
            raise DataError(
                f"{name} unpacks to {total / _GB:.1f} GB, and {root} has {free / _GB:.1f} GB free"
            )
        if others := len(archive.members) - len(inside):
            print(f"{name}: skipped {others:,} other files of the archive")
        with contextlib.suppress(OSError):
            (root / layout.folder).rmdir()  # only an empty one
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        with (
            filling(root / layout.folder) as into,
            Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress,
        ):
            task = progress.add_task(f"unpacking {name}", total=total)
            archives.unpack(archive, home, into, lambda count: progress.advance(task, count))
            os.sync()  # or a power failure leaves a directory of empty files


def run(names: Sequence[str], root: Path, source: str = ARCHIVES, keep: bool = False) -> list[str]:
    """Downloads and unpacks data sets, one after another.

    Args:
        names: names of `available`.
        root: the directory of data sets; created if missing.
        source: the repository.
        keep: keep archives in the root's `.downloads`.

    Returns:
        One message for each failed data set.

    Raises:
        DataError: nothing was downloaded: the repository lacks a data set, the disk has no room, or
            another download is running in the root.
    """
    missing = []
    for name in names:
        folder = _home(root, name)
        if _exists(folder):
            print(escape(f"{name} exists already and is left unchanged: {folder}"))
        else:
            missing.append(name)
    if not missing:
        return []
    with _locked(root):
        repository = _look_up(source, missing, root)
        wanted = match(missing, repository)
        check_disk_space(wanted, root)
        _show(repository, wanted)
        failed = []
        for name, one in wanted.items():
            try:
                path = _part(root, one)
                hub.fetch(repository, one, path)
                install(path, name, root)
            except DataError as error:
                failed.append(f"{name}: {error}")
                continue
            if not keep:
                path.unlink()
    return failed


def _look_up(source: str, names: Sequence[str], root: Path) -> Repository:
    """Calls `hub.look_up`, and adds advice for machines without network to its error."""
    try:
        return hub.look_up(source)
    except DataError as error:
        archives_there = ", ".join(f"{datasets.TABLE[name].archives[0]}.zip" for name in names)
        folders = (_home(root, name) for name in names)
        raise DataError(
            f"{error}\nConnect (behind a proxy: set HTTPS_PROXY) and run the same command again; "
            f"it resumes. Or fetch {archives_there} from https://huggingface.co/{source} on "
            f"another machine, and unpack them into {', '.join(map(str, folders))}"
        ) from error


def _home(root: Path, name: str) -> Path:
    """Returns the directory of a data set with an archive below the root."""
    return root / datasets.TABLE[name].layout.folder  # type: ignore[attr-defined]


def _exists(folder: Path) -> bool:
    """Returns whether a path exists and is not an empty directory."""
    if not os.path.lexists(folder):
        return False
    return folder.is_symlink() or not folder.is_dir() or any(folder.iterdir())


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Locks the root's downloads against other processes; removes their directory if empty."""
    kept = root / _KEPT
    kept.mkdir(parents=True, exist_ok=True)
    with open(kept / "lock", "a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A process that just ended may have removed the file opened here.
            ours = os.path.samestat(os.fstat(file.fileno()), os.stat(kept / "lock"))
        except OSError:
            ours = False
        if not ours:
            raise DataError(f"another download is running in {root}; wait for it")
        try:
            yield
        finally:
            (kept / "lock").unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                kept.rmdir()


def _show(repository: Repository, wanted: Mapping[str, Remote]) -> None:
    print(f"from the Hugging Face repository {repository.name} at {repository.commit[:12]}:")
    for name, one in wanted.items():
        entry = datasets.TABLE[name]
        line = f"{name}: {one.name}, {one.size / 10**6:,.1f} MB; {entry.citation}; {entry.url}"
        print(escape(f"  {line}"))
    license = shorten(repository.license) if repository.license else "none"
    print(
        f"license of the repository according to its card: {license}; the images keep the terms of "
        "each data set's authors, on its page"
    )


def _names(given: Sequence[str]) -> list[str]:
    names = [name for one in given for name in one.replace(",", " ").split()]
    if names == ["all"]:
        return list(available())
    for name in names:
        if name in datasets.TABLE and name not in available():
            entry = datasets.TABLE[name]
            where = f"download it from {entry.url}" if entry.url else "it needs no download"
            raise DataError(f"{name} is not in {ARCHIVES}; {where}")
        if name not in available():
            raise unknown("data set", name, ["all", *available()])
    if not names:
        raise DataError("no data set is named; pass names, or all")
    return list(dict.fromkeys(names))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = commands.make_parser("data_pipelines.download", __doc__)
    parser.add_argument("names", nargs="+", help=f"all, or some of {', '.join(available())}")
    parser.add_argument("--root", required=True, help="the directory of the data sets")
    parser.add_argument(
        "--repository", default=ARCHIVES, metavar="user/name", help=f"a copy of it ({ARCHIVES})"
    )
    parser.add_argument("--keep", action="store_true", help="keep archives in ROOT/.downloads")
    options = parser.parse_args(arguments)
    names, root = _names(options.names), expand(options.root)
    if root.exists() and not root.is_dir():
        raise DataError(f"--root={options.root} is not a directory")
    failed = run(names, root, options.repository, options.keep)
    findings = check.run(names, root, "coop", quick=True)
    report([one for one in findings if one.found], root, Console())
    if failed:
        raise DataError("\n".join(failed))
    return 0 if passed(findings, named=True) else 1
