"""MSVD (Chen and Dolan 2011): about forty captions per video, in JSON or in a pickle."""

from pathlib import Path

from data_pipelines.errors import DataError, shorten
from data_pipelines.layouts.captioned import Caption, CaptionedLayout, Listed
from data_pipelines.layouts.layout import SPLITS, read_json, read_lines
from data_pipelines.layouts.plain_pickle import read_pickle


def _read_list(path: Path) -> list[Listed]:
    lines = read_lines(path, "list of videos")
    return [Listed(video, f"{path.name}, line {number}") for number, video in lines]


def _read_texts(path: Path) -> list[Caption]:
    return _captions(path, read_json(path, "file of captions"), words=False)


def _read_words(path: Path) -> list[Caption]:
    return _captions(path, read_pickle(path, "file of captions"), words=True)


def _captions(path: Path, content: object, words: bool) -> list[Caption]:
    """Returns the captions of {id: [caption, …]}; `words`: each caption is a list of words."""
    if not isinstance(content, dict):
        raise DataError(f"{path}: must hold the captions of each video by its id")
    captions = []
    for video, entries in content.items():
        if not isinstance(video, str) or not isinstance(entries, list):
            raise DataError(
                f"{path}: must hold a list of captions for each id; {shorten(str(video))} has none"
            )
        for position, entry in enumerate(entries):
            parts = entry if words else [entry]
            if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
                raise DataError(
                    f"{path}: caption {position} of {shorten(video)} is not "
                    + ("a list of words" if words else "text")
                )
            captions.append(Caption(video, " ".join(parts), f"{path.name}, caption {position}"))
    return captions


MSVD = CaptionedLayout(
    folder="MSVD",
    videos="…/-4wsuPCjDBc_5_15.avi",
    lists={split: f"{split}_list.txt" for split in SPLITS},
    read_list=_read_list,
    captions={"captions_msvd.json": _read_texts, "raw-captions.pkl": _read_words},
    source="{train,val,test}_list.txt",
    alternatives=True,
)
