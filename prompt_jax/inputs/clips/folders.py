"""Clips that are folders of pictures, one a frame: `frames/<id>/00001.jpg`, `img_00001.jpg`."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from prompt_jax.errors import BadClip, BadPicture, DataError
from prompt_jax.inputs.pictures.decoding import check_picture, open_picture
from prompt_jax.inputs.pictures.files import loose_pictures


@dataclass(frozen=True)
class FrameFolder:
    """A clip whose frames are files.

    Attributes:
        path: the folder.
        names: the files, in the order of their numbers.
        upright: whether each picture is turned as its EXIF orientation says.
        rate: None: a folder does not say how many frames there are a second.
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
            BadClip: from `next`: a picture cannot be read.
        """
        for index in indices:
            name = self.names[index]
            try:
                yield open_picture(self.path / name, self.upright)
            except BadPicture as bad:
                raise BadClip(str(self.path), f"{name}: {bad.reason}") from bad

    def check(self) -> None:
        """Look at every file without decoding it; raises `BadClip`."""
        for name in self.names:
            try:
                check_picture(self.path / name)
            except BadPicture as bad:
                raise BadClip(str(self.path), f"{name}: {bad.reason}") from bad


def open_folder(
    path: Path, upright: bool = True, span: tuple[float, float] | None = None
) -> FrameFolder:
    """List a folder's frames by the last number in their names; files that are no pictures and
    hidden ones are passed over.

    Args:
        path: the folder.
        upright: as of `FrameFolder`.
        span: as of `decoding.open_clip`; no folder has one.

    Raises:
        BadClip: it cannot be read, holds no pictures, a name has no number, two have the same
            one, or a span is asked for.
    """
    if span is not None:
        reason = "a folder of frames does not say when each is shown, so no seconds can be cut out"
        raise BadClip(str(path), f"{reason}; give the clip as a file")
    try:
        names = loose_pictures(path)
    except DataError as error:
        raise BadClip(str(path), str(error)) from error
    if not names:
        raise BadClip(str(path), "a folder without pictures; frames are named like 00001.jpg")
    numbered: dict[int, str] = {}
    for name in names:
        numbers = re.findall(r"[0-9]+", Path(name).stem)
        if not numbers:
            raise BadClip(str(path), f"{name} has no number; name frames like 00001.jpg")
        other = numbered.setdefault(int(numbers[-1]), name)
        if other != name:
            reason = f"{other} and {name} have the same number; keep the frames of one clip in it"
            raise BadClip(str(path), reason)
    return FrameFolder(path, tuple(numbered[number] for number in sorted(numbered)), upright)
