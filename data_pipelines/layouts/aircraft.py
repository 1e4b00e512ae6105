"""FGVCAircraft (Maji et al. 2013): text files with an image number and a variant per line."""

import os
from dataclasses import dataclass
from pathlib import Path

from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.images.readers import FolderReader
from data_pipelines.layouts.layout import SPLITS, check_path, find_home, read_lines, sketch

VARIANTS = "variants.txt"
_LIST = "images_variant_{}.txt"


@dataclass(frozen=True)
class AircraftLayout:
    """Layout of FGVCAircraft; `folder` is its directory below a common root."""

    folder: str

    def load(self, name: str, root: str | Path | None, template: str) -> Dataset:
        """Reads the lists; labels are positions in `variants.txt`. See `Layout.load`."""
        home = find_home(name, root, self.folder, self.marker, "list of variants", self.expected())
        if not os.path.isdir(home / "images"):
            raise DataError(f"{name}: no image directory {home / 'images'}\n{self.expected()}")
        variants = [line for _, line in read_lines(home / VARIANTS, "list of variants")]
        # A repeated variant keeps its first label and leaves a gap, which `class_names` rejects.
        labels = {variant: label for label, variant in reversed(list(enumerate(variants)))}
        train, val, test = (_read_list(home / _LIST.format(split), labels) for split in SPLITS)
        images = home / "images"
        source = _LIST.format("{train,val,test}")
        return Dataset(name, template, train, val, test, FolderReader(images), images, source)

    @property
    def marker(self) -> str:
        """Returns the path below its directory that identifies the data set."""
        return VARIANTS

    def expected(self) -> str:
        """Returns a sketch of the layout, for error messages."""
        lists = {_LIST.format(split): 'lines "0034309 Boeing 707-320"' for split in SPLITS}
        return sketch(
            self.folder,
            {"images/*.jpg": "the images", VARIANTS: "one class name a line", **lists},
        )


def _read_list(path: Path, labels: dict[str, int]) -> tuple[Example, ...]:
    examples = []
    for number, line in read_lines(path, "split file"):
        image, _, variant = line.partition(" ")
        if not image.isalnum() or variant not in labels:
            raise DataError(
                f"{path}, line {number}: {line[:60]!r} must be an image number and a class of "
                f"{VARIANTS}, like '0034309 Boeing 707-320'"
            )
        check_path(image, f"{path}, line {number}")
        examples.append(Example(f"{image}.jpg", labels[variant], variant))
    return tuple(examples)
