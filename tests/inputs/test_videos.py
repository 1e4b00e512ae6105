"""The right frames are read from every kind of video file."""

import av
import numpy as np
import pytest
from video_files import grey, numbers, write, write_folder

from data_pipelines.errors import DataError
from data_pipelines.examples import Example
from data_pipelines.videos import readers
from prompt_jax.inputs.videos import decoding
from prompt_jax.inputs.videos.folders import open_folder

# Few key frames and many dependent frames make seeking hard.
KINDS = {
    "h264.mp4": {"codec": "libx264", "bf": "3", "g": "16"},
    "one_key_frame.mp4": {"codec": "libx264", "bf": "3", "g": "250"},
    "fragments.mp4": {"codec": "libx264", "g": "16", "movflags": "frag_keyframe"},
    "open_groups.mkv": {
        "codec": "libx264",
        "bf": "3",
        "g": "16",
        "x264-params": "open-gop=1:scenecut=0",
    },
    "mpeg4.avi": {"codec": "mpeg4", "bf": "2", "g": "12"},
    # Its packets have no times of their own.
    "h264.avi": {"codec": "libx264", "bf": "3", "g": "16"},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "vp8.webm": {"codec": "libvpx", "auto-alt-ref": "1", "lag-in-frames": "16", "g": "16"},
    "vp9.webm": {"codec": "libvpx-vp9", "g": "16"},
    "stream.ts": {"codec": "libx264", "bf": "3", "g": "16"},
    "mpeg2.mpg": {"codec": "mpeg2video", "bf": "2", "g": "15"},
    "animated.gif": {"codec": "gif", "pixels": "gray"},
}


@pytest.mark.parametrize("name", KINDS)
def test_a_frame_is_the_same_in_one_pass_and_alone(tmp_path, name):
    video = decoding.open_video(write(tmp_path / name, **KINDS[name]))
    assert video.count == 50 and video.rate == pytest.approx(25)
    whole = [np.asarray(frame) for frame in video.frames(range(50))]
    assert numbers(whole) == list(range(50))
    for number in (0, 1, 15, 16, 17, 33, 48, 49):
        [alone] = video.frames([number])
        np.testing.assert_array_equal(np.asarray(alone), whole[number])
    some = [3, 3, 17, 18, 40, 49, 49]
    for frame, number in zip(video.frames(some), some, strict=True):
        np.testing.assert_array_equal(np.asarray(frame), whole[number])
    assert list(video.frames([])) == []


def test_only_needed_frames_are_decoded(tmp_path, monkeypatch):
    video = decoding.open_video(write(tmp_path / "a.mkv", "mjpeg", pixels="yuvj420p"))
    read = []
    numbered = decoding.VideoFile._numbered

    def counting(self, stream, packets, wanted):
        return numbered(self, stream, (read.append(1) or packet for packet in packets), wanted)

    monkeypatch.setattr(decoding.VideoFile, "_numbered", counting)
    assert numbers(video.frames([20, 40])) == [20, 40]
    assert len(read) == 2


def test_times_may_be_uneven_and_start_above_zero(tmp_path):
    path = tmp_path / "uneven.mp4"
    times = [125, 126, 127, 140, 141, 170, 171, 172, 199, 200]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for number, time in enumerate(times):
            pixels = np.full((32, 48, 3), grey(number), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = time
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    video = decoding.open_video(path)
    assert numbers(video.frames(range(video.count))) == list(range(10))
    # Seconds count from the first frame; 0.6 s is the frame with value 140.
    part = decoding.open_video(path, span=(0.5, 1.8))
    assert part.count == 2 and numbers(part.frames([0, 1])) == [3, 4]


@pytest.mark.parametrize("name", ["h264.mp4", "h264.avi", "vp9.webm", "animated.gif"])
def test_a_span_is_a_separate_video(tmp_path, name):
    path = write(tmp_path / name, **KINDS[name])
    part = decoding.open_video(path, span=(0.4, 1.2))
    assert part.count == 20 and numbers(part.frames([0, 9, 19])) == [10, 19, 29]
    assert decoding.open_video(path, span=(0, 30)).count == 50


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_frames_are_rotated_as_the_file_says(tmp_path, degrees, turns):
    path = tmp_path / "turned.mp4"
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :24] = 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.set_display_rotation(degrees)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    [stored] = decoding.open_video(path, upright=False).frames([0])
    [upright] = decoding.open_video(path).frames([0])
    # Counterclockwise, like FFmpeg's display matrix.
    np.testing.assert_array_equal(np.asarray(upright), np.rot90(np.asarray(stored), turns))
    assert upright.size != stored.size or degrees == 180


def test_a_directory_of_frames_is_sorted_by_number(tmp_path):
    folder = write_folder(tmp_path / "clip", count=12, name="img_{}.jpg")
    (folder / "notes.txt").write_text("no frame")
    video = readers.VideoReader(tmp_path)(Example("clip", 0, "x"))
    assert (video.count, video.rate) == (12, None)
    assert numbers(video.frames([0, 1, 10, 11, 11])) == [0, 1, 10, 11, 11]


def test_frames_are_decoded_once_within_the_bound(tmp_path):
    decoded = []

    class Counting(readers.VideoReader):
        def __call__(self, example):
            video = super().__call__(example)
            frames = video.frames
            object.__setattr__(
                video, "frames", lambda wanted: decoded.extend(wanted) or frames(wanted)
            )
            return video

    write_folder(tmp_path / "clip", count=12)
    frame_bytes = 48 * 32 * 4
    cached = readers.CachedVideos(Counting(tmp_path), 3 * frame_bytes + 12 * 16)
    for _ in range(2):
        video = cached(Example("clip", 0, "x"))
        assert numbers(video.frames([1, 4, 4, 6, 9])) == [1, 4, 4, 6, 9]
    assert decoded == [1, 4, 6, 9, 9]
    assert cached.store.bytes_used == cached.store.max_bytes


def test_spans_of_one_file_are_cached_separately(tmp_path):
    write(tmp_path / "a.mp4")
    cached = readers.CachedVideos(readers.VideoReader(tmp_path), 10**6)
    first, second = Example("a.mp4", 0, "x", span=(0, 1)), Example("a.mp4", 0, "x", span=(1, 2))
    assert numbers(cached(first).frames([0])) == [0]
    assert numbers(cached(second).frames([0])) == [25]


def test_without_pyav_one_line_names_the_command_that_installs_it(tmp_path, monkeypatch):
    write(tmp_path / "a.mp4")
    write_folder(tmp_path / "b")
    monkeypatch.setitem(__import__("sys").modules, "prompt_jax.inputs.videos.decoding", None)
    monkeypatch.delattr("prompt_jax.inputs.videos.decoding", raising=False)
    read = readers.VideoReader(tmp_path)
    with pytest.raises(DataError, match=r"PyAV.*pip install -e '\.\[video\]'") as error:
        read(Example("a.mp4", 0, "x"))
    assert "\n" not in str(error.value)
    # Directories of frames do not need it.
    assert read(Example("b", 0, "x")).count == open_folder(tmp_path / "b").count == 12
