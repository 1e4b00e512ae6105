"""A user's own captioned videos: a CSV file of path, caption and perhaps split."""

from pathlib import Path

from data_pipelines.examples import Dataset, Example
from data_pipelines.layouts import automatic
from data_pipelines.layouts.captioned import check_caption
from data_pipelines.layouts.csv_rows import Row, by_split, find_csv, read_rows
from data_pipelines.layouts.layout import SPLITS
from data_pipelines.videos.readers import VideoReader

REQUIRED = ("path", "caption")


class CaptionsCsvLayout:
    """Layout of a user's own videos and captions, listed in a CSV file."""

    def load(
        self,
        name: str,
        root: str | Path | None,
        template: str,
        ignore_rotation: bool = False,
        columns: str = "",
    ) -> Dataset:
        """Reads the list.

        The file is UTF-8 and comma-separated. Its first line names the columns, in any order:
        "path" (a file or a directory of frames, relative to the list's directory or absolute),
        "caption" and "split" ("train", "val" or "test"); other columns are ignored. Rows of the
        same path and split are captions of one video. Without "split", `automatic.divide` splits
        the videos.

        Args:
            name, template, ignore_rotation: see `Layout.load`.
            root: the CSV file, or a directory that contains exactly one.
            columns: see `csv_rows.rename`.
        """
        path = find_csv(name, root, self.expected())
        found, rows = read_rows(path, REQUIRED, filled=(*REQUIRED, "split"), renamed=columns)
        notes: tuple[str, ...] = ()
        source = path.name
        if "split" not in found:
            rows, counts = _split(rows)
            source = f"{automatic.RULE} of {path.name}"
            notes = (
                f'{path.name} has no column "split", so its videos are split by a hash of their '
                f"paths: {counts}; add the column to choose the split yourself",
            )
        lists = []
        for listed in by_split(path, rows).values():
            captions: dict[str, list[str]] = {}
            for where, row in listed:
                check_caption(row["caption"], where)
                captions.setdefault(row["path"], []).append(" ".join(row["caption"].split()))
            lists.append(tuple(Example(v, 0, "", tuple(texts)) for v, texts in captions.items()))
        train, val, test = lists
        reader = VideoReader(path.parent, upright=not ignore_rotation)
        return Dataset(
            name, template, train, val, test, reader, path.parent, source, notes, kind="videos"
        )

    def expected(self) -> str:
        """Returns a sketch of the file, for error messages."""
        return (
            "Expected: root is a CSV file (or a directory with one), UTF-8, with commas:\n"
            "  path,caption,split\n"
            "  videos/1.mp4,a cat jumps off a wall,train\n"
            "  videos/1.mp4,a cat in the air,train\n"
            '  videos/2.mp4,"a dog, asleep",test\n'
            "Without the column split, the videos are split by a hash of their paths."
        )


def _split(rows: list[Row]) -> tuple[list[Row], str]:
    """Returns rows with a column "split", and the number of videos of each."""
    divided = automatic.divide({"": list(dict.fromkeys(row["path"] for _, row in rows))})
    places = {path: split for split in SPLITS for path in divided[split][""]}
    counts = ", ".join(f"{len(divided[split]['']):,} {split}" for split in SPLITS)
    return [(line, row | {"split": places[row["path"]]}) for line, row in rows], counts
