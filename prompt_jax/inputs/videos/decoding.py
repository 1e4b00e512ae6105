"""Decoding the video files of strangers: known formats, bounded memory, errors in words.

Read `open_video`, then `VideoFile`. Needs PyAV, which brings its own FFmpeg and keeps quiet about
what FFmpeg logs.
"""

import contextlib
import dataclasses
import itertools
from array import array
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from PIL import Image

from prompt_jax.errors import BadVideo
from prompt_jax.inputs.images.decoding import check_kind
from prompt_jax.inputs.videos import endings

# FFmpeg's names of: MP4 and MOV, MKV and WebM, AVI, GIF, MPEG, FLV, WMV, OGV. It knows hundreds
# more, among them lists that open other files and addresses.
FORMATS = "mov,matroska,avi,gif,mpeg,mpegts,flv,asf,ogg"
# A frame of 8K. Frames are decoded one at a time.
MAX_PIXELS = 2**25
# More than a day, as a file of any size can claim them.
MAX_FRAMES = 2**22
MAX_FILE_BYTES = 2**35
# Seeking over fewer frames than that takes longer than decoding them.
_SEEK_PAYS = 2
# Decoders that can leave out frames on which no other depends, which is about half of them.
_SKIPPING = ("h264", "hevc", "mpeg4")
_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}
_NO_CLIP = (
    "not a video, cut short, or none of MP4, MOV, MKV, WebM, AVI, GIF, MPEG, FLV, WMV and OGV; get "
    "it again, or convert it to MP4"
)


@dataclasses.dataclass(frozen=True)
class VideoFile:
    """A video in a file: when its frames are shown, and how they are decoded.

    Attributes:
        path: the file.
        upright: as of `open_video`.
        times: int64[n], when each frame of the file is shown, ascending, in the file's ticks;
            None where the file does not say: its frames are then known by their order only.
        starts: int64[n], the frame at which decoding must begin to get each frame.
        first: the first frame of the span.
        count: frames in the span.
        rate: frames a second; None where the file does not say.
    """

    path: Path
    upright: bool
    times: np.ndarray | None
    starts: np.ndarray
    first: int
    count: int
    rate: float | None

    def frames(self, indices: Sequence[int]) -> Iterator[Image.Image]:
        """Frames of the span in RGB, one at a time; only what they need is decoded.

        Args:
            indices: from 0 to `count` - 1, ascending; an index may be repeated.

        Raises:
            BadVideo: from `next`: the file is gone or damaged.
        """
        numbers = [self.first + int(index) for index in indices]
        decoded = self._decode(list(dict.fromkeys(numbers)))
        # One for all frames, as each of its own would prepare the conversion anew.
        converter = VideoReformatter()
        for (_, repeated), frame in zip(itertools.groupby(numbers), decoded, strict=True):
            image = _image(frame, converter, self.upright)
            for _ in repeated:
                yield image

    def _decode(self, wanted: Sequence[int]) -> Iterator[VideoFrame]:
        """The frames of these numbers, each from the nearest frame at which decoding can begin."""
        with _opened(self.path) as (container, stream):
            decoder, passed = self._numbered(stream, container.demux(stream), wanted), -1
            for place, number in enumerate(wanted):
                start = int(self.starts[number])
                if start > passed + _SEEK_PAYS and self.times is not None:
                    packets = _seek(container, stream, int(self.times[start]))
                    if packets is None:
                        whole = dataclasses.replace(self, starts=np.zeros_like(self.starts))
                        yield from whole._decode(wanted[place:])
                        return
                    decoder = self._numbered(stream, packets, wanted)
                yield self._find(decoder, number)
                passed = number

    def _numbered(
        self, stream: VideoStream, packets: Iterator[Packet], wanted: Sequence[int]
    ) -> Iterator[tuple[int, VideoFrame]]:
        """Decoded frames and their numbers; where frames have times, only those that are wanted."""
        if self.times is None:
            yield from enumerate(frame for packet in packets for frame in packet.decode())
            return
        numbers = {int(self.times[number]): number for number in wanted}
        may_skip = stream.codec_context.name in _SKIPPING
        for packet in packets:
            if may_skip:
                wants = packet.pts in numbers
                stream.codec_context.skip_frame = "DEFAULT" if wants else "NONREF"
            for frame in packet.decode():
                if frame.pts in numbers:
                    yield numbers[frame.pts], frame

    def _find(self, decoder: Iterator[tuple[int, VideoFrame]], number: int) -> VideoFrame:
        frame = next((frame for found, frame in decoder if found == number), None)
        if frame is None:
            raise BadVideo(
                str(self.path),
                f"frame {number} of {len(self.starts)} cannot be decoded; the file is damaged: "
                "get it again, or convert it to MP4",
            )
        return frame


def open_video(
    path: Path, upright: bool = True, span: tuple[float, float] | None = None
) -> VideoFile:
    """Look through a video file without decoding it: how many frames, when, and where to begin.

    What the header says of frames is not relied on: WebM says nothing, and others err.

    Args:
        path: MP4, MOV, MKV, WebM, AVI, GIF, MPEG, FLV, WMV or OGV, with any codec of FFmpeg's.
        upright: whether frames are turned as the file says, as players do.
        span: (start, end) in seconds from the first frame: what of the file is meant; an end
            behind the last frame is cut off. None: all of it.

    Raises:
        BadVideo: the file is missing, no regular file, cut short, damaged, too large, or has no
            moving image; or no frame lies in the span.
    """
    with _opened(path) as (container, stream):
        times, keys = _packets(path, container, stream)
        rate = float(stream.average_rate or stream.guessed_rate or 0) or None
        tick = stream.time_base or Fraction(1)
        # Without times of their own, frames of an AVI are known to follow each other evenly.
        untimed = _has_no_times(container, stream, times)
    if untimed:
        shown, seconds = None, np.arange(len(times)) / (rate or 1)
        starts = np.zeros(len(times), np.int64)
    else:
        shown = np.sort(times)
        seconds = (shown - shown[0]) * float(tick)
        places = np.where(np.isin(shown, keys), np.arange(len(shown)), 0)
        starts = np.maximum.accumulate(places)
    first, count = 0, len(times)
    if span is not None:
        inside = np.flatnonzero((seconds >= span[0]) & (seconds < span[1]))
        if not inside.size:
            raise BadVideo(
                str(path),
                f"no frame from second {span[0]:g} to {span[1]:g}; its last one is at "
                f"{seconds[-1]:.2f} s",
            )
        first, count = int(inside[0]), len(inside)
    return VideoFile(path, upright, shown, starts, first, count, rate)


def _packets(
    path: Path, container: InputContainer, stream: VideoStream
) -> tuple[np.ndarray, np.ndarray]:
    """When each frame is shown, in the file's order, and when those at which decoding can begin."""
    times, keys = array("q"), array("q")
    listed, cut = 0, False
    for packet in container.demux(stream):
        listed += packet.pts is not None or packet.size > 0
        if not packet.size or packet.is_discard:
            continue
        cut = packet.is_corrupt
        times.append(_NO_TIME if packet.pts is None else packet.pts)
        if packet.is_keyframe:
            keys.append(times[-1])
        if len(times) > MAX_FRAMES:
            raise BadVideo(str(path), f"more than {MAX_FRAMES} frames; cut it into parts")
    if not times:
        raise BadVideo(str(path), "no frames; get it again, or convert it to MP4")
    if (
        cut
        or listed < endings.promised_frames(container, stream)
        or endings.is_cut(path, container)
    ):
        raise BadVideo(str(path), f"cut short after {len(times)} frames; get it again")
    return np.asarray(times, np.int64), np.asarray(keys, np.int64)


_NO_TIME = -(2**63)


def _has_no_times(container: InputContainer, stream: VideoStream, times: np.ndarray) -> bool:
    if times.min() == _NO_TIME or len(np.unique(times)) < len(times):
        return True
    # An AVI numbers frames as they are stored. Where later ones are shown before, that is wrong.
    reordered = bool(stream.codec_context.has_b_frames)
    return container.format.name == "avi" and reordered and bool((np.diff(times) > 0).all())


def _seek(container: InputContainer, stream: VideoStream, time: int) -> Iterator[Packet] | None:
    """What is read from a place at which decoding can begin, at `time` or before it.

    None where seeking leads to another place, as MPEG files do, whose places are estimated.
    """
    container.seek(time, stream=stream)
    packets = container.demux(stream)
    first = next(packets)
    if not first.is_keyframe or first.pts is None or first.pts > time:
        return None
    return itertools.chain([first], packets)


def _image(frame: VideoFrame, converter: VideoReformatter, upright: bool) -> Image.Image:
    image = Image.fromarray(converter.reformat(frame, format="rgb24", threads=1).to_ndarray())
    turn = _TURNS.get(frame.rotation % 360) if upright else None
    return image if turn is None else image.transpose(turn)


_PYAV = int(av.__version__.split(".")[0])


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A file and its moving image; every error inside becomes a BadVideo."""
    reason = _NO_CLIP
    try:
        check_kind(path, MAX_FILE_BYTES, BadVideo)
        # Nothing else is opened on a file's behalf: no other file, no address.
        options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
        # Titles in old encodings are no reason to refuse a video, to PyAV 19 of itself.
        titles: Any = {} if _PYAV >= 19 else {"metadata_errors": "replace"}
        with av.open(f"file:{path}", options=options, **titles) as container:
            reason = "damaged; get it again, or convert it to MP4"
            stream = _moving_image(path, container)
            # Videos are decoded beside each other, so one is decoded in one thread.
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            yield container, stream
    except BadVideo:
        raise
    except FileNotFoundError:
        raise BadVideo(str(path), "no such file") from None
    except MemoryError:
        raise BadVideo(str(path), "not enough memory to decode it") from None
    except (OSError, av.error.FFmpegError) as error:
        # FFmpeg's "invalid data", "invalid argument" and "end of file" are no words for people.
        words = None if isinstance(error, ValueError | EOFError) else error.strerror
        raise BadVideo(str(path), words or reason) from error
    except Exception as error:
        raise BadVideo(str(path), str(error) or type(error).__name__) from error


def _moving_image(path: Path, container: InputContainer) -> VideoStream:
    stream = container.streams.best("video")
    # Music brings the image of its cover.
    if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
        raise BadVideo(str(path), "no moving image in it, only sound or other data")
    if stream.codec_context is None:
        raise BadVideo(str(path), "coded in a way that FFmpeg does not know; convert it to MP4")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        raise BadVideo(
            str(path), f"{width} x {height} pixels, more than {MAX_PIXELS}; make it smaller"
        )
    return stream
