"""MSR-VTT (Xu et al. 2016) with the 9k or 7k training list and the 1k-A test list."""

from pathlib import Path

from data_pipelines.errors import DataError
from data_pipelines.layouts.captioned import (
    Caption,
    CaptionedLayout,
    Listed,
    first_mentions,
    text_pairs,
)
from data_pipelines.layouts.csv_rows import read_rows
from data_pipelines.layouts.layout import read_json

# The list 1k-A of JSFusion (Yu et al. 2018), with one caption of each video.
_TEST = "MSRVTT_JSFUSION_test.csv"


def _read_list(path: Path) -> list[Listed]:
    _, rows = read_rows(path, ("video_id",), filled=("video_id",))
    listed = [Listed(row["video_id"], f"{path.name}, line {line}") for line, row in rows]
    return first_mentions(listed) if path.name == _TEST else listed


def _read_test(path: Path) -> list[Caption]:
    _, rows = read_rows(path, ("video_id", "sentence"), filled=("video_id",))
    return [
        Caption(row["video_id"], row["sentence"], f"{path.name}, line {line}") for line, row in rows
    ]


def _read_sentences(path: Path) -> list[Caption]:
    content = read_json(path, "file of captions")
    sentences = content.get("sentences") if isinstance(content, dict) else None
    if not isinstance(sentences, list):
        raise DataError(f'{path}: must be a JSON object with the list "sentences"')
    return text_pairs(path, sentences, "sentences", "video_id", "caption")


def _layout(train: str) -> CaptionedLayout:
    return CaptionedLayout(
        folder="MSRVTT",
        videos="…/video0.mp4",
        lists={"train": train, "test": _TEST},
        read_list=_read_list,
        captions={"MSRVTT_data.json": _read_sentences, _TEST: _read_test},
        source=f"{train}, {_TEST}",
        final=_TEST,
    )


MSRVTT_9K = _layout("MSRVTT_train.9k.csv")
MSRVTT_7K = _layout("MSRVTT_train.7k.csv")
