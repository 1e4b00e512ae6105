"""Unreadable videos are explained, one at a time and as a list; FFmpeg prints nothing."""

import os
import pickle
import socket

import av
import numpy as np
import pytest
from video_files import write, write_folder

from data_pipelines.errors import BadImage, BadVideo, DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.images import readers as images
from data_pipelines.videos.readers import VideoReader
from prompt_jax.inputs.videos import decoding


@pytest.fixture
def read(tmp_path):
    return VideoReader(tmp_path)


def reason(read, name, span=None):
    """Returns the error of opening a video, before a frame is requested."""
    with pytest.raises(BadImage) as error:
        read.check(Example(name, 0, "x", span=span))
    assert error.value.image == str(read.folder / name)
    return error.value.reason


def cut(path, share):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def damage(path):
    """Overwrites the second half of the coded frames, but not the index."""
    content = bytearray(path.read_bytes())
    begin = content.index(b"mdat") + 4
    size = int.from_bytes(content[begin - 8 : begin - 4], "big") - 8
    content[begin + size // 2 : begin + size] = b"\xff" * (size - size // 2)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mkv", {"codec": "libx264", "g": "16"}),
        ("a.webm", {"codec": "libvpx-vp9"}),
        ("a.gif", {"codec": "gif", "pixels": "gray"}),
        ("a.avi", {"codec": "mpeg4", "g": "16"}),
        ("a.flv", {"codec": "libx264", "g": "16"}),
        # The index is at the start, as in files for streaming, or at the end.
        ("front.mp4", {"codec": "libx264", "movflags": "faststart"}),
        ("back.mp4", {"codec": "libx264"}),
    ],
)
@pytest.mark.parametrize("share", [0.6, 0.95])
def test_a_truncated_file_is_bad(tmp_path, read, capfd, name, options, share):
    read.check(Example(str(write(tmp_path / name, **options)), 0, "x"))
    cut(tmp_path / name, share)
    assert "truncated" in reason(read, name)
    assert capfd.readouterr() == ("", "")


def test_special_files_are_not_opened(tmp_path, read, capfd):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("This is no video, whatever its name says.\n" * 9)
    os.mkfifo(tmp_path / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.mp4"))
    (tmp_path / "link.mp4").symlink_to("nowhere.mp4")
    assert reason(read, "empty.mp4") == "an empty file"
    assert reason(read, "text.mp4").startswith("not a video, truncated, or none of MP4, MOV, ")
    assert reason(read, "pipe.mp4") == "a named pipe, not a video file"
    assert reason(read, "socket.mp4") == "a socket, not a video file"
    assert reason(read, "link.mp4") == reason(read, "gone.mp4") == "no such file"
    assert "null" in reason(read, "null\0.mp4")
    assert capfd.readouterr() == ("", "")


def test_a_video_opens_no_other_file(tmp_path, read):
    write(tmp_path / "other.mp4")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile other.mp4\n")
    (tmp_path / "page.mp4").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\nother.mp4\n#EXT-X-ENDLIST\n"
    )
    for name in ("list.mp4", "page.mp4"):
        assert reason(read, name).startswith("not a video")
    # A name that FFmpeg would take for a URL.
    write(tmp_path / "http:a.mp4")
    assert VideoReader(tmp_path)(Example("http:a.mp4", 0, "x")).count == 50


def test_audio_alone_is_not_a_video(tmp_path, read):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        samples = np.zeros((1, 16000), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert reason(read, "sound.mp4") == "no video stream, only audio or other data"


def test_too_large_or_too_many_frames_are_rejected(tmp_path, read, monkeypatch):
    write(tmp_path / "a.mp4")
    monkeypatch.setattr(decoding, "MAX_PIXELS", 48 * 31)
    assert reason(read, "a.mp4") == "48 x 32 pixels, more than 1488; make it smaller"
    monkeypatch.setattr(decoding, "MAX_PIXELS", 48 * 32)
    monkeypatch.setattr(decoding, "MAX_FRAMES", 49)
    assert reason(read, "a.mp4") == "more than 49 frames; cut it into parts"
    monkeypatch.setattr(decoding, "MAX_FILE_BYTES", 100)
    assert "bytes; the limit is" in reason(read, "a.mp4")


def test_damaged_frames_are_reported_with_the_video(tmp_path, read):
    damage(write(tmp_path / "a.mp4"))
    # The file's headers and its first frame are intact.
    read.check(Example("a.mp4", 0, "x"))
    with pytest.raises(BadVideo, match=r"cannot read the video .*a\.mp4: damaged") as error:
        read.decode(Example("a.mp4", 0, "x"))
    copy = pickle.loads(pickle.dumps(error.value))
    assert (str(copy), type(copy)) == (str(error.value), BadVideo)


def test_a_title_in_an_old_encoding_is_accepted(tmp_path, read):
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        container.metadata["title"] = "Cafe in Koeln"
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 48, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    content = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "a.avi").write_bytes(content.replace(b"Cafe in", b"Caf\xe9 in"))
    read.check(Example("a.avi", 0, "x"))


def test_a_span_without_frames_reports_the_length_of_the_video(tmp_path, read):
    write(tmp_path / "a.mp4")
    assert reason(read, "a.mp4", (5, 30)) == (
        "no frame from second 5 to 30; its last one is at 1.96 s"
    )
    assert "no frame from second 1 to 0" in reason(read, "a.mp4", (1, 0))


def test_invalid_directories_of_frames_are_rejected_with_the_reason(tmp_path, read):
    (tmp_path / "none").mkdir()
    assert reason(read, "none").startswith("a directory without images")
    write_folder(tmp_path / "two", 3)
    (tmp_path / "two/1.jpg").write_bytes((tmp_path / "two/00001.jpg").read_bytes())
    assert reason(read, "two").startswith("00001.jpg and 1.jpg have the same number")
    write_folder(tmp_path / "unnumbered", 3)
    (tmp_path / "unnumbered/00001.jpg").rename(tmp_path / "unnumbered/first.jpg")
    assert reason(read, "unnumbered").startswith("first.jpg has no number")
    write_folder(tmp_path / "damaged", 3)
    (tmp_path / "damaged/00002.jpg").write_text("no image")
    assert reason(read, "damaged").startswith("00002.jpg: not an image")
    with pytest.raises(BadVideo, match=r"damaged: 00002\.jpg: not an image"):
        read.decode(Example("damaged", 0, "x"))
    write_folder(tmp_path / "good", 3)
    assert "so a span of seconds cannot be selected" in reason(read, "good", (0, 1))


@pytest.fixture
def dataset(tmp_path, read):
    """Returns a good file and directory, a truncated file, and one with damaged frames."""
    write(tmp_path / "good.mp4")
    write_folder(tmp_path / "folder")
    cut(write(tmp_path / "short.mp4"), 0.5)
    damage(write(tmp_path / "inside.mp4"))
    names = ["good.mp4", "short.mp4", "folder", "inside.mp4"]
    examples = tuple(Example(name, i, name) for i, name in enumerate(names))
    return Dataset("mine", "{}", examples, (), (), read, tmp_path, kind="videos")


def test_all_bad_videos_are_found_and_excluded(dataset):
    bad = images.find_bad(dataset, dataset.train)
    assert [path.rsplit("/")[-1] for path, _ in bad] == ["short.mp4", "inside.mp4"]
    assert images.find_bad(dataset, dataset.train, decode=False) == bad[:1]
    good, left_out = images.drop_bad(dataset, dataset.train)
    assert [example.image for example in good] == ["good.mp4", "folder"] and left_out == bad


def test_the_list_of_bad_videos_calls_them_videos(dataset, tmp_path):
    with pytest.raises(BadVideo) as first:
        dataset.read(dataset.train[1])
    error = images.all_bad_error(dataset, dataset.train, first.value)
    assert str(error).startswith("mine: 2 of 4 videos cannot be read:\n")
    assert f"{tmp_path}/inside.mp4: " in str(error)
    gone = (*dataset.train, Example("gone.mp4", 0, "x"))
    with pytest.raises(DataError, match="1 of 5 videos are missing in"):
        images.check_files(dataset, gone)


def test_a_span_of_the_same_file_is_checked_separately(dataset):
    examples = [Example("good.mp4", 0, "x", span=span) for span in ((0, 1), (50, 60))]
    assert len(images.find_bad(dataset, examples)) == 1


def test_a_file_removed_after_the_check_is_bad_when_read(dataset, tmp_path):
    clip = dataset.read(dataset.train[0])
    (tmp_path / "good.mp4").unlink()
    with pytest.raises(BadVideo, match=r"good\.mp4: no such file"):
        next(clip.frames([0]))
