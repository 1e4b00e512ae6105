"""Videos are found by name, and pickles of captions are read as data."""

import pickle

import pytest

from data_pipelines.errors import DataError
from data_pipelines.layouts.plain_pickle import read_pickle
from data_pipelines.layouts.video_files import find_videos, video_id


def test_videos_in_any_directory_are_found_once(tmp_path):
    paths = (
        *("one.MP4", "a/b/two.avi", "a/thumbnail.jpg", ".hidden/three.mp4", "a/.four.mp4"),
        *("frames/five/2.jpg", "frames/five/1.jpg", "six/seven.gif", "six/notes.txt", "cover.png"),
    )
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "linked").symlink_to(tmp_path / "a/b")
    (tmp_path / "a/round").symlink_to(tmp_path)
    found = find_videos(tmp_path)
    # A link and its directory are read once, whichever comes first.
    assert found.pop("two") in (["a/b/two.avi"], ["linked/two.avi"])
    assert found == {
        "a": ["a"],
        "five": ["frames/five"],
        "one": ["one.MP4"],
        "seven": ["six/seven.gif"],
    }
    with pytest.raises(DataError, match="cannot read the directory .*nowhere"):
        find_videos(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("video1.mp4", "video1"),
        ("x_00.23.23.000-00.23.28.886.AVI", "x_00.23.23.000-00.23.28.886"),
        ("x_00.23.23.000-00.23.28.886", "x_00.23.23.000-00.23.28.886"),
        ("8bb0dfc88f.", "8bb0dfc88f"),
        ("-4wsuPCjDBc_5_15", "-4wsuPCjDBc_5_15"),
    ],
)
def test_ids_keep_their_dots(name, expected):
    assert video_id(name) == expected


def test_a_pickle_of_python_2(tmp_path):
    # Protocol 0, and protocol 2 with "café".
    (tmp_path / "0").write_bytes(b"(dp0\nS'd'\np1\n(lp2\n(lp3\nS'cat'\np4\naS'a'\naas.")
    (tmp_path / "2").write_bytes(
        b"\x80\x02}q\x00U\x01dq\x01]q\x02]q\x03(U\x05caf\xc3\xa9q\x04U\x01aeas."
    )
    assert read_pickle(tmp_path / "0", "file") == {"d": [["cat", "a"]]}
    assert read_pickle(tmp_path / "2", "file") == {"d": [["café", "a"]]}


class Run:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return (print, ("it ran",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            pickle.dumps({"d": Run()}),
            "contains more than lists, .*; nothing was executed",
        ),
        (pickle.dumps({"d": [1]}), "contains more than lists"),
        (pickle.dumps({("a",): []}, 2), "contains more than lists"),
        (pickle.dumps([[["a"]] * 2], 2), "has a list as a name, or in two places"),
        (pickle.dumps({"d": [["a", "cat"]]})[:-9], "is damaged"),
        (b"", "is damaged"),
        (b"\x80\x04}\x94.garbage", None),
        (b"\x80\x04\x94.", "is damaged"),
        (b"\x80\x02U\x02\xff\xfe.", "is damaged"),
        (b"\x80\x02]U\x01as.", "is damaged"),
        (b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.", "is damaged"),
    ],
)
def test_other_pickles_are_rejected(tmp_path, capsys, content, message):
    (tmp_path / "p").write_bytes(content)
    if message is None:
        assert read_pickle(tmp_path / "p", "file of captions") == {}
        return
    with pytest.raises(DataError, match=f"file of captions .*p: its pickle {message}"):
        read_pickle(tmp_path / "p", "file of captions")
    assert capsys.readouterr().out == ""
