"""Archives of data sets, as unpacked after a download."""

import io
import os
import stat
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from data_pipelines import datasets, download
from tests.helpers.tiny import SPLIT

from ..files import Files
from ..kind import Kind, Wrong
from ..mutations import BYTES
from .lists import _make_split

ARCHIVE = "caltech-101.zip"
_NAMES = (
    *("../evil", "/evil", "a/../../../evil", "caltech-101/../../x", "..", ".", "", "/", "a//b"),
    *("..\\evil", "C:\\evil", "a\0b", "a" * 300, "a/" * 50 + "b", "\u202egpj", "\x1b[2J", "a\nb"),
    *(
        f"caltech-101/{SPLIT}",
        f"caltech-101/{SPLIT}/a",
        "caltech-101",
        f"b/{SPLIT}",
        "CALTECH-101/x",
    ),
)
_MODES = (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, stat.S_IFDIR)


def _zipped(entries: Sequence[tuple[zipfile.ZipInfo, bytes]]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate name")  # as in malicious archives
        for info, data in entries:
            archive.writestr(info, data)
    return content.getvalue()


def _make() -> list[Files]:
    files = _make_split()[0]
    entries = [(zipfile.ZipInfo(name), data) for name, data in files.items()]
    return [{ARCHIVE: _zipped([(info, data) for info, data in entries if isinstance(data, bytes)])}]


def _change(random: Random, files: Files, others: Sequence[Files]) -> Files:
    """Damages bytes, or gives entries other names, types and sizes, or repeats them."""
    content = files[ARCHIVE]
    assert isinstance(content, bytes)
    if random.random() < 0.5:
        for _ in range(random.choice((1, 1, 2, 4))):
            content = random.choice(BYTES)(random, content, [content])
        return {ARCHIVE: content}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [(info, archive.read(info)) for info in archive.infolist()]
    for _ in range(random.choice((1, 1, 2, 5))):
        place = random.randrange(len(entries))
        info, data = entries[place]
        match random.randrange(5):
            case 0:
                entries[place] = zipfile.ZipInfo(random.choice(_NAMES) or "x"), data
            case 1:
                info.external_attr = (random.choice(_MODES) | 0o777) << 16
            case 2:
                entries.append((zipfile.ZipInfo(info.filename), b"another"))
            case 3:
                entries.append((zipfile.ZipInfo(random.choice(_NAMES) or "x"), b"x"))
            case _:
                bomb = zipfile.ZipInfo("caltech-101/zeros")
                bomb.compress_type = zipfile.ZIP_DEFLATED
                entries.append((bomb, bytes(random.choice((10, 10**6, 10**7)))))
    random.shuffle(entries)
    content = _zipped(entries)
    if random.random() < 0.3:  # the sizes in the central directory
        changed, place = bytearray(content), content.rindex(b"PK\x01\x02") + 20
        changed[place : place + 8] = random.randbytes(8)
        content = bytes(changed)
    return {ARCHIVE: content}


def _read(folder: Path) -> None:
    """Unpacks the archive and reads the result, which must be complete or absent."""
    archive = folder / ARCHIVE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sync", lambda: None)  # of all disks of the machine
        try:
            download.install(archive, "caltech101", folder)
        finally:
            entries = {path.name for path in folder.iterdir()} - {ARCHIVE}
            if not entries <= {"caltech-101"}:
                raise Wrong(f"left behind: {entries}"[:300])
    for path in (folder / "caltech-101").rglob("*"):
        if not (path.is_dir() or path.is_file()) or path.is_symlink():
            raise Wrong(f"no regular file: {path.name!r}")
    datasets.load("caltech101", folder)


KINDS = [Kind("archive", 4, _make, _change, _read)]
