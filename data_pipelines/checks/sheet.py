"""Draws contact sheets: a row of images, or of middle frames of videos, for each class."""

import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from data_pipelines.errors import BadImage, DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.layouts.layout import SPLITS

CLASSES, EXAMPLES = 40, 8  # per page, and per class
_SIDE, _GAP, _NAME = 96, 4, 240  # pixels
_LONGEST = 32
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def writing_problem(path: Path) -> str:
    """Returns why a sheet cannot be written to a file; "" if it can."""
    if path.suffix.lower() not in _SUFFIXES:
        return f"{path} is not an image file; a sheet must end in {', '.join(_SUFFIXES)}"
    if os.path.lexists(path):
        return f"{path} exists already; remove it, or pass another file"
    if not path.parent.is_dir():
        return f"{path} cannot be written: there is no directory {path.parent}"
    return ""


def pages(path: Path, dataset: Dataset) -> list[Path]:
    """Returns the files that `draw` writes: sheet.png, sheet-2.png, …, with `CLASSES` classes each.

    Raises:
        DataError: one of them exists, or is not an image file.
    """
    number = -(-len(dataset.class_names) // CLASSES)
    files = [path, *(path.with_stem(f"{path.stem}-{page}") for page in range(2, number + 1))]
    if problem := next(filter(None, map(writing_problem, files)), ""):
        raise DataError(problem)
    return files


def draw(path: Path, dataset: Dataset) -> list[Path]:
    """Draws the sheets of a data set, its classes by label, and returns their files.

    Each class has `EXAMPLES` examples, evenly spread over its training, validation and test images.
    Unreadable images are crossed out.

    Raises:
        DataError: an error of `pages`, or a file cannot be written.
    """
    files, names = pages(path, dataset), dataset.class_names
    of_class: list[list[Example]] = [[] for _ in names]
    for split in SPLITS:
        for example in getattr(dataset, split):
            of_class[example.label].append(example)
    for page, file in enumerate(files):
        labels = range(page * CLASSES, min((page + 1) * CLASSES, len(names)))
        image = _page(dataset, [(names[label], of_class[label]) for label in labels])
        try:
            image.save(file)
        except OSError as error:
            raise DataError(f"cannot write {file}: {error.strerror or error}") from error
    return files


def _page(dataset: Dataset, classes: Sequence[tuple[str, list[Example]]]) -> Image.Image:
    step = _SIDE + _GAP
    page = Image.new("RGB", (_NAME + EXAMPLES * step, len(classes) * step + _GAP), "white")
    pen, font = ImageDraw.Draw(page), _font()
    for row, (name, examples) in enumerate(classes):
        top = _GAP + row * step
        pen.text(
            (_GAP, top + _SIDE // 2), f"{_short(name)}\n{len(examples):,}", "black", font, "lm"
        )
        for column, example in enumerate(_spread(examples)):
            page.paste(_thumbnail(dataset, example), (_NAME + column * step, top))
    return page


def _font() -> ImageFont.FreeTypeFont:
    # Unlike Pillow's font, matplotlib's has accents, Greek and Cyrillic.
    from matplotlib import font_manager

    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 13)


def _short(name: str) -> str:
    text = "".join(character if character.isprintable() else "?" for character in name)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _spread(examples: list[Example]) -> list[Example]:
    """Returns `EXAMPLES` evenly spread examples, including the first and the last."""
    if len(examples) <= EXAMPLES:
        return examples
    return [examples[i * (len(examples) - 1) // (EXAMPLES - 1)] for i in range(EXAMPLES)]


def _thumbnail(dataset: Dataset, example: Example) -> Image.Image:
    try:
        seen = dataset.read(example)
        if dataset.kind == "videos":
            seen = next(iter(seen.frames([seen.count // 2])))
    except BadImage:
        crossed = Image.new("RGB", (_SIDE, _SIDE), "lightgrey")
        pen = ImageDraw.Draw(crossed)
        pen.line((0, 0, _SIDE, _SIDE), "red", 2)
        pen.line((0, _SIDE, _SIDE, 0), "red", 2)
        return crossed
    return ImageOps.fit(seen.convert("RGB"), (_SIDE, _SIDE))
