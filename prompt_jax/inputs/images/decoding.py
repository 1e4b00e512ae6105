"""Decodes untrusted image files: known formats, bounded memory, one-line errors."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from prompt_jax.errors import BadImage, installing
from prompt_jax.inputs.images import heic
from prompt_jax.inputs.images.grays import eight_bits, is_deep
from prompt_jax.storage.files import kind_of

# Pillow knows fifty more, one of which starts another program.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# Pillow's own limit: such an image takes 0.4 GB, and twice that during conversion. Larger JPEGs are
# decoded at half the size. MAX_SIDE is the limit of JPEG; each row needs memory, however short.
MAX_PIXELS = 2**30 // 12
MAX_SIDE = 2**16
# Larger than any image within the limit, even uncompressed with 16 bits in four channels.
MAX_FILE_BYTES = 2**30
# The end of a complete file, within its last bytes.
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
# Pillow warns about metadata that is not used here.
warnings.filterwarnings("ignore", module=r"PIL\.")


def open_image(path: str | Path | BinaryIO, upright: bool = False) -> Image.Image:
    """Decodes an image file as RGB, like the CoOp benchmark (`Image.convert("RGB")`).

    Transparency is ignored; the first frame of an animation is used. Grayscale of more than 8 bits
    is scaled to 8, see `grays`. This differs on purpose from the benchmark and from torchvision,
    where `convert` clips all values above 255 to white.

    Args:
        path: a file, or its content: JPEG, PNG, WebP, BMP, GIF or TIFF, any color mode; or HEIC,
            with pillow-heif.
        upright: whether to rotate the image as its EXIF orientation says, if it can be read. TIFF
            and HEIC are always rotated.

    Returns:
        The image in mode RGB at its full size; a JPEG of more than `MAX_PIXELS` at half of it.

    Raises:
        BadImage: the file is missing, not a regular file, truncated, too large, not an image, or
            grayscale without a known white.
    """
    with _opened(path) as image:
        # NumPy would hide the reason why a file cannot be decoded.
        image.load()
        # Otherwise Pillow warns about palettes with transparency; the pixels are the same.
        image.info.pop("transparency", None)
        turn = _TURNS.get(_orientation(image)) if upright else None
        # `convert` would copy an RGB image.
        plain = as_rgb(image)
        return plain if turn is None else plain.transpose(turn)


def as_rgb(image: Image.Image) -> Image.Image:
    """Converts an image to mode RGB; grayscale of more than 8 bits is scaled to 8.

    Raises:
        UnknownWhite: its black and white are not known.
    """
    return image if image.mode == "RGB" else eight_bits(image).convert("RGB")


def check_image(path: str | Path | BinaryIO) -> None:
    """Checks an image's file type, size and header; decodes it only if its end looks wrong.

    Or if it is deep grayscale, whose white may be unknown. Truncated files fail; damaged pixels may
    pass.

    Args:
        path: see `open_image`.

    Raises:
        BadImage: see `open_image`.
    """
    with _opened(path) as image:
        end = _ENDS.get(image.format or "")
        if is_deep(image):
            as_rgb(image)
        elif end is None or image.fp is None or end not in tail(image.fp):
            image.load()


def has_rotation(path: str | Path) -> bool:
    """Returns whether an image file has a rotation; False if it is not an image."""
    try:
        with _opened(path) as image:
            return _orientation(image) in _TURNS
    except BadImage:
        return False


@contextlib.contextmanager
def _opened(path: str | Path | BinaryIO) -> Iterator[ImageFile.ImageFile]:
    """Opens an image without decoding its pixels; every error inside becomes a `BadImage`."""
    try:
        if isinstance(path, str | Path):
            check_kind(path)
        with _open(path) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                # A JPEG can be decoded at half the size.
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
        # Decoders may raise anything: SyntaxError, struct.error, …
        raise BadImage(str(path), str(error) or type(error).__name__) from error


def _open(path: str | Path | BinaryIO) -> ImageFile.ImageFile:
    try:
        return Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        if not heic.is_heic(path):
            raise
    if not heic.is_installed():
        reason = f"a HEIC image; install pillow-heif ({installing('heic')}), or convert it to JPEG"
        raise BadImage(str(path), reason)
    heic.register()
    return Image.open(path, formats=(heic.FORMAT,))


_TOO_LARGE = (
    f"too large, at most {MAX_PIXELS} pixels and {MAX_SIDE} on a side are read; make it smaller"
)


def check_kind(
    path: str | Path, most_bytes: int = MAX_FILE_BYTES, bad: type[BadImage] = BadImage
) -> None:
    """Rejects a file that cannot be an image, without opening it; links are followed.

    Args:
        path: the file.
        most_bytes: the largest size.
        bad: the error to raise; its `what` names the expected kind of file.

    Raises:
        BadImage: a directory, pipe, socket or device, an empty file, or one that is too large.
        OSError, ValueError: there is no such file, or its path is impossible.
    """
    status = os.stat(path)
    if kind := kind_of(status.st_mode):
        raise bad(str(path), f"{kind}, not {bad.article} {bad.what} file")
    if not status.st_size:
        raise bad(str(path), "an empty file")
    if status.st_size > most_bytes:
        raise bad(str(path), f"{status.st_size} bytes; the limit is {most_bytes}")


def tail(file: IO[bytes]) -> bytes:
    """Returns the last bytes of a file, which tell whether it is complete; keeps its position."""
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
        # Pillow may raise anything for invalid EXIF.
        return 1
