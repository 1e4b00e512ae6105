"""Reads ViFi-CLIP's lists for action recognition: lines `path label`, and class names `id,name`.

A "part" of a data set is a choice of its lists, e.g. "few_shot_16_1", see `VifiLayout.load`.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from data_pipelines.errors import DataError, shorten, unknown
from data_pipelines.examples import Dataset, Example
from data_pipelines.layouts.csv_rows import read_rows
from data_pipelines.layouts.layout import (
    MOST_DIGITS,
    check_inside,
    expand,
    read_lines,
    root_directory,
    sketch,
)
from data_pipelines.layouts.video_files import choose_files, find_videos, video_id
from data_pipelines.videos.readers import VideoReader
from prompt_jax.text.class_names import spaced

REPOSITORY = "ViFi-CLIP"


class Files(NamedTuple):
    """The lists and class names of one part, relative to a common directory; "" for no list."""

    train: str
    test: str
    labels: str

    @property
    def lists(self) -> tuple[str, ...]:
        """The one or two lists of the part."""
        return tuple(filter(None, self[:2]))


class Listed(NamedTuple):
    """A line of a list: a video's path, its label, and file and line for messages."""

    video: str
    label: int
    where: str


@dataclass(frozen=True)
class VifiLayout:
    """Layout of a data set with lists in the format of ViFi-CLIP.

    Attributes:
        folder: the directory of its videos below a common root.
        lists: the directory of its lists. This and all following paths are relative to a clone of
            ViFi-CLIP's repository, or another directory with the same content.
        labels: the file of class names, with "{}" for the number of the test list.
        tests: the test lists, in `lists`.
        halves: the directory of the base and novel lists; "" if there is none.
        half_labels: the file of class names of a half, with "{}" for "base" or "novel".
        train: the list of all training videos, in `lists`; "" if none is published.
    """

    folder: str
    lists: str
    labels: str
    tests: tuple[str, ...]
    halves: str = ""
    half_labels: str = ""
    train: str = ""

    def load(
        self,
        name: str,
        root: str | Path | None,
        template: str,
        domain: str | None = None,
        lists: str | Path | None = None,
        ignore_rotation: bool = False,
    ) -> Dataset:
        """Reads the lists of one part and finds their videos by name below their directory.

        The parts of a data set, if their lists exist:

        - None: all training videos, if published, and the first test list;
        - "val", or "val1", "val2", "val3": one test list only;
        - "few_shot_K_D": draw D of K training videos per class, and the first test list;
          "few_shot_K" is draw 1, the only one that ViFi-CLIP uses;
        - "base", "base_1", "base_2", "base_3": all training videos of the base classes, or a draw
          of 16 per class, and their test videos; "novel": the test videos of the novel classes.
          Labels start at 0 in each half.

        A missing video keeps the path in its list and is reported later, with all others.

        Args:
            name, root, template, ignore_rotation: see `Layout.load`.
            domain: the part.
            lists: a clone of ViFi-CLIP's repository; None looks for its directories in `folder`, in
                the root, and in `ViFi-CLIP` in the root.

        Raises:
            DataError: there is no root, no list or no video; the part is unknown; a file is
                malformed; labels and class names do not match; or a video has several files.

        Source: the files of ViFi-CLIP (Rasheed et al. 2023).
        """
        home, base = self._find(name, root, lists)
        files = self._files(name, base, domain)
        names = read_names(base / files.labels)
        train, test = (read_list(base / file) if file else [] for file in files[:2])
        _check_labels(base, files, names, (*train, *test))
        found = find_videos(home)
        wanted = dict.fromkeys(each.video for each in (*train, *test))
        paths = choose_files(name, home, {video: _candidates(video, found) for video in wanted})
        parts = [
            tuple(Example(paths[each.video], each.label, names[each.label]) for each in listed)
            for listed in (train, test)
        ]
        source = ", ".join(files.lists)
        reader = VideoReader(home, upright=not ignore_rotation)
        return Dataset(name, template, parts[0], (), parts[1], reader, home, source, kind="videos")

    def parts(
        self, name: str, root: str | Path | None, lists: str | Path | None = None
    ) -> tuple[str, ...]:
        """Returns the parts whose lists exist; see `load` for arguments and errors."""
        _, base = self._find(name, root, lists)
        return tuple(self._parts(base))

    def expected(self) -> str:
        """Returns a sketch of the layout, for error messages."""
        contents = {
            "…": "the videos, in any directory",
            f"{self.lists}/": f"lists such as {self.tests[0]}",
            self.labels.format(1): "the class names",
        }
        if self.halves != self.lists and self.halves:
            contents[f"{self.halves}/"] = "lists such as novel_val.txt"
        text = sketch(self.folder, contents)
        return f"{text}\nLists and class names may also be in the root, or in {REPOSITORY}/ in it."

    def _find(
        self, name: str, root: str | Path | None, lists: str | Path | None
    ) -> tuple[Path, Path]:
        """Returns the directory of videos and the one that contains the lists."""
        top = root_directory(name, root, self.expected())
        home = top / self.folder if os.path.isdir(top / self.folder) else top
        places = [home, top, top / REPOSITORY] if lists is None else [expand(lists)]
        for place in places:
            if os.path.isdir(place / self.lists):
                return home, place
        looked = "".join(f"\n  {place / self.lists}" for place in dict.fromkeys(places))
        raise DataError(
            f"{name}: the directory of lists is missing; looked for{looked}\n{self.expected()}"
        )

    def _files(self, name: str, base: Path, part: str | None) -> Files:
        if part is None:
            train = f"{self.lists}/{self.train}" if self.train else ""
            files = self._test(1)._replace(train=train)
        else:
            named = self._named(part)
            if named is None:
                raise unknown(f"part of {name}:", part, self._parts(base))
            files = named
        for file in (*files.lists, files.labels):
            if not os.path.exists(base / file):
                have = ", ".join(self._parts(base)) or "none"
                raise DataError(
                    f"{name}: no file {base / file}; copy it from the repository of {REPOSITORY}, "
                    f"or choose a part whose lists exist: {have}"
                )
        return files

    def _parts(self, base: Path) -> dict[str, Files]:
        """Returns the parts whose lists exist, with their files."""
        names = self._test_names()
        few = _numbers(base / self.lists, r"train(\d+)_few_shot_(\d+)\.txt")
        names += [f"few_shot_{shots}_{draw}" for shots, draw in sorted((k, d) for d, k in few)]
        if self.halves:
            draws = _numbers(base / self.halves, r"fs_base_s(\d+)_train\.txt")
            names += ["base", *(f"base_{draw}" for (draw,) in draws), "novel"]
        parts = {name: self._named(name) for name in names}
        return {
            name: files
            for name, files in parts.items()
            if files and all(os.path.exists(base / file) for file in files.lists)
        }

    def _named(self, part: str) -> Files | None:
        """Returns the files of a part, existing or not; None if there is no such part."""
        names = self._test_names()
        if part in names:
            return self._test(names.index(part) + 1)
        if match := re.fullmatch(r"few_shot_([1-9]\d*)(?:_([1-9]\d*))?", part):
            shots, draw = match.groups("1")
            return self._test(1)._replace(train=f"{self.lists}/train{draw}_few_shot_{shots}.txt")
        if match := re.fullmatch(r"base(?:_([1-9]\d*))?|novel", part) if self.halves else None:
            half = "novel" if part == "novel" else "base"
            train = f"fs_base_s{match[1]}_train.txt" if match[1] else "base_train.txt"
            return Files(
                f"{self.halves}/{train}" if half == "base" else "",
                f"{self.halves}/{half}_val.txt",
                self.half_labels.format(half),
            )
        return None

    def _test(self, number: int) -> Files:
        return Files("", f"{self.lists}/{self.tests[number - 1]}", self.labels.format(number))

    def _test_names(self) -> list[str]:
        several = len(self.tests) > 1
        return [f"val{number}" for number in range(1, len(self.tests) + 1)] if several else ["val"]


def read_names(path: Path) -> list[str]:
    """Reads class names in label order from CSV rows `id,name`; underscores become spaces.

    Raises:
        DataError: it cannot be read, or the ids are not 0 to K - 1, each once.
    """
    _, rows = read_rows(path, ("id", "name"), filled=("id", "name"))
    names: dict[int, str] = {}
    for line, row in rows:
        label = _label(row["id"])
        if label is None or label in names:
            raise DataError(
                f"{path}, line {line}: the id is {shorten(row['id'])}; it must be a whole number "
                "from 0, and each id must be unique"
            )
        names[label] = spaced(row["name"])
    gaps = [label for label in range(len(names)) if label not in names]
    if gaps:
        raise DataError(f"{path}: names {len(names)} classes, but not id {gaps[0]}; add it")
    return [names[label] for label in range(len(names))]


def read_list(path: Path) -> list[Listed]:
    """Reads a list of videos: lines of a path (which may contain spaces), a space and a label.

    Raises:
        DataError: it cannot be read, or a line is malformed.
    """
    listed = []
    for number, line in read_lines(path, "list of videos"):
        video, _, text = line.rpartition(" ")
        label, where = _label(text), f"{path}, line {number}"
        if label is None:
            raise DataError(
                f"{where}: {shorten(line)} must be a path, a space and a label, e.g. "
                "videos/jump_1.avi 7"
            )
        check_inside(video.strip(), where)
        listed.append(Listed(video.strip(), label, where))
    return listed


def _label(text: str) -> int | None:
    return int(text) if re.fullmatch(rf"[0-9]{{1,{MOST_DIGITS}}}", text) else None


def _check_labels(base: Path, files: Files, names: Sequence[str], listed: Iterable[Listed]) -> None:
    """Rejects labels without a name and names without a video."""
    seen = set()
    for each in listed:
        if each.label >= len(names):
            raise DataError(
                f"{each.where}: the label {each.label} has no name in {base / files.labels}, which "
                f"names 0 to {len(names) - 1}; use this data set's file of class names"
            )
        seen.add(each.label)
    bare = [label for label in range(len(names)) if label not in seen]
    if bare:
        raise DataError(
            f"{base / files.labels} names {len(names)} classes, but {' and '.join(files.lists)} "
            f"have no video of {len(bare)}, e.g. {names[bare[0]]!r} ({bare[0]}); use this data "
            "set's file of class names, or remove these classes"
        )


def _candidates(video: str, found: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Returns the files that a listed path may refer to.

    These are the files of its name. If there are several, files with its suffix are preferred, then
    files whose path contains its directories.
    """
    path = PurePosixPath(video)
    files = found.get(video_id(path.name), ())
    if len(files) > 1:
        files = [file for file in files if PurePosixPath(file).name == path.name] or files
    if len(files) > 1:
        folders = path.parts[:-1]
        files = [file for file in files if _in_order(folders, PurePosixPath(file).parts)] or files
    return files


def _in_order(wanted: Iterable[str], parts: Iterable[str]) -> bool:
    """Returns whether `wanted` is a subsequence of `parts`."""
    rest = iter(parts)
    return all(part in rest for part in wanted)


def _numbers(folder: Path, pattern: str) -> list[tuple[int, ...]]:
    """Returns the sorted numbers in file names that match a pattern; [] without the directory."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    matches = (re.fullmatch(pattern, name) for name in names)
    return sorted(tuple(map(int, match.groups())) for match in matches if match)
