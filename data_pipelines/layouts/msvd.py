"""MSVD: lists of video ids, and about forty captions a video, in JSON or in a pickle."""

import os
from dataclasses import dataclass
from pathlib import Path

from data_pipelines.errors import DataError, shorten
from data_pipelines.examples import Dataset
from data_pipelines.layouts.captioned import Caption, Listed, captioned_videos
from data_pipelines.layouts.layout import SPLITS, find_home, read_json, read_lines, sketch
from data_pipelines.layouts.plain_pickle import read_pickle

LIST = "{}_list.txt"
CAPTIONS = "captions_msvd.json"
PICKLE = "raw-captions.pkl"


@dataclass(frozen=True)
class MsvdLayout:
    """Where MSVD lies under a common root; `folder` is its folder there."""

    folder: str

    def load(self, name: str, root: str | Path | None, template: str) -> Dataset:
        """Read the lists. Captions are read from the JSON file, or from the pickle without it.

        Args:
            name: the data set's name, for messages and results.
            root: the folder that holds `folder`, or `folder` itself.
            template: the text of one class.

        Raises:
            DataError: no root, a missing or malformed file, or what `captioned_videos` refuses.
        """
        home = find_home(name, root, self.folder, LIST.format("test"), "list", self.expected())
        lists = {split: _read_list(home / LIST.format(split)) for split in SPLITS}
        file = CAPTIONS if os.path.exists(home / CAPTIONS) else PICKLE
        read = _read_json if file == CAPTIONS else _read_words
        source = f"{LIST.format('{train,val,test}')}, {file}"
        return captioned_videos(name, template, home, lists, read(home / file), source)

    def expected(self) -> str:
        """The folder sketch for error messages."""
        lists = {LIST.format(split): 'lines "-4wsuPCjDBc_5_15"' for split in SPLITS}
        return sketch(
            self.folder,
            {
                "…/-4wsuPCjDBc_5_15.avi": "the videos, in any folder",
                **lists,
                f"{CAPTIONS} or {PICKLE}": "the captions",
            },
        )


def _read_list(path: Path) -> list[Listed]:
    lines = read_lines(path, "list of videos")
    return [Listed(video, f"{path.name}, line {number}") for number, video in lines]


def _read_json(path: Path) -> list[Caption]:
    content = read_json(path, "file of captions")
    captions = []
    for video, texts in _items(path, content):
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"{path}: caption {position} of {shorten(video)} is not text")
            captions.append(Caption(video, text, f"{path.name}, caption {position}"))
    return captions


def _read_words(path: Path) -> list[Caption]:
    captions = []
    for video, texts in _items(path, read_pickle(path, "file of captions")):
        for position, words in enumerate(texts):
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise DataError(
                    f"{path}: caption {position} of {shorten(video)} is not a list of words"
                )
            captions.append(Caption(video, " ".join(words), f"{path.name}, caption {position}"))
    return captions


def _items(path: Path, content: object) -> list[tuple[str, list]]:
    if not isinstance(content, dict):
        raise DataError(f"{path}: must hold the captions of each video by its id")
    items = list(content.items())
    for video, texts in items:
        if not isinstance(video, str) or not isinstance(texts, list):
            raise DataError(
                f"{path}: must hold a list of captions for each id; {shorten(str(video))} has none"
            )
    return items
