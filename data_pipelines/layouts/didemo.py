"""DiDeMo for retrieval of paragraphs: all descriptions of a video are one caption."""

from dataclasses import dataclass
from pathlib import Path

from data_pipelines.errors import DataError, shorten
from data_pipelines.examples import Dataset
from data_pipelines.layouts.captioned import Caption, Listed, captioned_videos
from data_pipelines.layouts.layout import SPLITS, find_home, read_json, read_lines, sketch
from data_pipelines.layouts.video_files import video_id

LIST = "{}_list.txt"
DESCRIPTIONS = "{}_data.json"
# What was described, of videos that are longer: six segments of five seconds.
_SPAN = (0.0, 30.0)


@dataclass(frozen=True)
class DidemoLayout:
    """Where DiDeMo lies under a common root; `folder` is its folder there."""

    folder: str

    def load(self, name: str, root: str | Path | None, template: str) -> Dataset:
        """Read the lists and descriptions; of each video the first 30 seconds are meant.

        Args:
            name: the data set's name, for messages and results.
            root: the folder that holds `folder`, or `folder` itself.
            template: the text of one class.

        Raises:
            DataError: no root, a missing or malformed file, or what `captioned_videos` refuses.

        Source: Hendricks et al. 2017; paragraphs as CLIP4Clip (Luo et al. 2022) makes them.
        """
        home = find_home(name, root, self.folder, LIST.format("test"), "list", self.expected())
        lists = {split: _read_list(home / LIST.format(split)) for split in SPLITS}
        captions = [
            each
            for split in SPLITS
            for each in _read_descriptions(home / DESCRIPTIONS.format(split))
        ]
        source = f"{LIST.format('{train,val,test}')}, {DESCRIPTIONS.format('{train,val,test}')}"
        return captioned_videos(
            name, template, home, lists, captions, source, joined=True, span=_SPAN
        )

    def expected(self) -> str:
        """The folder sketch for error messages."""
        lists = {LIST.format(split): "names of files" for split in SPLITS}
        texts = {DESCRIPTIONS.format(split): "their descriptions" for split in SPLITS}
        return sketch(self.folder, {"…/<name>.mp4": "the videos, in any folder", **lists, **texts})


def _read_list(path: Path) -> list[Listed]:
    # Lists name files as they were downloaded, some twice with two suffixes; videos may have been
    # converted since.
    listed: dict[str, Listed] = {}
    for number, line in read_lines(path, "list of videos"):
        video = video_id(line)
        listed.setdefault(video, Listed(video, f"{path.name}, line {number}"))
    return list(listed.values())


def _read_descriptions(path: Path) -> list[Caption]:
    content = read_json(path, "file of descriptions")
    if not isinstance(content, list):
        raise DataError(f'{path}: must be a JSON list of {{"video": …, "description": …}}')
    captions = []
    for position, entry in enumerate(content):
        match entry:
            case {"video": str(video), "description": str(text)}:
                captions.append(Caption(video_id(video), text, f"{path.name}, [{position}]"))
            case _:
                raise DataError(
                    f"{path}: [{position}] is {shorten(str(entry))}; it must hold the texts "
                    '"video" and "description"'
                )
    return captions
