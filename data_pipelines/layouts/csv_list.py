"""People's own images or videos: a CSV file of path, class and split."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data_pipelines.errors import DataError, shorten, unknown
from data_pipelines.examples import Dataset, Example
from data_pipelines.images.readers import FolderReader
from data_pipelines.layouts.csv_rows import Row, find_csv, read_rows
from data_pipelines.layouts.layout import MOST_DIGITS, SPLITS, check_path
from data_pipelines.videos.readers import VideoReader
from prompt_jax.text.class_names import meaningless, spaced

REQUIRED = ("path", "label", "split")


@dataclass(frozen=True)
class CsvLayout:
    """Own images, or videos, listed in a CSV file."""

    kind: Literal["images", "videos"] = "images"

    def load(
        self,
        name: str,
        root: str | Path | None,
        template: str,
        domain: str | None = None,
        ignore_rotation: bool = False,
    ) -> Dataset:
        """Read the list; what it lists stays where it is.

        The file is UTF-8, with commas, and its first line names the columns, in any order:
        "path" (relative to the file's folder, or absolute; of a video, a file or a folder of
        frames), "label" and "split" ("train", "val" or "test"); other columns are passed over.
        Without a column "name", "label" is the class's name, and classes are numbered in sorted
        order; with it, "label" is a number from 0 and "name" is the class's name. Underscores in
        names become spaces.

        Args:
            name: the data set's name, for messages and results.
            root: the CSV file, or a folder that holds exactly one.
            template: the text of one class, with one `{}` for the class name.
            domain: keeps only the rows with this value in the column "domain"; None keeps all.
            ignore_rotation: leave images and frames as they are stored, whatever the file says.

        Raises:
            DataError: no file, missing columns, a malformed row, or an unknown domain.
        """
        path = find_csv(name, root, self.expected())
        columns, rows = read_rows(path, REQUIRED, filled=(*REQUIRED, "name"))
        if domain is not None:
            rows = _of_domain(path, columns, rows, domain)
        numbered = "name" in columns
        numbers = {text: i for i, text in enumerate(sorted({row["label"] for _, row in rows}))}
        lists: dict[str, list[Example]] = {split: [] for split in SPLITS}
        for line, row in rows:
            if row["split"] not in lists:
                raise unknown(f"split in {path}, line {line}:", row["split"], SPLITS)
            where = f"{path}, line {line}"
            label = _number(row["label"], where) if numbered else numbers[row["label"]]
            check_path(row["path"], where)
            text = row["name"] if numbered else row["label"]
            example = Example(row["path"], label, spaced(text))
            lists[row["split"]].append(example)
        train, val, test = (tuple(lists[split]) for split in SPLITS)
        read = VideoReader if self.kind == "videos" else FolderReader
        reader = read(path.parent, upright=not ignore_rotation)
        source = path.name + (f", domain {domain}" if domain else "")
        notes = () if numbered else _unnamed(path, list(numbers))
        return Dataset(
            name, template, train, val, test, reader, path.parent, source, notes, self.kind
        )

    def expected(self) -> str:
        """A sketch of the file for error messages."""
        return (
            "Expected: root is a CSV file (or a folder with one), UTF-8, with commas:\n"
            "  path,label,split\n"
            + (
                "  videos/1.mp4,jumping,train\n  videos/2.mp4,running,test\n"
                if self.kind == "videos"
                else "  images/1.jpg,red apple,train\n  images/2.jpg,pear,test\n"
            )
            + 'Optional columns: domain; name (then "label" is a number from 0).'
        )


def _unnamed(path: Path, labels: list[str]) -> tuple[str, ...]:
    kind = meaningless(labels)
    if not kind:
        return ()
    return (
        f"{path.name} has no column name, so that its labels, which are {kind}, are the class "
        "names; add a column name with the classes in words",
    )


def _of_domain(path: Path, columns: list[str], rows: list[Row], domain: str) -> list[Row]:
    if "domain" not in columns:
        raise DataError(
            f"{path}: domain {domain!r} was asked for, but there is no column domain; add it to "
            "the file, or leave the domain out"
        )
    kept = [(line, row) for line, row in rows if row["domain"] == domain]
    if not kept:
        raise unknown(f"domain of {path}:", domain, sorted({row["domain"] for _, row in rows}))
    return kept


def _number(label: str, where: str) -> int:
    if not (label.isascii() and label.isdigit()) or len(label) > MOST_DIGITS:
        raise DataError(
            f"{where}: label is {shorten(label)}; with a column name it must be a whole number "
            f"from 0, of at most {MOST_DIGITS} digits"
        )
    return int(label)
