"""MSR-VTT as retrieval uses it: a list of training videos, and the test list 1k-A."""

from dataclasses import dataclass
from pathlib import Path

from data_pipelines.errors import DataError, shorten
from data_pipelines.examples import Dataset
from data_pipelines.layouts.captioned import Caption, Listed, captioned_videos, first_mentions
from data_pipelines.layouts.csv_rows import read_rows
from data_pipelines.layouts.layout import find_home, read_json, sketch

CAPTIONS = "MSRVTT_data.json"
TEST = "MSRVTT_JSFUSION_test.csv"


@dataclass(frozen=True)
class MsrVttLayout:
    """Where MSR-VTT lies under a common root.

    Attributes:
        folder: its folder there.
        train: the list of training videos in it.
    """

    folder: str
    train: str

    def load(self, name: str, root: str | Path | None, template: str) -> Dataset:
        """Read the lists: every caption of a training video, one of each test video.

        Args:
            name: the data set's name, for messages and results.
            root: the folder that holds `folder`, or `folder` itself.
            template: the text of one class.

        Raises:
            DataError: no root, a missing or malformed file, or what `captioned_videos` refuses.

        Source: the files of CLIP4Clip (Luo et al. 2022); 1k-A is of JSFusion (Yu et al. 2018).
        """
        home = find_home(name, root, self.folder, CAPTIONS, "file of captions", self.expected())
        _, rows = read_rows(home / self.train, ("video_id",), filled=("video_id",))
        train = [Listed(row["video_id"], f"{self.train}, line {line}") for line, row in rows]
        columns = ("video_id", "sentence")
        _, rows = read_rows(home / TEST, columns, filled=("video_id",))
        tested = [
            Caption(row["video_id"], row["sentence"], f"{TEST}, line {line}") for line, row in rows
        ]
        # Of test videos only the caption of the test list counts.
        test = first_mentions(tested)
        ids = {each.video for each in test}
        captions = [each for each in _read_captions(home / CAPTIONS) if each.video not in ids]
        lists = {"train": train, "test": test}
        source = f"{self.train}, {TEST}"
        return captioned_videos(name, template, home, lists, [*captions, *tested], source)

    def expected(self) -> str:
        """The folder sketch for error messages."""
        return sketch(
            self.folder,
            {
                "…/video0.mp4": "the videos, in any folder",
                CAPTIONS: "the captions",
                self.train: "the training videos",
                TEST: "the test videos, each with a caption",
            },
        )


def _read_captions(path: Path) -> list[Caption]:
    content = read_json(path, "file of captions")
    sentences = content.get("sentences") if isinstance(content, dict) else None
    if not isinstance(sentences, list):
        raise DataError(f'{path}: must be a JSON object with the list "sentences"')
    captions, file = [], path.name
    for position, sentence in enumerate(sentences):
        match sentence:
            case {"video_id": str(video), "caption": str(text)}:
                captions.append(Caption(video, text, f"{file}, sentences[{position}]"))
            case _:
                raise DataError(
                    f"{path}: sentences[{position}] is {shorten(str(sentence))}; it must hold the "
                    'texts "video_id" and "caption"'
                )
    return captions
