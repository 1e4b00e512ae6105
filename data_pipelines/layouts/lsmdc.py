"""LSMDC (Rohrbach et al. 2015): tab-separated tables of videos and captions, without a header."""

from pathlib import Path

from data_pipelines.errors import DataError, shorten
from data_pipelines.layouts.captioned import Caption, CaptionedLayout, Listed, first_mentions
from data_pipelines.layouts.layout import read_text

_FILES = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",
}
_FIELDS = 6


def _read_list(path: Path) -> list[Listed]:
    return first_mentions(_read_table(path))


def _read_table(path: Path) -> list[Caption]:
    captions = []
    # Not splitlines: captions hold other characters at which it would split.
    for number, line in enumerate(read_text(path, "list of captions").split("\n"), 1):
        if not line.strip():
            continue
        fields = line.rstrip("\r").split("\t")
        if len(fields) != _FIELDS:
            raise DataError(
                f"{path}, line {number}: {shorten(line)} has {len(fields)} fields; it must have "
                f"{_FIELDS}, separated by tabs: the video's id, four times, the caption"
            )
        captions.append(Caption(fields[0].strip(), fields[-1], f"{path.name}, line {number}"))
    return captions


LSMDC = CaptionedLayout(
    folder="LSMDC",
    videos="…/<id>.avi",
    lists=_FILES,
    read_list=_read_list,
    captions=dict.fromkeys(_FILES.values(), _read_table),
    source=", ".join(_FILES.values()),
)
