"""People's own captioned videos: a CSV file of path, caption and split."""

from pathlib import Path

from data_pipelines.errors import unknown
from data_pipelines.examples import Dataset, Example
from data_pipelines.layouts.captioned import check_caption
from data_pipelines.layouts.csv_rows import find_csv, read_rows
from data_pipelines.layouts.layout import SPLITS, check_path
from data_pipelines.videos.readers import VideoReader

REQUIRED = ("path", "caption", "split")


class CaptionsCsvLayout:
    """Own videos and their captions, listed in a CSV file."""

    def load(
        self, name: str, root: str | Path | None, template: str, ignore_rotation: bool = False
    ) -> Dataset:
        """Read the list; videos stay where they are.

        The file is UTF-8, with commas, and its first line names the columns, in any order: "path"
        (a file or a folder of frames, relative to the list's folder, or absolute), "caption" and
        "split" ("train", "val" or "test"); other columns are passed over. Rows of the same path
        and split are captions of one video.

        Args:
            name: the data set's name, for messages and results.
            root: the CSV file, or a folder that holds exactly one.
            template: the text of one class; not used by what compares videos with captions.
            ignore_rotation: leave frames as they are stored, whatever the file says.

        Raises:
            DataError: no file, missing columns, or a malformed row.
        """
        path = find_csv(name, root, self.expected())
        _, rows = read_rows(path, REQUIRED, filled=REQUIRED)
        lists: dict[str, dict[str, list[str]]] = {split: {} for split in SPLITS}
        for line, row in rows:
            if row["split"] not in lists:
                raise unknown(f"split in {path}, line {line}:", row["split"], SPLITS)
            check_path(row["path"], f"{path}, line {line}")
            check_caption(row["caption"], f"{path}, line {line}")
            texts = lists[row["split"]].setdefault(row["path"], [])
            texts.append(" ".join(row["caption"].split()))
        train, val, test = (
            tuple(Example(video, 0, "", tuple(texts)) for video, texts in lists[split].items())
            for split in SPLITS
        )
        reader = VideoReader(path.parent, upright=not ignore_rotation)
        return Dataset(
            name, template, train, val, test, reader, path.parent, path.name, kind="videos"
        )

    def expected(self) -> str:
        """A sketch of the file for error messages."""
        return (
            "Expected: root is a CSV file (or a folder with one), UTF-8, with commas:\n"
            "  path,caption,split\n"
            "  videos/1.mp4,a cat jumps off a wall,train\n"
            "  videos/1.mp4,a cat in the air,train\n"
            '  videos/2.mp4,"a dog, asleep",test'
        )
