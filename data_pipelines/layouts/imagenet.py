"""ImageNet and its variants: one directory per class, class names in `classnames.txt`."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from data_pipelines.errors import DataError, escape
from data_pipelines.examples import Dataset, Example
from data_pipelines.images.readers import FolderReader
from data_pipelines.layouts.layout import find_home, read_lines, sketch
from prompt_jax.inputs.images.files import images_below, loose_images, subfolders
from prompt_jax.text.class_names import spaced

CLASS_NAMES = "classnames.txt"
_SHOWN = 5


@dataclass(frozen=True)
class ImageNetLayout:
    """Layout of ImageNet or of a test set with its classes.

    Labels follow the order of `classnames.txt`, i.e. of the sorted WordNet ids. There is no
    validation split. Directories and files are sorted; the CoOp benchmark takes ImageNet's
    training files in the file system's order, so its few-shot draws differ between machines.

    Attributes:
        folder: the data set's directory below the root.
        test: the directory of test images in it.
        train: the directory of training images in it, which may be missing; None: test set only.
        numbered: whether class directories may be named 0, 1, … (labels) instead of by WordNet id;
            copies of ImageNetV2 use either.
        own_classes: whether only classes with a directory count, relabeled from 0.
    """

    folder: str
    test: str
    train: str | None = None
    numbered: bool = False
    own_classes: bool = False

    def load(self, name: str, root: str | Path | None, template: str) -> Dataset:
        """Lists the images; see `Layout.load`. `train` may be empty.

        Raises:
            DataError: also for a class directory that is not in `classnames.txt`, images outside of
                class directories, or a class without images.
        """
        expected = self.expected()
        home = find_home(name, root, self.folder, self.marker, "folder of test images", expected)
        names = read_class_names(self._class_names_file(name, home))
        splits = [self.test]
        if self.train is not None and os.path.isdir(home / self.train):
            splits.insert(0, self.train)
        listed = {split: self._list(name, home, split, list(names)) for split in splits}
        filled = {wnid for images in listed.values() for wnid in images}
        kept = [wnid for wnid in names if wnid in filled or not self.own_classes]
        self._check_all_filled(name, home, [wnid for wnid in kept if wnid not in filled])
        train, test = (
            _examples(split, listed.get(split, {}), kept, names)
            for split in (self.train or "", self.test)
        )
        source = f"folders {' and '.join(splits)}"
        return Dataset(name, template, train, (), test, FolderReader(home), home, source)

    @property
    def marker(self) -> str:
        """Returns the path below its directory that identifies the data set."""
        return self.test

    def expected(self) -> str:
        """Returns a sketch of the layout, for error messages."""
        kind = "0 … 999, or <wnid>" if self.numbered else "<wnid>"
        contents = {f"{self.train}/{kind}/…": "training images"} if self.train else {}
        contents[f"{self.test}/{kind}/…"] = "test images"
        contents[CLASS_NAMES] = 'lines "n01440764 tench"'
        return sketch(self.folder, contents)

    def _class_names_file(self, name: str, home: Path) -> Path:
        # The benchmark has a copy in every directory; ImageNet's own is equivalent.
        places = [home, home.parent / "imagenet", home / "imagenet"]
        files = [place / CLASS_NAMES for place in dict.fromkeys(places)]
        for file in files:
            if os.path.isfile(file):
                return file
        looked = "".join(f"\n  {file}" for file in files)
        raise DataError(f"{name}: no class names; looked for{looked}\n{self.expected()}")

    def _list(self, name: str, home: Path, split: str, wnids: list[str]) -> dict[str, list[str]]:
        found = subfolders(home / split)
        if not found and (loose := loose_images(home / split)):
            raise DataError(
                f"{name}: {len(loose):,} images are directly in {home / split}, e.g. "
                f"{escape(loose[0])}; move each into a directory named by the WordNet id of its "
                "class, e.g. with valprep.sh for ImageNet's validation images"
            )
        by_folder = {wnid: wnid for wnid in wnids}
        if self.numbered and not any(folder in by_folder for folder in found):
            by_folder = {str(i): wnid for i, wnid in enumerate(wnids)}
        strange = [folder for folder in found if folder not in by_folder]
        if strange:
            called = "WordNet ids" if wnids and wnids[0] in by_folder else "labels from 0"
            raise DataError(
                f"{name}: {len(strange)} directories in {home / split}, which must be named by "
                f"{called}, are not classes of {CLASS_NAMES}: {_first(strange)}; remove them, or "
                "add their classes"
            )
        listed = {by_folder[f]: [f"{f}/{p}" for p in images_below(home / split / f)] for f in found}
        return {wnid: images for wnid, images in listed.items() if images}

    def _check_all_filled(self, name: str, home: Path, empty: list[str]) -> None:
        if empty:
            raise DataError(
                f"{name}: {len(empty)} classes of {CLASS_NAMES} have no images in {home}: "
                f"{_first(empty)}; complete the download, or, to use fewer classes, remove their "
                f"lines from {CLASS_NAMES}"
            )


def read_class_names(path: Path) -> dict[str, str]:
    """Reads WordNet id to class name from lines such as "n01440764 tench", in the file's order.

    Raises:
        DataError: the file is not UTF-8 text of such lines, or repeats an id.
    """
    names: dict[str, str] = {}
    for number, line in read_lines(path, "class names"):
        match = re.fullmatch(r"(n\d{8})\s+(\S.*)", line)
        if match is None or match[1] in names:
            problem = "repeats an id" if match else 'must be like "n01440764 tench"'
            raise DataError(f"{path}, line {number}: {line[:60]!r} {problem}")
        names[match[1]] = spaced(match[2])
    if not names:
        raise DataError(f'{path}: no class names; must hold lines like "n01440764 tench"')
    return names


def _examples(
    split: str, listed: dict[str, list[str]], kept: list[str], names: dict[str, str]
) -> tuple[Example, ...]:
    return tuple(
        Example(f"{split}/{image}", label, names[wnid], class_id=wnid)
        for label, wnid in enumerate(kept)
        for image in listed.get(wnid, ())
    )


def _first(names: list[str]) -> str:
    return ", ".join(map(escape, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")
