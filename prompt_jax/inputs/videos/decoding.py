"""Decodes untrusted video files: known formats, bounded memory, one-line errors.

Read `open_video`, then `VideoFile`. Needs PyAV, which includes FFmpeg and silences its log.
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

# FFmpeg's names of MP4 and MOV, MKV and WebM, AVI, GIF, MPEG, FLV, WMV and OGV. It supports
# hundreds more, including playlists that open other files and URLs.
FORMATS = "mov,matroska,avi,gif,mpeg,mpegts,flv,asf,ogg"
# An 8K frame. Frames are decoded one at a time.
MAX_PIXELS = 2**25
# More than a day; a small file can claim any number.
MAX_FRAMES = 2**22
MAX_FILE_BYTES = 2**35
# Seeking over fewer frames is slower than decoding them.
_SEEK_PAYS = 2
# Decoders that can skip non-reference frames, about half of all.
_SKIPPING = ("h264", "hevc", "mpeg4")
_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}
_NO_CLIP = (
    "not a video, truncated, or none of MP4, MOV, MKV, WebM, AVI, GIF, MPEG, FLV, WMV and OGV; "
    "download it again, or convert it to MP4"
)


@dataclasses.dataclass(frozen=True)
class VideoFile:
    """A video file with an index of its frames.

    Attributes:
        path: the file.
        upright: see `open_video`.
        times: int64[n], the presentation time of each frame, ascending, in the file's time base;
            None if unknown: frames are then identified by their order.
        starts: int64[n], the frame at which decoding must begin for each frame.
        first: the first frame of the span.
        count: the number of frames in the span.
        rate: frames per second; None if unknown.
    """

    path: Path
    upright: bool
    times: np.ndarray | None
    starts: np.ndarray
    first: int
    count: int
    rate: float | None

    def frames(self, indices: Sequence[int]) -> Iterator[Image.Image]:
        """Yields frames of the span in RGB, decoding only what they need.

        Args:
            indices: from 0 to `count` - 1, ascending; an index may be repeated.

        Raises:
            BadVideo: from `next`: the file is missing or damaged.
        """
        numbers = [self.first + int(index) for index in indices]
        decoded = self._decode(list(dict.fromkeys(numbers)))
        # One converter for all frames, to set up the conversion once.
        converter = VideoReformatter()
        for (_, repeated), frame in zip(itertools.groupby(numbers), decoded, strict=True):
            image = _image(frame, converter, self.upright)
            for _ in repeated:
                yield image

    def _decode(self, wanted: Sequence[int]) -> Iterator[VideoFrame]:
        """Yields the wanted frames, decoding from the nearest keyframe."""
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
        """Yields decoded frames with their numbers; only wanted ones if frames have times."""
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
                "download it again, or convert it to MP4",
            )
        return frame


def open_video(
    path: Path, upright: bool = True, span: tuple[float, float] | None = None
) -> VideoFile:
    """Indexes the frames of a video file without decoding it.

    The header's number of frames is not used: WebM has none, and others are wrong.

    Args:
        path: MP4, MOV, MKV, WebM, AVI, GIF, MPEG, FLV, WMV or OGV, with any codec of FFmpeg.
        upright: whether to rotate frames as the file says, as players do.
        span: (start, end) in seconds from the first frame, truncated at the last one; None: all.

    Raises:
        BadVideo: the file is missing, not a regular file, truncated, damaged, too large, or has no
            video stream; or no frame is in the span.
    """
    with _opened(path) as (container, stream):
        times, keys = _packets(path, container, stream)
        rate = float(stream.average_rate or stream.guessed_rate or 0) or None
        tick = stream.time_base or Fraction(1)
        # Frames of an AVI without times are evenly spaced.
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
    """Returns the presentation times of all frames, in file order, and of the keyframes."""
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
        raise BadVideo(str(path), "no frames; download it again, or convert it to MP4")
    if (
        cut
        or listed < endings.promised_frames(container, stream)
        or endings.is_cut(path, container)
    ):
        raise BadVideo(str(path), f"truncated after {len(times)} frames; download it again")
    return np.asarray(times, np.int64), np.asarray(keys, np.int64)


_NO_TIME = -(2**63)


def _has_no_times(container: InputContainer, stream: VideoStream, times: np.ndarray) -> bool:
    if times.min() == _NO_TIME or len(np.unique(times)) < len(times):
        return True
    # An AVI numbers frames in storage order, which is wrong for reordered frames.
    reordered = bool(stream.codec_context.has_b_frames)
    return container.format.name == "avi" and reordered and bool((np.diff(times) > 0).all())


def _seek(container: InputContainer, stream: VideoStream, time: int) -> Iterator[Packet] | None:
    """Returns packets from a keyframe at or before `time`.

    Returns None if seeking ends elsewhere, e.g. in MPEG files, whose positions are estimated.
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
    """Opens a file and its video stream; every error inside becomes a `BadVideo`."""
    reason = _NO_CLIP
    try:
        check_kind(path, MAX_FILE_BYTES, BadVideo)
        # A file cannot open other files or URLs.
        options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
        # Metadata in old encodings is accepted, by PyAV 19 by default.
        titles: Any = {} if _PYAV >= 19 else {"metadata_errors": "replace"}
        with av.open(f"file:{path}", options=options, **titles) as container:
            reason = "damaged; download it again, or convert it to MP4"
            stream = _moving_image(path, container)
            # Several videos are decoded in parallel, so each uses one thread.
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
        # FFmpeg's "invalid data", "invalid argument" and "end of file" do not help the user.
        words = None if isinstance(error, ValueError | EOFError) else error.strerror
        raise BadVideo(str(path), words or reason) from error
    except Exception as error:
        raise BadVideo(str(path), str(error) or type(error).__name__) from error


def _moving_image(path: Path, container: InputContainer) -> VideoStream:
    stream = container.streams.best("video")
    # Audio files may contain a cover image.
    if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
        raise BadVideo(str(path), "no video stream, only audio or other data")
    if stream.codec_context is None:
        raise BadVideo(str(path), "its codec is unknown to FFmpeg; convert it to MP4")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        raise BadVideo(
            str(path), f"{width} x {height} pixels, more than {MAX_PIXELS}; make it smaller"
        )
    return stream
