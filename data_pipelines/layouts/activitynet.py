"""ActivityNet Captions for retrieval of paragraphs: all sentences of a video are one caption."""

from dataclasses import dataclass
from pathlib import Path

from data_pipelines.errors import DataError, shorten
from data_pipelines.examples import Dataset
from data_pipelines.layouts.captioned import Caption, Listed, captioned_videos
from data_pipelines.layouts.layout import find_home, read_json, sketch
from data_pipelines.layouts.video_files import video_id

# The first of the two validation annotations is what results are measured on.
FILES = {"train": ("train_ids.json", "train.json"), "test": ("val_ids.json", "val_1.json")}
_PREFIX = "v_"
# An id is the prefix and YouTube's 11 characters, which may begin like the prefix.
_LENGTH = 13


@dataclass(frozen=True)
class ActivityNetLayout:
    """Where ActivityNet Captions lies under a common root; `folder` is its folder there."""

    folder: str

    def load(self, name: str, root: str | Path | None, template: str) -> Dataset:
        """Read the lists and sentences; test videos are those of `val_ids.json`.

        Args:
            name: the data set's name, for messages and results.
            root: the folder that holds `folder`, or `folder` itself.
            template: the text of one class.

        Raises:
            DataError: no root, a missing or malformed file, or what `captioned_videos` refuses.

        Source: Krishna et al. 2017; paragraphs as CLIP4Clip (Luo et al. 2022) makes them.
        """
        marker = FILES["test"][0]
        home = find_home(name, root, self.folder, marker, "list", self.expected())
        lists = {split: _read_ids(home / ids) for split, (ids, _) in FILES.items()}
        captions = [each for _, file in FILES.values() for each in _read_sentences(home / file)]
        source = ", ".join(file for files in FILES.values() for file in files)
        return captioned_videos(
            name, template, home, lists, captions, source, key=_prefixed, joined=True
        )

    def expected(self) -> str:
        """The folder sketch for error messages."""
        lists = {ids: f"the {split} videos" for split, (ids, _) in FILES.items()}
        texts = {file: "their sentences" for _, file in FILES.values()}
        videos = {"…/uqiMw7tQ1Cc.mp4": "the videos, with or without v_"}
        return sketch(self.folder, {**videos, **lists, **texts})


def _prefixed(name: str) -> str:
    video = video_id(name)
    return video if video.startswith(_PREFIX) and len(video) == _LENGTH else _PREFIX + video


def _read_ids(path: Path) -> list[Listed]:
    content = read_json(path, "list of videos")
    if not isinstance(content, list) or not all(isinstance(each, str) for each in content):
        raise DataError(f"{path}: must be a JSON list of ids")
    return [Listed(video, f"{path.name}, [{place}]") for place, video in enumerate(content)]


def _read_sentences(path: Path) -> list[Caption]:
    content = read_json(path, "file of sentences")
    if not isinstance(content, dict):
        raise DataError(f'{path}: must be a JSON object: {{"v_…": {{"sentences": […]}}}}')
    captions = []
    for video, entry in content.items():
        sentences = entry.get("sentences") if isinstance(entry, dict) else None
        if not isinstance(sentences, list) or not all(isinstance(each, str) for each in sentences):
            raise DataError(f'{path}: {shorten(video)} must hold "sentences", a list of texts')
        captions += [
            Caption(video, text, f"{path.name}, sentence {place}")
            for place, text in enumerate(sentences)
        ]
    return captions
