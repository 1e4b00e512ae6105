"""ActivityNet Captions (Krishna et al. 2017) for paragraph-video retrieval, as CLIP4Clip."""

from pathlib import Path

from data_pipelines.errors import DataError, shorten
from data_pipelines.layouts.captioned import Caption, CaptionedLayout, Listed
from data_pipelines.layouts.layout import read_json
from data_pipelines.layouts.video_files import video_id

_PREFIX = "v_"
# An id is the prefix and YouTube's 11 characters, which may themselves begin with "v_".
_LENGTH = 13


def _prefixed(name: str) -> str:
    video = video_id(name)
    return video if video.startswith(_PREFIX) and len(video) == _LENGTH else _PREFIX + video


def _read_ids(path: Path) -> list[Listed]:
    content = read_json(path, "list of videos")
    if not isinstance(content, list) or not all(isinstance(each, str) for each in content):
        raise DataError(f"{path}: must be a JSON list of ids")
    return [Listed(video, f"{path.name}, [{position}]") for position, video in enumerate(content)]


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
            Caption(video, text, f"{path.name}, sentence {position}")
            for position, text in enumerate(sentences)
        ]
    return captions


ACTIVITYNET = CaptionedLayout(
    folder="ActivityNet",
    videos="…/uqiMw7tQ1Cc.mp4, with or without v_",
    lists={"train": "train_ids.json", "test": "val_ids.json"},
    read_list=_read_ids,
    # Results are measured on the first of the two validation annotations.
    captions={"train.json": _read_sentences, "val_1.json": _read_sentences},
    source="train_ids.json, train.json, val_ids.json, val_1.json",
    key=_prefixed,
    joined=True,
)
