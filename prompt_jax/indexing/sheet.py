"""Draws a contact sheet of what a search found."""

import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from prompt_jax.errors import BadImage, DataError
from prompt_jax.indexing.index import Hit
from prompt_jax.inputs.images import thumbnails
from prompt_jax.inputs.images.decoding import open_image
from prompt_jax.inputs.videos.opening import open_any

MOST = 100  # hits on a sheet
_COLUMNS, _GAP, _TEXT = 5, 8, 36
_WIDTH, _HEIGHT = 240, 180  # pixels of a tile
_FRAMES = 2  # per side of a video's tile
_LONGEST = 34  # characters of a file's name


def draw(path: Path, query: str, hits: Sequence[Hit], upright: bool = True) -> None:
    """Draws the hits of a search, the best first, and writes the sheet.

    A video is drawn as four frames, evenly spread. Files that cannot be read are crossed out.

    Args:
        path: see `thumbnails.writing_problem`.
        query: the text that was searched.
        hits: at most `MOST` are drawn.
        upright: whether files are rotated as they say.

    Raises:
        DataError: the file cannot be written.
    """
    if problem := thumbnails.writing_problem(path):
        raise DataError(problem)
    page = _page(query, hits[:MOST], upright)
    try:
        page.save(path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error


def _page(query: str, hits: Sequence[Hit], upright: bool) -> Image.Image:
    rows = -(-len(hits) // _COLUMNS)
    step, line = _WIDTH + _GAP, _HEIGHT + _TEXT + _GAP
    page = Image.new("RGB", (_COLUMNS * step + _GAP, rows * line + _TEXT + _GAP), "white")
    pen, font = ImageDraw.Draw(page), thumbnails.font()
    pen.text((_GAP, _GAP), thumbnails.short(query, 150), "black", font)
    for number, hit in enumerate(hits):
        row, column = divmod(number, _COLUMNS)
        left, top = _GAP + column * step, _TEXT + row * line
        page.paste(_tile(hit, upright), (left, top))
        name = thumbnails.short(os.path.basename(hit.path.rstrip(os.sep)), _LONGEST)
        words = f"{hit.rank}.  {hit.similarity:.3f}\n{name}"
        pen.text((left, top + _HEIGHT + 2), words, "black", font)
    return page


def _tile(hit: Hit, upright: bool) -> Image.Image:
    try:
        if hit.kind == "image":
            return _fitted(open_image(hit.path, upright), _WIDTH, _HEIGHT)
        video = open_any(Path(hit.path), upright)
        number = _FRAMES**2
        frames = video.frames([(2 * i + 1) * video.count // (2 * number) for i in range(number)])
        width, height = _WIDTH // _FRAMES, _HEIGHT // _FRAMES
        tile = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
        for i, frame in enumerate(frames):
            place = i % _FRAMES * width, i // _FRAMES * height
            tile.paste(_fitted(frame, width, height), place)
        return tile
    except BadImage:
        return thumbnails.crossed_out(_WIDTH, _HEIGHT)


def _fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    return ImageOps.pad(image.convert("RGB"), (width - 2, height - 2), color="whitesmoke")
