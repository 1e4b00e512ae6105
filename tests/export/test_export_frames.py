"""An exported model reads the same frames and pixels of videos, and explains errors."""

import builtins
import os
import socket

import needs_torch  # noqa: F401
import numpy as np
import pytest
import torch
import video_files
from exported_videos import inputs_of
from PIL import Image

from prompt_jax.export.torch_parts import frames
from prompt_jax.export.torch_parts.images import open_image
from prompt_jax.inputs import preparation
from prompt_jax.inputs.images.preprocessing import Preprocessing, statistics
from prompt_jax.inputs.videos import decoding, sampling

RULES = [(rule, crop) for rule in ("centre", "even") for crop in ("clip", "vifi")]


def expected(clip, inputs):
    out = np.empty(inputs.shape, np.float32)
    preparation.prepare(clip, inputs, out)
    return out


def found(clip, inputs):
    return frames.preprocess_video(clip, vars(inputs)).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("rule", sampling.TEST_RULES)
def test_frames_are_chosen_as_in_the_library(rule):
    for count in range(1, 40):
        for wanted in (1, 3, 12):
            ours = sampling.choose(rule, count, wanted, 2.5).tolist()
            assert frames.choose_frames(rule, count, wanted, 2.5) == ours


@pytest.mark.parametrize(("rule", "crop"), RULES)
@pytest.mark.parametrize("size", [(48, 32), (20, 61), (3, 900), (16, 16)])
def test_directories_of_frames_are_prepared_as_in_the_library(tmp_path, rule, crop, size):
    rng = np.random.default_rng(0)
    for number in (9, 10, 2, 30, 4):
        pixels = rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        image = Image.fromarray(pixels)
        exif = image.getexif()
        exif[0x0112] = 6 if number % 2 else 1  # rotated, as written by phones
        image.save(tmp_path / f"clip7_{number}.png", exif=exif)
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden1.png").touch()
    inputs = inputs_of(rule, crop)
    assert (found(tmp_path, inputs) == expected(tmp_path, inputs)).all()
    images = [Image.fromarray(pixels), *[Image.new("L", size, grey) for grey in (9, 200)]]
    assert (found(images, inputs) == expected(images, inputs)).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("a.mp4", {"bf": "2", "g": "12"}),
        ("a.mkv", {"rate": 3}),
        ("a.gif", {"codec": "gif", "pixels": "rgb8", "rate": 10}),
    ],
)
@pytest.mark.parametrize(("rule", "crop"), [*RULES, ("second", "clip")])
def test_video_files_are_prepared_as_in_the_library(tmp_path, name, options, rule, crop):
    path = video_files.write(tmp_path / name, count=20, **options)
    inputs = inputs_of(rule, crop)
    assert (found(path, inputs) == expected(path, inputs)).all()


def test_imagenet_s_statistics_are_equal():
    inputs = preparation.Inputs.of(
        16, Preprocessing(*statistics("imagenet")), frames=1, frame_rule="even"
    )
    clip = [Image.new("RGB", (20, 30), (7, 130, 255))]
    assert (found(clip, inputs) == expected(clip, inputs)).all()


def test_errors_are_explained(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="a video has no frames"):
        frames.open_video(tmp_path)
    folder = video_files.write_folder(tmp_path / "numbered")
    with pytest.raises(ValueError, match="needs a frame rate; pass a video file"):
        found(folder, inputs_of("second"))
    (folder / "cover.png").touch()
    with pytest.raises(ValueError, match=r"cover\.png has no number"):
        frames.open_video(folder)
    path = video_files.write(tmp_path / "a.mp4", count=2)
    real = builtins.__import__

    def without_av(name, *rest):
        if name == "av":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(ValueError, match="pip install av; or pass a directory of frames"):
        frames.open_video(path)


def test_a_video_is_float32_with_channels_first(tmp_path):
    folder = video_files.write_folder(tmp_path / "clip")
    clip = frames.preprocess_video(folder, vars(inputs_of()))
    assert clip.shape == (3, 3, 16, 16) and clip.dtype == torch.float32


def test_formats_are_equal():
    assert frames.FORMATS == decoding.FORMATS
    assert frames.MOST_PIXELS == decoding.MAX_PIXELS


@pytest.mark.parametrize(
    "script",
    [
        "ffconcat version 1.0\nfile 'real.mp4'\n",
        "ffconcat version 1.0\nfile '{url}'\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nreal.mp4\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
        "[playlist]\nFile1={url}\nNumberOfEntries=1\n",
        '<?xml version="1.0"?><MPD><Period><BaseURL>{url}</BaseURL></Period></MPD>',
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.m3u8", "concat:real.mp4"])
def test_playlists_that_open_other_files_and_urls_are_not_videos(tmp_path, name, script):
    video_files.write(tmp_path / "real.mp4", count=3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/real.mp4"
        (tmp_path / name).write_text(script.format(url=url))
        with pytest.raises(ValueError, match="cannot be read"):
            frames.open_video(tmp_path / name)
        with pytest.raises(BlockingIOError):  # nobody has connected
            server.accept()


@pytest.mark.parametrize("open_it", [frames.open_video, open_image])
def test_only_regular_files_are_opened(tmp_path, open_it):
    os.mkfifo(tmp_path / "a.mp4")
    for path in (tmp_path / "a.mp4", "/dev/zero"):
        with pytest.raises(ValueError, match="is not a regular file"):
            open_it(path)


def test_images_of_other_formats_start_no_program(tmp_path):
    """Tests PostScript, which Pillow reads by starting Ghostscript."""
    header = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    (tmp_path / "a.png").write_text(header)
    with pytest.raises(OSError, match="cannot identify image file"):
        open_image(tmp_path / "a.png")
