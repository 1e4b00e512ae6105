"""What all lists of captioned videos share: from ids, captions and files to a data set."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from data_pipelines.errors import DataError, shorten
from data_pipelines.examples import Dataset, Example
from data_pipelines.layouts.layout import SPLITS, check_path
from data_pipelines.layouts.video_files import choose_files, find_videos, video_id
from data_pipelines.videos.readers import VideoReader

# Of a caption; a paragraph of ActivityNet has three thousand.
LONGEST = 100_000
_LONGEST_SHOWN = 60


class Listed(NamedTuple):
    """A video that a list names, by its id; `where` is its place there, for messages."""

    video: str
    where: str


class Caption(NamedTuple):
    """A caption of the video with an id; `where` is its place in a file, for messages."""

    video: str
    text: str
    where: str


def captioned_videos(
    name: str,
    template: str,
    home: Path,
    lists: Mapping[str, Sequence[Listed]],
    captions: Iterable[Caption],
    source: str,
    key: Callable[[str], str] = video_id,
    joined: bool = False,
    span: tuple[float, float] | None = None,
) -> Dataset:
    """A data set of videos without classes, each with the captions of its id.

    Videos are found by id anywhere below `home`. One that is not there is listed under its id, so
    that it is reported as missing. Left out, which the data set's notes say, are captions that are
    empty or of videos that no list names, and videos without a caption, of which ActivityNet has 9.

    Args:
        name: the data set's name, for messages and results.
        template: the text of one class; not used by what compares videos with captions.
        home: the folder in which the videos lie, in folders of any names.
        lists: the videos of "train", "val" and "test"; a split may be missing.
        captions: all captions, those of a video in their order.
        source: where lists and captions come from, in words.
        key: a video's id, from the name of its file or folder of frames.
        joined: make one caption of all of a video's, as paragraphs are.
        span: what of each video is meant, in seconds; None: all of it.

    Raises:
        DataError: no list names a video with a caption; a list names something that is no id, or a
            video with two files; or none of the videos is there.
    """
    named = [each for split in SPLITS for each in lists.get(split, ())]
    for each in named:
        _check_id(each)
    texts, empty, others = _gather(captions, {each.video for each in named})
    if joined:
        texts = {video: (" ".join(found),) for video, found in texts.items()}
        for video, (paragraph,) in texts.items():
            check_caption(paragraph, f"{name}: {shorten(video)}")
    bare = [each for each in named if each.video not in texts]
    notes = (
        *_left_out("empty captions", empty),
        *_left_out("captions of videos that no list names", others),
        *_left_out("videos without a caption", bare),
    )
    files = find_videos(home, key)
    if not texts:
        raise DataError(f"{name}: the lists in {home} name no video that has a caption")
    paths = choose_files(name, home, {video: files.get(video, ()) for video in texts})

    def examples(split: str) -> tuple[Example, ...]:
        videos = [each.video for each in lists.get(split, ()) if each.video in texts]
        return tuple(Example(paths[video], 0, "", texts[video], span) for video in videos)

    train, val, test = map(examples, SPLITS)
    reader = VideoReader(home, upright=True)
    return Dataset(name, template, train, val, test, reader, home, source, notes, kind="videos")


def check_caption(text: str, where: str) -> None:
    """Refuses a text that nobody wrote as a caption, before it is cut into tokens."""
    if len(text) > LONGEST:
        raise DataError(
            f"{where} has a caption of {len(text):,} characters; it can have {LONGEST:,}"
        )


def first_mentions(captions: Iterable[Caption]) -> list[Listed]:
    """The videos of captions, each at the place of its first one."""
    videos: dict[str, Listed] = {}
    for each in captions:
        videos.setdefault(each.video, Listed(each.video, each.where))
    return list(videos.values())


def _check_id(each: Listed) -> None:
    check_path(each.video, each.where)
    if each.video in ("", ".", "..") or "/" in each.video:
        raise DataError(
            f"{each.where} names the video {shorten(each.video)}; it must be the name of a file, "
            "without a folder"
        )


def _gather(
    captions: Iterable[Caption], wanted: set[str]
) -> tuple[dict[str, tuple[str, ...]], list[Caption], list[Caption]]:
    """The captions of each video that is wanted; those that are empty; those of other videos."""
    texts: dict[str, list[str]] = {}
    empty, others = [], []
    for each in captions:
        check_caption(each.text, each.where)
        text = " ".join(each.text.split())
        if not text:
            empty.append(each)
        elif each.video not in wanted:
            others.append(each)
        else:
            texts.setdefault(each.video, []).append(text)
    return {video: tuple(found) for video, found in texts.items()}, empty, others


def _left_out(what: str, found: Sequence[Listed | Caption]) -> list[str]:
    if not found:
        return []
    video = found[0].video
    if not video.isprintable() or len(video) > _LONGEST_SHOWN:
        video = shorten(video)
    return [f"{what}: {len(found)}, left out, e.g. {video} ({found[0].where})"]
