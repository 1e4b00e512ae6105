"""Draws contact sheets: a row of images, or of middle frames of videos, for each class."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from data_pipelines.errors import BadImage, DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.layouts.layout import SPLITS
from prompt_jax.inputs.images import thumbnails

CLASSES, EXAMPLES = 40, 8  # per page, and per class
_SIDE, _GAP, _NAME = 96, 4, 240  # pixels
_LONGEST = 32


def pages(path: Path, dataset: Dataset) -> list[Path]:
    """Returns the files that `draw` writes: sheet.png, sheet-2.png, …, with `CLASSES` classes each.

    Raises:
        DataError: one of them exists, or is not an image file.
    """
    number = -(-len(dataset.class_names) // CLASSES)
    files = [path, *(path.with_stem(f"{path.stem}-{page}") for page in range(2, number + 1))]
    if problem := next(filter(None, map(thumbnails.writing_problem, files)), ""):
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
    pen, font = ImageDraw.Draw(page), thumbnails.font()
    for row, (name, examples) in enumerate(classes):
        top = _GAP + row * step
        pen.text(
            (_GAP, top + _SIDE // 2),
            f"{thumbnails.short(name, _LONGEST)}\n{len(examples):,}",
            "black",
            font,
            "lm",
        )
        for column, example in enumerate(_spread(examples)):
            page.paste(_thumbnail(dataset, example), (_NAME + column * step, top))
    return page


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
        return thumbnails.crossed_out(_SIDE, _SIDE)
    return ImageOps.fit(seen.convert("RGB"), (_SIDE, _SIDE))
