"""Decoding image files of strangers: known formats, bounded memory, errors in words."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from prompt_jax.errors import BadImage
from prompt_jax.inputs.images.greys import eight_bits, is_deep
from prompt_jax.storage.files import kind_of

# Pillow knows fifty more, of which one starts another program.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# Pillow's own limit: an image of that many pixels takes 0.4 GB, and twice that while it is
# converted. Twice as many are read of JPEGs, at half the size. No JPEG is longer on a side; a row
# costs memory of its own, however short.
MAX_PIXELS = 2**30 // 12
MAX_SIDE = 2**16
# No image within the limit is larger, even uncompressed with 16 bits in four channels.
MAX_FILE_BYTES = 2**30
# How a complete file ends, in its last bytes.
_TAIL_BYTES = 64
_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND", "GIF": b";"}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow warns about metadata that nobody here reads; what cannot be decoded is an error.
warnings.filterwarnings("ignore", module=r"PIL\.")


def open_image(path: str | Path | BinaryIO, upright: bool = False) -> Image.Image:
    """Decode an image file as RGB, the way the CoOp benchmark does (`Image.convert("RGB")`).

    Transparency is ignored; of an animation the first frame counts. Grays of more than 8 bits are
    brought to 8, see `greys`. This differs on purpose from the benchmark and from torchvision on a
    Pillow image: there `convert` videos all grays above 255 to white.

    Args:
        path: a file, or its content: JPEG, PNG, WebP, BMP, GIF or TIFF; any color mode.
        upright: whether the image is turned as its EXIF orientation says; one that cannot be
            read says nothing. TIFFs are as Pillow gives them: it turns them by itself.

    Returns:
        The image in mode RGB at its full size; a JPEG of more than `MAX_PIXELS` at half of it.

    Raises:
        BadImage: the file is missing, no regular file, truncated, too large, not an image, or
            has grays of which nobody says what is white.
    """
    with _opened(path) as image:
        # NumPy would hide the reason why a file cannot be decoded.
        image.load()
        # Without it Pillow warns about palettes with transparency; the pixels are the same.
        image.info.pop("transparency", None)
        turn = _TURNS.get(_orientation(image)) if upright else None
        # `convert` would copy an image that is RGB already.
        plain = as_rgb(image)
        return plain if turn is None else plain.transpose(turn)


def as_rgb(image: Image.Image) -> Image.Image:
    """An image in mode RGB; grays of more than 8 bits are brought to 8.

    Raises:
        UnknownWhite: nobody says what is black and white in them.
    """
    return image if image.mode == "RGB" else eight_bits(image).convert("RGB")


def check_image(path: str | Path | BinaryIO) -> None:
    """Look at an image's kind of file, size and header, and decode it only if its end is odd.

    Or if it has deep grays, which may have no white. A file that passes may still hold damaged
    pixels; one that was cut short does not pass.

    Args:
        path: as of `open_image`.

    Raises:
        BadImage: as `open_image`.
    """
    with _opened(path) as image:
        end = _ENDS.get(image.format or "")
        if is_deep(image):
            as_rgb(image)
        elif end is None or image.fp is None or end not in tail(image.fp):
            image.load()


def is_turned(path: str | Path) -> bool:
    """Whether an image's file says that it is to be turned; False of what is no image."""
    try:
        with _opened(path) as image:
            return _orientation(image) in _TURNS
    except BadImage:
        return False


@contextlib.contextmanager
def _opened(path: str | Path | BinaryIO) -> Iterator[ImageFile.ImageFile]:
    """An image whose pixels are not decoded yet; every error inside becomes a BadImage."""
    try:
        if isinstance(path, str | Path):
            check_kind(path)
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                # A JPEG, as phones write them, can be decoded at half the size.
                image.draft(None, (width // 2, height // 2))
                width, height = image.size
            if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
                raise BadImage(str(path), f"{width} x {height} pixels: {_TOO_LARGE}")
            yield image
    except BadImage:
        raise
    except UnidentifiedImageError:
        reason = f"not an image, or none of {', '.join(FORMATS)}; convert it to JPEG or PNG"
        raise BadImage(str(path), reason) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImage(str(path), _TOO_LARGE) from None
    except MemoryError:
        raise BadImage(str(path), "not enough memory to decode it") from None
    except FileNotFoundError:
        raise BadImage(str(path), "no such file") from None
    except OSError as error:
        raise BadImage(str(path), error.strerror or str(error) or "cannot be read") from error
    except Exception as error:
        # Decoders raise whatever their parsing trips on: SyntaxError, struct.error, …
        raise BadImage(str(path), str(error) or type(error).__name__) from error


_TOO_LARGE = (
    f"too large, at most {MAX_PIXELS} pixels and {MAX_SIDE} on a side are read; make it smaller"
)


def check_kind(
    path: str | Path, most_bytes: int = MAX_FILE_BYTES, bad: type[BadImage] = BadImage
) -> None:
    """Refuse, without opening it, what is no file that an image can be in; links are followed.

    Args:
        path: the file.
        most_bytes: how large it may be.
        bad: what is raised; its `what` is what the file should be.

    Raises:
        BadImage: a directory, pipe, socket or device, an empty file, or one that is too large.
        OSError, ValueError: there is no such file, or it has a path that cannot be.
    """
    status = os.stat(path)
    if kind := kind_of(status.st_mode):
        raise bad(str(path), f"{kind}, not {bad.article} {bad.what} file")
    if not status.st_size:
        raise bad(str(path), "an empty file")
    if status.st_size > most_bytes:
        raise bad(str(path), f"{status.st_size} bytes; the limit is {most_bytes}")


def tail(file: IO[bytes]) -> bytes:
    """The last bytes of a file, which say whether it is whole; it is read on where it was."""
    place = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read()
    file.seek(place)
    return tail


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        # What is no EXIF makes Pillow raise whatever its parsing trips on.
        return 1
