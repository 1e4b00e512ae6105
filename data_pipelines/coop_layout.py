"""Data sets in the folder layout of the CoOp benchmark, with a `split_zhou_*.json` file."""

import json
from dataclasses import dataclass
from pathlib import Path

from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.pictures import FolderReader

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class CoopLayout:
    """Where one data set lies under a common root, and the text of its classes.

    Attributes:
        folder: the data set's folder below the root.
        images: the image folder in it; "." where the split's paths start at `folder`.
        split: the split file in it.
        template: the text of one class, with one `{}` for the class name.
    """

    folder: str
    images: str
    split: str
    template: str

    def load(self, name: str, root: str | Path | None) -> Dataset:
        """Read the split file; pictures stay on disk.

        Args:
            name: the data set's name, for messages and results.
            root: the folder that holds `folder`, or `folder` itself.

        Returns:
            The data set with the splits of the file.

        Raises:
            DataError: no root, a missing folder or split file, or a malformed split file.
        """
        home = self._find(name, root)
        images = home / self.images
        if not images.is_dir():
            raise DataError(f"{name}: no image folder {images}\n{self._expected()}")
        train, val, test = read_split(home / self.split)
        dataset = Dataset(name, self.template, train, val, test, FolderReader(images), images)
        _ = dataset.class_names  # Refuses inconsistent labels here, where the file is at hand.
        return dataset

    def _find(self, name: str, root: str | Path | None) -> Path:
        if root is None:
            raise DataError(f"{name}: root is not set\n{self._expected()}")
        base = Path(root).expanduser()
        homes = [base / self.folder, base]
        for home in homes:
            if (home / self.split).is_file():
                return home
        if not base.is_dir():
            raise DataError(f"{name}: root {base} is not a folder\n{self._expected()}")
        looked = "".join(f"\n  {home / self.split}" for home in homes)
        raise DataError(f"{name}: no split file; looked for{looked}\n{self._expected()}")

    def _expected(self) -> str:
        lines = ["Expected layout:", "  <root>/", f"    {self.folder}/"]
        pictures = "" if self.images == "." else f"{self.images}/"
        lines.append(f"      {pictures}…".ljust(44) + "the pictures")
        lines.append(f"      {self.split}".ljust(44) + "the split")
        lines.append(f"Set root to the folder that holds {self.folder}/, or to it.")
        return "\n".join(lines)


def read_split(path: Path) -> tuple[tuple[Example, ...], ...]:
    """Read a split file: {"train": [[relative path, label, class name], …], "val", "test"}.

    Args:
        path: the JSON file.

    Returns:
        The train, val and test examples, in the file's order; underscores in class names
        become spaces.

    Raises:
        DataError: the file is not JSON, lacks a split, or has an entry of another form.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"cannot read the split file {path}: {error}") from error
    if not isinstance(content, dict) or not set(SPLITS) <= set(content):
        raise DataError(f"{path}: must be a JSON object with the lists {', '.join(SPLITS)}")
    return tuple(_examples(path, split, content[split]) for split in SPLITS)


def _examples(path: Path, split: str, entries: object) -> tuple[Example, ...]:
    if not isinstance(entries, list):
        raise DataError(f"{path}: {split!r} must be a list of [path, label, class name]")
    examples = []
    for position, entry in enumerate(entries):
        match entry:
            case [str(picture), int(label), str(name)] if not isinstance(label, bool):
                examples.append(Example(picture, label, name.replace("_", " ")))
            case _:
                raise DataError(
                    f"{path}: {split}[{position}] is {json.dumps(entry)[:80]}; "
                    'must be ["relative/path.jpg", label, "class name"], the label a whole number'
                )
    return tuple(examples)
