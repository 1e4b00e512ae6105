"""A user's own images or videos: a CSV file of path, class and split."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data_pipelines.errors import DataError, shorten, unknown
from data_pipelines.examples import Dataset, Example
from data_pipelines.images.readers import FolderReader
from data_pipelines.layouts import own_classes
from data_pipelines.layouts.csv_rows import Row, by_split, find_csv, read_rows
from data_pipelines.layouts.layout import MOST_DIGITS
from data_pipelines.videos.readers import VideoReader
from prompt_jax.text.class_names import meaningless, spaced

REQUIRED = ("path", "label", "split")


@dataclass(frozen=True)
class CsvLayout:
    """Layout of a user's own images or videos, listed in a CSV file."""

    kind: Literal["images", "videos"] = "images"

    def load(
        self,
        name: str,
        root: str | Path | None,
        template: str,
        domain: str | None = None,
        ignore_rotation: bool = False,
        leave_out: str = "",
        columns: str = "",
    ) -> Dataset:
        """Reads the list.

        The file is UTF-8 and comma-separated. Its first line names the columns, in any order:
        "path" (relative to the file's directory or absolute; a video is a file or a directory of
        frames), "label" and "split" ("train", "val" or "test"); other columns are ignored. Without
        a column "name", "label" is the class name and classes are numbered in sorted order; with
        it, "label" is a number from 0. Underscores in names become spaces.

        Args:
            name, template, ignore_rotation: see `Layout.load`.
            root: the CSV file, or a directory that contains exactly one.
            domain: keep only rows with this value in the column "domain"; None keeps all.
            leave_out: "a,b", values of the column "label" to leave out.
            columns: see `csv_rows.rename`.
        """
        path = find_csv(name, root, self.expected())
        found, rows = read_rows(path, REQUIRED, filled=(*REQUIRED, "name"), renamed=columns)
        if domain is not None:
            rows = _of_domain(path, found, rows, domain)
        numbered = "name" in found
        if leave_out and numbered:
            raise DataError(
                f"{path}: leave_out={shorten(leave_out)}: labels are numbers here, and would have "
                "gaps; remove the rows instead"
            )
        labels = sorted({row["label"] for _, row in rows})
        unwanted = own_classes.check_left_out(path.name, leave_out, labels)
        rows = [(line, row) for line, row in rows if row["label"] not in unwanted]
        numbers = {text: i for i, text in enumerate(sorted({row["label"] for _, row in rows}))}

        def example(where: str, row: dict[str, str]) -> Example:
            label = _number(row["label"], where) if numbered else numbers[row["label"]]
            return Example(row["path"], label, spaced(row["name" if numbered else "label"]))

        train, val, test = (
            tuple(example(where, row) for where, row in listed)
            for listed in by_split(path, rows).values()
        )
        read = VideoReader if self.kind == "videos" else FolderReader
        reader = read(path.parent, upright=not ignore_rotation)
        source = path.name + (f", domain {domain}" if domain else "")
        notes = () if numbered else _unnamed(path, list(numbers))
        if unwanted:
            notes += (f"{path.name}: left out as asked (leave_out): {', '.join(unwanted)}",)
        return Dataset(
            name, template, train, val, test, reader, path.parent, source, notes, self.kind
        )

    def expected(self) -> str:
        """Returns a sketch of the file, for error messages."""
        return (
            "Expected: root is a CSV file (or a directory with one), UTF-8, with commas:\n"
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
        f'{path.name} has no column "name", so its labels, which are {kind}, are used as class '
        'names; add a column "name" with descriptive class names',
    )


def _of_domain(path: Path, columns: list[str], rows: list[Row], domain: str) -> list[Row]:
    if "domain" not in columns:
        raise DataError(
            f'{path}: domain {domain!r} needs a column "domain", which the file lacks; add it, or '
            "omit the domain"
        )
    kept = [(line, row) for line, row in rows if row["domain"] == domain]
    if not kept:
        raise unknown(f"domain of {path}:", domain, sorted({row["domain"] for _, row in rows}))
    return kept


def _number(label: str, where: str) -> int:
    if not (label.isascii() and label.isdigit()) or len(label) > MOST_DIGITS:
        raise DataError(
            f'{where}: label is {shorten(label)}; with a column "name" it must be a whole number '
            f"from 0, of at most {MOST_DIGITS} digits"
        )
    return int(label)
