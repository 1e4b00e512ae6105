"""Reads every published data set of captioned videos, from one record of its files."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from data_pipelines.errors import DataError, shorten
from data_pipelines.examples import Dataset, Example
from data_pipelines.layouts.layout import SPLITS, check_path, find_home, sketch
from data_pipelines.layouts.video_files import choose_files, find_videos, video_id
from data_pipelines.videos.readers import VideoReader

# The longest caption in characters; a paragraph of ActivityNet has three thousand.
LONGEST = 100_000
_LONGEST_SHOWN = 60


class Listed(NamedTuple):
    """A video id in a list; `where` is its position there, for messages."""

    video: str
    where: str


class Caption(NamedTuple):
    """A caption of a video id; `where` is its position in a file, for messages."""

    video: str
    text: str
    where: str


@dataclass(frozen=True)
class CaptionedLayout:
    """Layout of a data set of captioned videos: its files and how each is read.

    Attributes:
        folder: its directory below a common root.
        videos: the path of one video file, for the layout sketch.
        lists: the file that lists the videos of each split; a split may be missing.
        read_list: reads the video ids from such a file.
        captions: the files of captions, each with the function that reads it.
        source: names the files in results; recorded in results.json, so keep it as it is.
        alternatives: whether all captions are in the first of `captions` that exists.
        final: the file of `captions` that replaces all other captions of its videos, if any.
        key: returns a video's id from the name of its file or directory of frames.
        joined: whether the captions of a video are joined to one paragraph.
        span: (start, end) in seconds of the annotated part of each video; None: all of it.
    """

    folder: str
    videos: str
    lists: Mapping[str, str]
    read_list: Callable[[Path], list[Listed]]
    captions: Mapping[str, Callable[[Path], list[Caption]]]
    source: str
    alternatives: bool = False
    final: str = ""
    key: Callable[[str], str] = video_id
    joined: bool = False
    span: tuple[float, float] | None = None

    def load(self, name: str, root: str | Path | None, template: str) -> Dataset:
        """Reads lists and captions, and finds the videos below the directory; see `Layout.load`."""
        home = find_home(name, root, self.folder, self.lists["test"], "list", self.expected())
        lists = {split: self.read_list(home / file) for split, file in self.lists.items()}
        files, source = list(self.captions), self.source
        if self.alternatives:
            files = [next((file for file in files if os.path.exists(home / file)), files[-1])]
            source += f", {files[0]}"
        found = {file: self.captions[file](home / file) for file in files}
        final = {each.video for each in found.get(self.final, ())}
        captions = [
            each
            for file, those in found.items()
            for each in those
            if file == self.final or each.video not in final
        ]
        return captioned_videos(name, template, home, lists, captions, self, source)

    def expected(self) -> str:
        """Returns a sketch of the layout, for error messages."""
        contents = {self.videos: "the videos, in any directory"}
        contents |= {file: f"the {split} videos" for split, file in self.lists.items()}
        texts = [" or ".join(self.captions)] if self.alternatives else list(self.captions)
        for file in texts:
            contents[file] = f"{contents[file]}, with captions" if file in contents else "captions"
        return sketch(self.folder, contents)


def captioned_videos(
    name: str,
    template: str,
    home: Path,
    lists: Mapping[str, Sequence[Listed]],
    captions: Iterable[Caption],
    layout: CaptionedLayout,
    source: str,
) -> Dataset:
    """Builds a data set of videos without classes, each with the captions of its id.

    A missing video is listed under its id, so that it is reported as missing. Empty captions,
    captions of unlisted videos and videos without a caption (ActivityNet has 9) are left out, and
    the data set's notes count them.

    Args:
        name: the data set's name, for messages and results.
        template: the prompt of one class; unused in text-video retrieval.
        home: the directory below which the videos are searched.
        lists: the videos of "train", "val" and "test"; a split may be missing.
        captions: all captions; those of one video in order.
        layout: how videos are named (`key`), `joined` and `span`.
        source: names the files in results.

    Raises:
        DataError: no listed video has a caption, an id is no file name, a video has two files, or
            no video is found.
    """
    named = [each for split in SPLITS for each in lists.get(split, ())]
    for each in named:
        _check_id(each)
    texts, empty, others = _gather(captions, {each.video for each in named})
    if layout.joined:
        texts = {video: (" ".join(found),) for video, found in texts.items()}
        for video, (paragraph,) in texts.items():
            check_caption(paragraph, f"{name}: {shorten(video)}")
    bare = [each for each in named if each.video not in texts]
    notes = (
        *_left_out("empty captions", empty),
        *_left_out("captions of videos that no list names", others),
        *_left_out("videos without a caption", bare),
    )
    files = find_videos(home, layout.key)
    if not texts:
        raise DataError(f"{name}: the lists in {home} name no video that has a caption")
    paths = choose_files(name, home, {video: files.get(video, ()) for video in texts})

    def examples(split: str) -> tuple[Example, ...]:
        videos = [each.video for each in lists.get(split, ()) if each.video in texts]
        return tuple(Example(paths[video], 0, "", texts[video], layout.span) for video in videos)

    train, val, test = map(examples, SPLITS)
    reader = VideoReader(home, upright=True)
    return Dataset(name, template, train, val, test, reader, home, source, notes, kind="videos")


def check_caption(text: str, where: str) -> None:
    """Raises `DataError` for a caption that is too long to be one, before it is tokenized."""
    if len(text) > LONGEST:
        raise DataError(
            f"{where} has a caption of {len(text):,} characters; the limit is {LONGEST:,}"
        )


def first_mentions(listed: Iterable[Listed | Caption]) -> list[Listed]:
    """Returns each video once, at its first position."""
    videos: dict[str, Listed] = {}
    for each in listed:
        videos.setdefault(each.video, Listed(each.video, each.where))
    return list(videos.values())


def _check_id(each: Listed) -> None:
    check_path(each.video, each.where)
    if each.video in ("", ".", "..") or "/" in each.video:
        raise DataError(
            f"{each.where} names the video {shorten(each.video)}; it must be the name of a file, "
            "without a directory"
        )


def _gather(
    captions: Iterable[Caption], wanted: set[str]
) -> tuple[dict[str, tuple[str, ...]], list[Caption], list[Caption]]:
    """Returns the captions of each wanted video, the empty ones, and those of other videos."""
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


def text_pairs(
    path: Path, entries: Sequence[object], where: str, video: str, text: str
) -> list[Caption]:
    """Returns a caption for each JSON object with the text fields `video` and `text`.

    Args:
        path: the file, for messages.
        entries: the objects.
        where: the name of their list in the file; "" if the list is the whole file.
        video: the field of the video's id.
        text: the field of the caption.

    Raises:
        DataError: an entry is not such an object.
    """
    captions = []
    for position, entry in enumerate(entries):
        fields = (entry.get(video), entry.get(text)) if isinstance(entry, dict) else (None, None)
        match fields:
            case (str(of), str(caption)):
                captions.append(Caption(of, caption, f"{path.name}, {where}[{position}]"))
            case _:
                raise DataError(
                    f"{path}: {where}[{position}] is {shorten(str(entry))}; it must hold the texts "
                    f'"{video}" and "{text}"'
                )
    return captions
