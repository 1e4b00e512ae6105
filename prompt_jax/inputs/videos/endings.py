"""Detects truncated video files by comparing their headers with their contents.

A stream without a header (MPEG, WMV, recorded WebM) counts as complete.
"""

import os
from pathlib import Path

from av.container import InputContainer
from av.video.stream import VideoStream

from prompt_jax.inputs.images.decoding import tail

_HEAD_BYTES = 4096
_SEGMENT = bytes.fromhex("18538067")


def promised_frames(container: InputContainer, stream: VideoStream) -> int:
    """Returns the number of frames in the index of an MP4 or MOV; 0 for other formats."""
    return len(stream.index_entries) if "mp4" in container.format.name.split(",") else 0


def is_cut(path: Path, container: InputContainer) -> bool:
    """Returns whether a file ends before its header or format says."""
    if container.format.name == "gif":
        with open(path, "rb") as file:
            return b";" not in tail(file)
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    end = None
    if "matroska" in container.format.name:
        end = _matroska_end(head)
    elif container.format.name == "avi":
        end = int.from_bytes(head[4:8], "little")
    return end is not None and os.path.getsize(path) < end


def _matroska_end(head: bytes) -> int | None:
    """Returns the end of the segment with all frames; None if it was written without a size.

    Source: RFC 8794 (EBML), sections 4 to 6.
    """
    begin, size = _element_size(head, 4)
    if size is None or head[begin + size : begin + size + 4] != _SEGMENT:
        return None
    begin, size = _element_size(head, begin + size + 4)
    return None if size is None else begin + size


def _element_size(head: bytes, place: int) -> tuple[int, int | None]:
    """Returns the start and length of an element's content, from its size field at `place`."""
    first = head[place] if place < len(head) else 0
    length = 9 - first.bit_length()
    bits = 7 * length
    size = int.from_bytes(head[place : place + length], "big") & (2**bits - 1)
    # All ones: the size was unknown when written. Nine bytes: not a valid size.
    return place + length, None if length > 8 or size == 2**bits - 1 else size
