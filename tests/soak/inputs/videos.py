"""Videos of the usual formats, and lists of other videos with their suffixes."""

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np

from data_pipelines.examples import Example
from data_pipelines.videos.readers import VideoReader
from prompt_jax.inputs.videos.sampling import centre_frames
from prompt_jax.inputs.videos.transforms import test_transform

from ..files import Files
from ..kind import Kind, Wrong, changing
from ..mutations import BYTES

FRAMES, SIZE = 4, 32
# By suffix: FFmpeg's name of the format, encoder, pixel format.
_ENCODINGS = {
    "mp4": ("mp4", "libx264", "yuv420p"),
    "mkv": ("matroska", "libx264", "yuv420p"),
    "webm": ("webm", "libvpx", "yuv420p"),
    "avi": ("avi", "mpeg4", "yuv420p"),
    "ts": ("mpegts", "mpeg2video", "yuv420p"),
    "flv": ("flv", "libx264", "yuv420p"),
    "animation": ("gif", "gif", "gray"),
}
_LISTS = (
    b"ffconcat version 1.0\nfile clip.mp4\nfile /etc/passwd\n",
    b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\nhttp://localhost/a.ts\n#EXT-X-ENDLIST\n",
)


def read(folder: Path) -> None:
    """Reads the whole file as in testing."""
    (path,) = folder.iterdir()
    reader = VideoReader(folder)
    example = Example(path.name, 0, "clip")
    reader.check(example)
    clip = reader(example)
    made = np.empty((FRAMES, SIZE, SIZE, 3), np.float32)
    test_transform(clip.frames(centre_frames(clip.count, FRAMES).tolist()), SIZE, made)
    if not np.isfinite(made).all():
        raise Wrong("not finite")


def _encoded(ending: str, **options: Any) -> bytes:
    format, codec, pixels = _ENCODINGS[ending]
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (24, 64, 3), dtype=np.uint8)
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 32, 24, pixels
        for x in range(20):
            frame = av.VideoFrame.from_ndarray(noise[:, x : x + 32].copy(), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def _make(ending: str) -> list[Files]:
    made = [_encoded(ending), _encoded(ending, g="5")]
    return [{f"video.{ending}": content} for content in made]


def _any_list(random: Random, files: Files, others: Sequence[Files]) -> Files:
    return {"clip.mp4": random.choice(_LISTS) + bytes(random.randrange(9))}


KINDS = [
    *(
        Kind(ending, 3, partial(_make, ending), changing(ending, BYTES), read)
        for ending in _ENCODINGS
    ),
    Kind("clip_list", 0.3, lambda: [{"clip.mp4": _encoded("mp4")}], _any_list, read),
]
