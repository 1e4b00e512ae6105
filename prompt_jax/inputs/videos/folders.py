"""Videos that are directories of images, one a frame: `frames/<id>/00001.jpg`, `img_00001.jpg`."""

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
    """A video whose frames are files.

    Attributes:
        path: the directory.
        names: the files, in the order of their numbers.
        upright: whether each image is turned as its EXIF orientation says.
        rate: None: a directory does not say how many frames there are a second.
    """

    path: Path
    names: tuple[str, ...]
    upright: bool
    rate: float | None = None

    @property
    def count(self) -> int:
        """How many frames there are."""
        return len(self.names)

    def frames(self, indices: Sequence[int]) -> Iterator[Image.Image]:
        """Frames in RGB, one at a time.

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
        """Look at every file without decoding it; raises `BadVideo`."""
        for name in self.names:
            try:
                check_image(self.path / name)
            except BadImage as bad:
                raise BadVideo(str(self.path), f"{name}: {bad.reason}") from bad


def open_folder(
    path: Path, upright: bool = True, span: tuple[float, float] | None = None
) -> FrameFolder:
    """List a folder's frames as `order_frames`; files that are no images and hidden ones are
    passed over.

    Args:
        path: the directory.
        upright: as of `FrameFolder`.
        span: as of `decoding.open_video`; no directory has one.

    Raises:
        BadVideo: it cannot be read, holds no images, their names give no order, or a span is asked
            for.
    """
    if span is not None:
        reason = (
            "a directory of frames does not say when each is shown, so no seconds can be cut out"
        )
        raise BadVideo(str(path), f"{reason}; give the video as a file")
    try:
        names = loose_images(path)
    except DataError as error:
        raise BadVideo(str(path), str(error)) from error
    if not names:
        raise BadVideo(str(path), "a directory without images; frames are named like 00001.jpg")
    try:
        return FrameFolder(path, tuple(order_frames(names)), upright)
    except ValueError as error:
        raise BadVideo(str(path), str(error)) from None


def order_frames(names: Sequence[str]) -> list[str]:
    """Returns the frames of a video in their order: by the last number in their names.

    Numbers that points join are one: of two they are in the order of decimals, "0.75", and of
    three and more in that of their parts, "00.01.05".

    Raises:
        ValueError: a name has no number, two have the same one, or "1.10" may stand before "1.2" or
            behind it.
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
                f"{other} and {name} have the same number; keep the frames of one video in it"
            )
    ordered = sorted(names, key=key)
    for one, other in zip(ordered, sorted(names, key=by_parts), strict=True):
        if one != other:
            raise ValueError(
                f"the names do not say whether {one} or {other} is shown first; write equally many "
                "digits behind the point of each, or name frames like 00001.jpg"
            )
    return ordered
