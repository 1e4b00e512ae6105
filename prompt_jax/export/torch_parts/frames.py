"""Reads videos: samples frames and preprocesses them."""

import contextlib
import itertools
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from prompt_jax.export.torch_parts.images import (
    as_rgb,
    check_regular,
    crop_long,
    open_image,
    preprocess,
    standardize,
)

# FFmpeg's names of MP4 and MOV, MKV and WebM, AVI, GIF, MPEG, FLV, WMV, OGV. Others are refused:
# some are playlists, which open other files and URLs whatever their suffix is.
FORMATS = "mov,matroska,avi,gif,mpeg,mpegts,flv,asf,ogg"
MOST_PIXELS = 2**25  # of a frame
_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif"),
    *(".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
)
_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


class Opened(NamedTuple):
    """A video whose frames are not decoded yet.

    Attributes:
        number: number of frames.
        rate: frames per second, or None if unknown.
        read: decodes the frames of ascending indices.
    """

    number: int
    rate: float | None
    read: Callable[[Sequence[int]], Iterable[Image.Image]]


def open_video(video: Any, upright: bool = True) -> Opened:
    """Opens a directory of numbered frames, a list of paths or PIL images, or a video file.

    Raises:
        ValueError: there are no frames, a file cannot be read, or it needs PyAV.
    """
    if isinstance(video, str | os.PathLike) and not os.path.isdir(video):
        return _open_file(os.fspath(video), upright)
    frames = _listed(pathlib.Path(video)) if isinstance(video, str | os.PathLike) else list(video)
    if not frames:
        raise ValueError(f"a video has no frames: {video!r}")
    return Opened(
        len(frames), None, lambda numbers: (open_image(frames[n], upright) for n in numbers)
    )


def _listed(folder: pathlib.Path) -> list[pathlib.Path]:
    frames = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
    ]
    try:
        return [folder / name for name in order_frames(sorted(path.name for path in frames))]
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None


def order_frames(names: Sequence[str]) -> list[str]:
    """Returns the frame names of a video, sorted by the last number in each name.

    Numbers joined by dots are one: two are sorted as a decimal, "0.75", three or more by their
    parts, "00.01.05".

    Raises:
        ValueError: a name has no number, two names have the same, or the order of decimals is
            ambiguous ("1.10" and "1.2").
    """
    parts: dict[str, list[str]] = {}
    for name in names:
        joined = re.search(r"[0-9]+(\.[0-9]+)*(?=[^0-9]*$)", pathlib.PurePath(name).stem)
        if not joined:
            raise ValueError(f"{name} has no number; name frames like 00001.jpg")
        parts[name] = joined[0].split(".")

    def by_parts(name: str) -> tuple:
        return tuple(map(int, parts[name]))

    def by_value(name: str) -> tuple:
        whole, fraction = parts[name]
        return int(whole), fraction.rstrip("0")

    def by_last(name: str) -> tuple:
        return by_parts(name)[-1:]

    counts = {len(one) for one in parts.values()}
    key = by_last if len(counts) > 1 else by_value if counts == {2} else by_parts
    first: dict[tuple, str] = {}
    for name in names:
        if (other := first.setdefault(key(name), name)) != name:
            raise ValueError(
                f"{other} and {name} have the same number; keep the frames of one video in it"
            )
    ordered = sorted(names, key=key)
    for one, other in zip(ordered, sorted(names, key=by_parts), strict=True):
        if one != other:
            raise ValueError(
                f"the order of {one} and {other} is ambiguous; use the same number of digits after "
                "the dot, or name frames like 00001.jpg"
            )
    return ordered


def _open_file(path: str, upright: bool) -> Opened:
    with _video(path) as (file, stream):
        rate = stream.average_rate or stream.guessed_rate
        count = sum(packet.size > 0 and not packet.is_discard for packet in file.demux(stream))
    if not count:
        raise ValueError(f"{path} has no frames")

    def read(numbers: Sequence[int]) -> Iterable[Image.Image]:
        with _video(path) as (file, stream):
            for number, frame in enumerate(file.decode(stream)):
                if number not in numbers:
                    continue
                image = Image.fromarray(frame.to_ndarray(format="rgb24"))
                if upright and (turn := _TURNS.get(frame.rotation % 360)):
                    image = image.transpose(turn)
                for _ in range(numbers.count(number)):
                    yield image

    return Opened(count, float(rate) if rate else None, read)


@contextlib.contextmanager
def _video(path: str) -> Iterator[tuple[Any, Any]]:
    """Opens a file and its video stream with PyAV, without access to other files or URLs."""
    try:
        import av
    except ImportError:
        raise ValueError(
            f"reading {path} needs PyAV: pip install av; or pass a directory of frames"
        ) from None
    check_regular(path)
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    # Metadata in old encodings is replaced, as PyAV 19 does by default.
    new = int(av.__version__.split(".")[0]) >= 19
    titles: Any = {} if new else {"metadata_errors": "replace"}
    try:
        with av.open(f"file:{path}", options=options, **titles) as file:
            stream: Any = file.streams.best("video")
            if stream is None or stream.codec_context is None:
                raise ValueError(f"{path} has no video stream that can be decoded")
            if stream.codec_context.width * stream.codec_context.height > MOST_PIXELS:
                raise ValueError(f"{path}: more than {MOST_PIXELS} pixels per frame; downscale it")
            stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
            yield file, stream
    except av.error.FFmpegError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}): it is damaged, or not MP4, MOV, MKV, WebM, "
            "AVI, GIF, MPEG, FLV, WMV or OGV"
        ) from error


def choose_frames(
    rule: str, count: int, wanted: int, rate: float | None, passes: int = 1
) -> list[int]:
    """Returns the indices of sampled frames, ascending in each pass; a short video repeats some.

    Args:
        rule: "centre": the middle frame of each of `wanted` segments; "even": the frame shown at
            the middle of each of `wanted` equal durations; "second": the first frame of every
            second, evenly subsampled to at most `wanted`.
        count: frames in the video.
        wanted: frames to sample.
        rate: frames per second; only "second" needs it.
        passes: for "centre", how often the video is passed through, with `wanted` / `passes` frames
            each; several passes take frames at equal distances within a segment.

    Raises:
        ValueError: the rule needs the frame rate, and it is unknown.
    """
    if rule == "even":
        return [(2 * n + 1) * count // (2 * wanted) for n in range(wanted)]
    if rule == "second":
        if rate is None:
            raise ValueError("frame_rule 'second' needs a frame rate; pass a video file")
        chosen = list(range(0, count, max(1, int(rate))))
        if len(chosen) > wanted:
            spread = np.linspace(0, len(chosen) - 1, wanted, dtype=np.int64)
            chosen = [chosen[n] for n in spread]
    else:
        segments = min(wanted // passes, count)
        edges = [k * count // segments for k in range(segments + 1)]
        chosen = [
            a + (b - a - 1) // (passes + 1) * number
            for number in range(1, passes + 1)
            for a, b in itertools.pairwise(edges)
        ]
    return chosen + chosen[-1:] * (wanted - len(chosen))


def preprocess_video(video: Any, inputs: Mapping[str, Any]) -> Tensor:
    """Returns a video as the model takes it, float32[F, 3, S, S].

    Args:
        video: see `open_video`.
        inputs: of config.json: frames, passes, frame_rule, crop, upright, and those of
            `preprocess`.
    """
    opened = open_video(video, inputs["upright"])
    rule, wanted, passes = inputs["frame_rule"], inputs["frames"], inputs["passes"]
    chosen = choose_frames(rule, opened.number, wanted, opened.rate, passes)
    cut = _preprocess_vifi if inputs["crop"] == "vifi" else preprocess
    seen = [cut(frame, inputs) for frame in opened.read(sorted(chosen))]
    return torch.stack([seen[sorted(chosen).index(number)] for number in chosen])


def _preprocess_vifi(frame: Image.Image, inputs: Mapping[str, Any]) -> Tensor:
    """Applies ViFi-CLIP's preprocessing: short side to 8/7 of the size, center crop, normalize."""
    size = inputs["image_size"]
    image = crop_long(as_rgb(frame))
    factor = int(256 / 224 * size) / min(image.size)
    resized = [int(side * factor + 0.5) for side in image.size]
    start = [(side - size) // 2 for side in resized]
    scale = [before / after for before, after in zip(image.size, resized, strict=True)]
    left, top = (a * s for a, s in zip(start, scale, strict=True))
    # Rounding may put the end of the last pixel outside the frame.
    right, bottom = (
        min((a + size) * s, side) for a, s, side in zip(start, scale, image.size, strict=True)
    )
    box = (left, top, right, bottom)
    cut = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return standardize(cut, inputs["mean"], inputs["std"])
