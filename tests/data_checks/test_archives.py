"""Archives that leave their directory, have false headers or are damaged write nothing."""

import stat

import numpy as np
import pytest
import tiny
from zips import zipped

from data_pipelines import download
from data_pipelines.errors import DataError
from data_pipelines.fetching import archives

SPLIT = "caltech-101/" + tiny.SPLIT
LINK, DEVICE = (stat.S_IFLNK | 0o777) << 16, (stat.S_IFCHR | 0o666) << 16
HOSTILE = {
    "above": ("leads out of", ("caltech-101/../../evil.txt", "x")),
    "absolute": ("leads out of", ("/etc/evil.txt", "x")),
    "no name": ("leads out of", ("caltech-101//evil.txt", "x")),
    "Windows": ("a null byte or a backslash", ("caltech-101\\..\\evil.txt", "x")),
    "long name": ("a path that is too long", ("caltech-101/" + "x" * 300, "x")),
    "deep": ("a path that is too long", ("x/" * 40 + "x", "x")),
    "twice": ("is in it twice", (SPLIT, "{}")),
    "no directory": ("is a file and a directory", (SPLIT + "/a", "x")),
    "two of them": ("one data set is expected", ("other/" + tiny.SPLIT, "{}")),
}


def damaged(kind):
    """Returns the error message of an invalid archive, and its bytes."""
    split = [(SPLIT, "{}")]
    match kind:
        case "link":
            return "is a link or a device", zipped([(SPLIT, "/etc/passwd")], external_attr=LINK)
        case "device":
            return "is a link or a device", zipped(split, external_attr=DEVICE)
        case "another":
            return "has no split_zhou_Caltech101", zipped([("caltech-101/a.jpg", "x")])
        case "bomb":
            small = bytearray(zipped([(SPLIT, bytes(2**16))]))
            place = small.index(b"PK\x01\x02") + 24
            small[place : place + 4] = (2**31).to_bytes(4, "little")
            return "the limit is .*, because images", bytes(small)
        case "no archive":
            return "not a zip archive, or is damaged", b"PK\x03\x04 is none"
        case "cut":
            return "not a zip archive, or is damaged", zipped(split)[:-30]
        case "encrypted":
            content = bytearray(zipped(split))
            content[content.index(b"PK\x01\x02") + 8] |= 1
            return "is encrypted", bytes(content)
        case "changed":
            content = zipped([(SPLIT, np.random.default_rng(0).bytes(4000))])
            return "is damaged", content[:200] + b"????" + content[204:]
        case "larger than it says":
            content = bytearray(zipped([(SPLIT, b"a" * 5000)]))
            place = content.index(b"PK\x01\x02") + 24
            content[place : place + 4] = (10).to_bytes(4, "little")
            return "is damaged", bytes(content)
    message, entry = HOSTILE[kind]
    return message, zipped([*split, entry])


DAMAGED = ("link", "device", "another", "bomb", "no archive", "cut", "encrypted", "changed")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", [*HOSTILE, *DAMAGED, "larger than it says"])
def test_invalid_archives_are_rejected_and_write_nothing(tmp_path, kind):
    root = tmp_path / "root"
    message, content = damaged(kind)
    (root / ".downloads").mkdir(parents=True)
    archive = root / ".downloads/caltech-101.zip"
    archive.write_bytes(content)
    with pytest.raises(DataError, match=message):
        download.install(archive, "caltech101", root)
    assert [path for path in root.rglob("*") if path.is_file()] == [archive]
    assert not (root / "caltech-101").exists() and not (root.parent / "evil.txt").exists()


def test_the_file_table_of_an_archive_is_bounded(tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_bytes(zipped([(f"{n}.jpg", "x") for n in range(2000)]))
    monkeypatch.setattr(archives, "MOST_ENTRIES", 1999)

    def look_through():
        with archives.opening(tmp_path / "a.zip"):
            pass

    with pytest.raises(DataError, match="has 2,000 files; the limit is 1,999"):
        look_through()
    monkeypatch.setattr(archives, "_MOST_TABLE", 2**16)
    with pytest.raises(DataError, match="a table of .* bytes; the limit is 65,536"):
        look_through()
