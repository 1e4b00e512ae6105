"""Data sets in the layout of the CoOp benchmark (Zhou et al. 2022): `split_zhou_*.json`."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.images.readers import FolderReader
from data_pipelines.layouts.layout import SPLITS, check_inside, find_home, read_json, sketch
from prompt_jax.text.class_names import spaced


@dataclass(frozen=True)
class CoopLayout:
    """Layout of a data set with a split file of the CoOp benchmark.

    Attributes:
        folder: the data set's directory below the root.
        images: the image directory in it; "." where the split's paths start at `folder`.
        split: the split file in it.
    """

    folder: str
    images: str
    split: str

    def load(self, name: str, root: str | Path | None, template: str) -> Dataset:
        """Reads the split file; see `Layout.load`."""
        home = find_home(name, root, self.folder, self.marker, "split file", self.expected())
        images = home / self.images
        if not os.path.isdir(images):
            raise DataError(f"{name}: no image directory {images}\n{self.expected()}")
        train, val, test = read_split(home / self.split)
        reader = FolderReader(images)
        return Dataset(name, template, train, val, test, reader, images, self.split)

    @property
    def marker(self) -> str:
        """Returns the path below its directory that identifies the data set."""
        return self.split

    def expected(self) -> str:
        """Returns a sketch of the layout, for error messages."""
        images = "…" if self.images == "." else f"{self.images}/…"
        return sketch(self.folder, {images: "the images", self.split: "the split"})


def read_split(path: Path) -> tuple[tuple[Example, ...], ...]:
    """Reads a split file: {"train": [[relative path, label, class name], …], "val", "test"}.

    Args:
        path: the JSON file, UTF-8.

    Returns:
        The train, val and test examples, in the file's order; underscores in class names
        become spaces.

    Raises:
        DataError: the file is not UTF-8 JSON, lacks or repeats a split, or has a malformed entry
            or one whose path leaves the image directory.
    """
    content = read_json(path, "split file")
    if not isinstance(content, dict) or not set(SPLITS) <= set(content):
        raise DataError(f"{path}: must be a JSON object with the lists {', '.join(SPLITS)}")
    return tuple(_examples(path, split, content[split]) for split in SPLITS)


def _examples(path: Path, split: str, entries: object) -> tuple[Example, ...]:
    if not isinstance(entries, list):
        raise DataError(f"{path}: {split!r} must be a list of [path, label, class name]")
    examples = []
    for position, entry in enumerate(entries):
        match entry:
            case [str(image), int(label), str(name)] if not isinstance(label, bool):
                check_inside(image, f"{path}: {split}[{position}]")
                examples.append(Example(image, label, spaced(name)))
            case _:
                raise DataError(
                    f"{path}: {split}[{position}] is {_shown(entry)}; "
                    'must be ["relative/path.jpg", label, "class name"], the label a whole number'
                )
    return tuple(examples)


def _shown(entry: object) -> str:
    try:
        return json.dumps(entry)[:80]
    except RecursionError:
        return "a list of lists of lists"
