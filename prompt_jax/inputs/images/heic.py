"""HEIC images, as of phones, which are read with the package pillow-heif (`.[heic]`)."""

import functools
import importlib.util
from pathlib import Path
from typing import BinaryIO

SUFFIXES = (".heic", ".heif", ".hif")
FORMAT = "HEIF"
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@functools.cache
def is_installed() -> bool:
    """Returns whether pillow-heif is there; it is not imported."""
    return importlib.util.find_spec("pillow_heif") is not None


@functools.cache
def register() -> None:
    """Lets Pillow open HEIC images; pillow-heif rotates them as they say."""
    import pillow_heif

    pillow_heif.register_heif_opener()


def is_heic(file: str | Path | BinaryIO) -> bool:
    """Returns whether a file begins as a HEIC image does; False if it cannot be read."""
    try:
        if isinstance(file, str | Path):
            with open(file, "rb") as opened:
                start = opened.read(12)
        else:
            file.seek(0)
            start = file.read(12)
            file.seek(0)
    except OSError:
        return False
    return start[4:8] == b"ftyp" and start[8:] in _BRANDS
