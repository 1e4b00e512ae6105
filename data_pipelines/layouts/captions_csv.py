"""A user's own captioned videos: a CSV file of path, caption and split."""

from pathlib import Path

from data_pipelines.examples import Dataset, Example
from data_pipelines.layouts.captioned import check_caption
from data_pipelines.layouts.csv_rows import by_split, find_csv, read_rows
from data_pipelines.videos.readers import VideoReader

REQUIRED = ("path", "caption", "split")


class CaptionsCsvLayout:
    """Layout of a user's own videos and captions, listed in a CSV file."""

    def load(
        self, name: str, root: str | Path | None, template: str, ignore_rotation: bool = False
    ) -> Dataset:
        """Reads the list.

        The file is UTF-8 and comma-separated. Its first line names the columns, in any order:
        "path" (a file or a directory of frames, relative to the list's directory or absolute),
        "caption" and "split" ("train", "val" or "test"); other columns are ignored. Rows of the
        same path and split are captions of one video.

        Args:
            name, template, ignore_rotation: see `Layout.load`.
            root: the CSV file, or a directory that contains exactly one.
        """
        path = find_csv(name, root, self.expected())
        _, rows = read_rows(path, REQUIRED, filled=REQUIRED)
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
            name, template, train, val, test, reader, path.parent, path.name, kind="videos"
        )

    def expected(self) -> str:
        """Returns a sketch of the file, for error messages."""
        return (
            "Expected: root is a CSV file (or a directory with one), UTF-8, with commas:\n"
            "  path,caption,split\n"
            "  videos/1.mp4,a cat jumps off a wall,train\n"
            "  videos/1.mp4,a cat in the air,train\n"
            '  videos/2.mp4,"a dog, asleep",test'
        )
