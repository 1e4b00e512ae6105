"""A user's own action videos: class directories and CSV files."""

import pytest
from video_files import write, write_folder

from data_pipelines import check, datasets
from data_pipelines.errors import DataError


def test_own_directories_of_videos(tmp_path):
    write(tmp_path / "train/long_jump/a.mp4", count=5)
    write_folder(tmp_path / "train/long_jump/b", count=4)
    write(tmp_path / "train/run/deeper/c.webm", codec="libvpx", count=8)
    write(tmp_path / "test/run/d.MP4", count=6)
    write(tmp_path / "test/long_jump/e.avi", codec="mpeg4", count=7)
    (tmp_path / "test/run/notes.txt").touch()
    dataset = datasets.load("clip_folder", tmp_path)
    assert dataset.kind == "videos" and dataset.class_names == ("long jump", "run")
    assert [e.image for e in dataset.train] == [
        "train/long_jump/a.mp4",
        "train/long_jump/b",
        "train/run/deeper/c.webm",
    ]
    assert [dataset.read(e).count for e in dataset.train] == [5, 4, 8]
    assert dataset.notes[0].startswith(
        "train/run contains the directory deeper: their videos count as"
    )
    assert dataset.notes[1] == f"{tmp_path / 'test'}: skipped, not a video suffix: 1 .txt"
    assert check.check("clip_folder", tmp_path).problems == ()
    write(tmp_path / "train/x.mp4", count=1)
    with pytest.raises(DataError, match="1 videos are directly in .*train, e.g. x.mp4; move them"):
        datasets.load("clip_folder", tmp_path)
    (tmp_path / "train/x.mp4").unlink()
    write_folder(tmp_path / "train/sit", count=1)
    with pytest.raises(
        DataError, match="directory 'sit' in .* contains no videos .*.mp4 .*leave_out=sit"
    ):
        datasets.load("clip_folder", tmp_path)
    with pytest.raises(
        DataError, match=r"clip_folder: no directory train .*\n(.*\n)*.*<class>/\*.mp4"
    ):
        datasets.load("clip_folder", tmp_path / "train/run/deeper")
    # Class directories without splits are divided automatically at any depth.
    divided = datasets.load("clip_folder", tmp_path / "test")
    assert "no directories train and test" in divided.notes[0]


def test_own_csv_of_videos(tmp_path):
    write(tmp_path / "c/1.mp4", count=3)
    write_folder(tmp_path / "c/2", count=3)
    rows = "path,label,split\nc/1.mp4,long_jump,train\nc/2,run,train\nc/2,run,test\n"
    (tmp_path / "list.csv").write_text(rows)
    dataset = datasets.load("clip_csv", tmp_path)
    assert dataset.kind == "videos" and dataset.class_names == ("long jump", "run")
    assert [dataset.read(e).count for e in dataset.train] == [3, 3]
    assert dataset.read.upright
    assert not datasets.load("clip_csv", tmp_path, ignore_rotation=True).read.upright
    with pytest.raises(DataError, match=r"root is not set\n(.*\n)*  videos/1.mp4,jumping,train"):
        datasets.load("clip_csv")
