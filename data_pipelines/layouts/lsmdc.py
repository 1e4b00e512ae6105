"""LSMDC: tables of video and caption, split by tabulators, without a header."""

from dataclasses import dataclass
from pathlib import Path

from data_pipelines.errors import DataError, shorten
from data_pipelines.examples import Dataset
from data_pipelines.layouts.captioned import Caption, captioned_videos, first_mentions
from data_pipelines.layouts.layout import find_home, read_text, sketch

FILES = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",
}
_FIELDS = 6


@dataclass(frozen=True)
class LsmdcLayout:
    """Where LSMDC lies under a common root; `folder` is its folder there."""

    folder: str

    def load(self, name: str, root: str | Path | None, template: str) -> Dataset:
        """Read the tables; of each line the first field is the video, the last one its caption.

        Args:
            name: the data set's name, for messages and results.
            root: the folder that holds `folder`, or `folder` itself.
            template: the text of one class.

        Raises:
            DataError: no root, a missing or malformed file, or what `captioned_videos` refuses.
        """
        home = find_home(name, root, self.folder, FILES["test"], "list", self.expected())
        tables = {split: _read_table(home / file) for split, file in FILES.items()}
        lists = {split: first_mentions(table) for split, table in tables.items()}
        captions = [each for table in tables.values() for each in table]
        source = ", ".join(FILES.values())
        return captioned_videos(name, template, home, lists, captions, source)

    def expected(self) -> str:
        """The folder sketch for error messages."""
        tables = {file: f"the {split} videos and captions" for split, file in FILES.items()}
        return sketch(self.folder, {"…/<id>.avi": "the videos, in any folder", **tables})


def _read_table(path: Path) -> list[Caption]:
    captions = []
    # Captions hold characters at which splitlines would cut.
    for number, line in enumerate(read_text(path, "list of captions").split("\n"), 1):
        if not line.strip():
            continue
        fields = line.rstrip("\r").split("\t")
        if len(fields) != _FIELDS:
            raise DataError(
                f"{path}, line {number}: {shorten(line)} has {len(fields)} fields; it must have "
                f"{_FIELDS}, with tabulators between them: the video's id, four times, a caption"
            )
        captions.append(Caption(fields[0].strip(), fields[-1], f"{path.name}, line {number}"))
    return captions
