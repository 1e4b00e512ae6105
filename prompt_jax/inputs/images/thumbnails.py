"""What contact sheets of images and videos are drawn with."""

import os
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
TEXT_SIZE = 13  # pixels


def writing_problem(path: Path) -> str:
    """Returns why a sheet cannot be written to a file; "" if it can."""
    if path.suffix.lower() not in SUFFIXES:
        return f"{path} is not an image file; a sheet must end in {', '.join(SUFFIXES)}"
    if os.path.lexists(path):
        return f"{path} exists already; remove it, or pass another file"
    if not path.parent.is_dir():
        return f"{path} cannot be written: there is no directory {path.parent}"
    return ""


def font() -> ImageFont.FreeTypeFont:
    """Returns the font of names; unlike Pillow's own it has accents, Greek and Cyrillic."""
    from matplotlib import font_manager

    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), TEXT_SIZE)


def short(name: str, longest: int) -> str:
    """Returns a name of at most so many characters, with "?" for unprintable ones."""
    text = "".join(character if character.isprintable() else "?" for character in name)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def crossed_out(width: int, height: int) -> Image.Image:
    """Returns what is drawn for a file that cannot be read."""
    image = Image.new("RGB", (width, height), "lightgrey")
    pen = ImageDraw.Draw(image)
    pen.line((0, 0, width, height), "red", 2)
    pen.line((0, height, width, 0), "red", 2)
    return image
