"""Reads videos stored as a directory of frames: `frames/<id>/00001.jpg`, `img_00001.jpg`."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from prompt_jax.errors import BadImage, BadVideo, DataError
from prompt_jax.inputs.images.decoding import check_image, open_image
from prompt_jax.inputs.images.files import loose_images


@dataclass(frozen=True)
class FrameFolder:
    """A video whose frames are image files.

    Attributes:
        path: the directory.
        names: the files, in the order of their numbers.
        upright: whether to rotate each image as its EXIF orientation says.
        rate: None: a directory has no frame rate.
    """

    path: Path
    names: tuple[str, ...]
    upright: bool
    rate: float | None = None

    @property
    def count(self) -> int:
        """The number of frames."""
        return len(self.names)

    def frames(self, indices: Sequence[int]) -> Iterator[Image.Image]:
        """Yields frames in RGB.

        Args:
            indices: from 0 to `count` - 1.

        Raises:
            BadVideo: from `next`: an image cannot be read.
        """
        for index in indices:
            name = self.names[index]
            try:
                yield open_image(self.path / name, self.upright)
            except BadImage as bad:
                raise BadVideo(str(self.path), f"{name}: {bad.reason}") from bad

    def check(self) -> None:
        """Checks every file without decoding it; raises `BadVideo`."""
        for name in self.names:
            try:
                check_image(self.path / name)
            except BadImage as bad:
                raise BadVideo(str(self.path), f"{name}: {bad.reason}") from bad


def open_folder(
    path: Path, upright: bool = True, span: tuple[float, float] | None = None
) -> FrameFolder:
    """Opens a directory of frames; other files and hidden ones are ignored.

    Args:
        path: the directory.
        upright: see `FrameFolder`.
        span: must be None: a directory has no times.

    Raises:
        BadVideo: it cannot be read, has no images, their names give no order, or `span` is set.
    """
    if span is not None:
        reason = "a directory of frames has no times, so a span of seconds cannot be selected"
        raise BadVideo(str(path), f"{reason}; use the video file")
    try:
        names = loose_images(path)
    except DataError as error:
        raise BadVideo(str(path), str(error)) from error
    if not names:
        raise BadVideo(str(path), "a directory without images; name frames like 00001.jpg")
    try:
        return FrameFolder(path, tuple(order_frames(names)), upright)
    except ValueError as error:
        raise BadVideo(str(path), str(error)) from None


def order_frames(names: Sequence[str]) -> list[str]:
    """Sorts the frames of a video by the last number in their names.

    Numbers joined by dots are one: two are ordered as a decimal, "0.75", three or more by their
    parts, "00.01.05".

    Raises:
        ValueError: a name has no number, two have the same one, or the order of "1.10" and "1.2" is
            ambiguous.
    """
    parts: dict[str, list[str]] = {}
    for name in names:
        joined = re.search(r"[0-9]+(\.[0-9]+)*(?=[^0-9]*$)", Path(name).stem)
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
                f"{other} and {name} have the same number; keep the frames of only one video here"
            )
    ordered = sorted(names, key=key)
    for one, other in zip(ordered, sorted(names, key=by_parts), strict=True):
        if one != other:
            raise ValueError(
                f"the order of {one} and {other} is ambiguous; use the same number of digits after "
                "the dot, or name frames like 00001.jpg"
            )
    return ordered
