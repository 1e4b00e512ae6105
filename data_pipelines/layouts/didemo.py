"""DiDeMo (Hendricks et al. 2017) for paragraph-video retrieval, as CLIP4Clip (Luo et al. 2022)."""

from pathlib import Path

from data_pipelines.errors import DataError
from data_pipelines.layouts.captioned import Caption, CaptionedLayout, Listed, text_pairs
from data_pipelines.layouts.layout import SPLITS, read_json, read_lines
from data_pipelines.layouts.video_files import video_id


def _read_list(path: Path) -> list[Listed]:
    # Lists hold the file names of the original download, a few twice with two suffixes; the
    # videos may have been converted since.
    listed: dict[str, Listed] = {}
    for number, line in read_lines(path, "list of videos"):
        video = video_id(line)
        listed.setdefault(video, Listed(video, f"{path.name}, line {number}"))
    return list(listed.values())


def _read_descriptions(path: Path) -> list[Caption]:
    content = read_json(path, "file of descriptions")
    if not isinstance(content, list):
        raise DataError(f'{path}: must be a JSON list of {{"video": …, "description": …}}')
    captions = text_pairs(path, content, "", "video", "description")
    return [each._replace(video=video_id(each.video)) for each in captions]


DIDEMO = CaptionedLayout(
    folder="DiDeMo",
    videos="…/<name>.mp4",
    lists={split: f"{split}_list.txt" for split in SPLITS},
    read_list=_read_list,
    captions={f"{split}_data.json": _read_descriptions for split in SPLITS},
    source="{train,val,test}_list.txt, {train,val,test}_data.json",
    joined=True,
    span=(0.0, 30.0),  # six annotated segments of five seconds; videos may be longer
)
