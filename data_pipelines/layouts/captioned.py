"""What all lists of captioned clips share: from ids, captions and files to a data set."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from data_pipelines.errors import DataError, shorten
from data_pipelines.examples import Dataset, Example
from data_pipelines.layouts.clip_files import choose_files, clip_id, find_clips
from data_pipelines.layouts.layout import SPLITS, check_path
from data_pipelines.videos.readers import ClipReader

# Of a caption; a paragraph of ActivityNet has three thousand.
LONGEST = 100_000
_LONGEST_SHOWN = 60


class Listed(NamedTuple):
    """A clip that a list names, by its id; `where` is its place there, for messages."""

    clip: str
    where: str


class Caption(NamedTuple):
    """A caption of the clip with an id; `where` is its place in a file, for messages."""

    clip: str
    text: str
    where: str


def captioned_clips(
    name: str,
    template: str,
    home: Path,
    lists: Mapping[str, Sequence[Listed]],
    captions: Iterable[Caption],
    source: str,
    key: Callable[[str], str] = clip_id,
    joined: bool = False,
    span: tuple[float, float] | None = None,
) -> Dataset:
    """A data set of clips without classes, each with the captions of its id.

    Clips are found by id anywhere below `home`. One that is not there is listed under its id, so
    that it is reported as missing. Left out, which the data set's notes say, are captions that are
    empty or of clips that no list names, and clips without a caption, of which ActivityNet has 9.

    Args:
        name: the data set's name, for messages and results.
        template: the text of one class; not used by what compares clips with captions.
        home: the folder in which the clips lie, in folders of any names.
        lists: the clips of "train", "val" and "test"; a split may be missing.
        captions: all captions, those of a clip in their order.
        source: where lists and captions come from, in words.
        key: a clip's id, from the name of its file or folder of frames.
        joined: make one caption of all of a clip's, as paragraphs are.
        span: what of each clip is meant, in seconds; None: all of it.

    Raises:
        DataError: no list names a clip with a caption; a list names something that is no id, or a
            clip with two files; or none of the clips is there.
    """
    named = [each for split in SPLITS for each in lists.get(split, ())]
    for each in named:
        _check_id(each)
    texts, empty, others = _gather(captions, {each.clip for each in named})
    if joined:
        texts = {clip: (" ".join(found),) for clip, found in texts.items()}
        for clip, (paragraph,) in texts.items():
            check_caption(paragraph, f"{name}: {shorten(clip)}")
    bare = [each for each in named if each.clip not in texts]
    notes = (
        *_left_out("empty captions", empty),
        *_left_out("captions of clips that no list names", others),
        *_left_out("clips without a caption", bare),
    )
    files = find_clips(home, key)
    if not texts:
        raise DataError(f"{name}: the lists in {home} name no clip that has a caption")
    paths = choose_files(name, home, {clip: files.get(clip, ()) for clip in texts})

    def examples(split: str) -> tuple[Example, ...]:
        clips = [each.clip for each in lists.get(split, ()) if each.clip in texts]
        return tuple(Example(paths[clip], 0, "", texts[clip], span) for clip in clips)

    train, val, test = map(examples, SPLITS)
    reader = ClipReader(home, upright=True)
    return Dataset(name, template, train, val, test, reader, home, source, notes, kind="clips")


def check_caption(text: str, where: str) -> None:
    """Refuses a text that nobody wrote as a caption, before it is cut into tokens."""
    if len(text) > LONGEST:
        raise DataError(
            f"{where} has a caption of {len(text):,} characters; it can have {LONGEST:,}"
        )


def first_mentions(captions: Iterable[Caption]) -> list[Listed]:
    """The clips of captions, each at the place of its first one."""
    clips: dict[str, Listed] = {}
    for each in captions:
        clips.setdefault(each.clip, Listed(each.clip, each.where))
    return list(clips.values())


def _check_id(each: Listed) -> None:
    check_path(each.clip, each.where)
    if each.clip in ("", ".", "..") or "/" in each.clip:
        raise DataError(
            f"{each.where} names the clip {shorten(each.clip)}; it must be the name of a file, "
            "without a folder"
        )


def _gather(
    captions: Iterable[Caption], wanted: set[str]
) -> tuple[dict[str, tuple[str, ...]], list[Caption], list[Caption]]:
    """The captions of each clip that is wanted; those that are empty; those of other clips."""
    texts: dict[str, list[str]] = {}
    empty, others = [], []
    for each in captions:
        check_caption(each.text, each.where)
        text = " ".join(each.text.split())
        if not text:
            empty.append(each)
        elif each.clip not in wanted:
            others.append(each)
        else:
            texts.setdefault(each.clip, []).append(text)
    return {clip: tuple(found) for clip, found in texts.items()}, empty, others


def _left_out(what: str, found: Sequence[Listed | Caption]) -> list[str]:
    if not found:
        return []
    clip = found[0].clip
    if not clip.isprintable() or len(clip) > _LONGEST_SHOWN:
        clip = shorten(clip)
    return [f"{what}: {len(found)}, left out, e.g. {clip} ({found[0].where})"]
