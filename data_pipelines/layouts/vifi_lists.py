"""Videos of actions in ViFi-CLIP's files: lists of `path label`, and names as CSV of `id,name`."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from data_pipelines.errors import DataError, shorten, unknown
from data_pipelines.examples import Dataset, Example
from data_pipelines.layouts.csv_rows import read_rows
from data_pipelines.layouts.layout import MOST_DIGITS, check_inside, expand, read_lines, sketch
from data_pipelines.layouts.video_files import choose_files, find_videos, video_id
from data_pipelines.videos.readers import VideoReader
from prompt_jax.text.class_names import spaced

REPOSITORY = "ViFi-CLIP"


class Files(NamedTuple):
    """The files of one part, relative to what holds the lists; "" where it has none of a kind."""

    train: str
    test: str
    labels: str

    @property
    def lists(self) -> tuple[str, ...]:
        """The lists that it has."""
        return tuple(filter(None, self[:2]))


class Listed(NamedTuple):
    """A line of a list."""

    video: str
    label: int
    where: str


@dataclass(frozen=True)
class VifiLayout:
    """Where the videos of one data set lie, and where its lists, below a common root.

    Attributes:
        folder: the folder of its videos.
        lists: the folder of its lists, below what holds ViFi-CLIP's folders, as all that follows.
        labels: the file of its names; "{}" in it stands for the number of the list of test videos.
        tests: its lists of test videos, in `lists`.
        halves: the folder of its lists of base and novel classes; "" if it has none.
        half_labels: the file of the names of a half; "{}" in it stands for "base" or "novel".
        train: its list of all training videos, in `lists`; "" if none is published.
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
        """Read the lists of one part, and find their videos, by name, anywhere below their folder.

        The parts, of which a data set has those whose lists are there:

        - None: all training videos, if such a list is published, and the first list of test videos;
        - "val", or "val1", "val2", "val3": a list of test videos alone;
        - "few_shot_K_D": draw D of K training videos per class, and the first list of test videos;
          "few_shot_K" is the first draw, the only one that ViFi-CLIP has;
        - "base", "base_1", "base_2", "base_3": all training videos of the base classes, or a draw
          of 16 a class, and those to test; "novel": the test videos of the novel ones. Labels count
          from 0 in each half.

        A video that is not there is listed as the list calls it, so that it is reported as missing.

        Args:
            name: the data set's name, for messages and results.
            root: the folder that holds `folder`, or that folder itself.
            template: the text of one class, with one `{}` for the class name.
            domain: the part.
            lists: the folder that holds ViFi-CLIP's folders, e.g. a clone of its repository; None:
                `folder`, the root, or `ViFi-CLIP` in it.
            ignore_rotation: leave frames as they are stored, whatever the file says.

        Raises:
            DataError: no root or lists; an unknown part; a malformed list or file of names; labels
                without a name, or names without a video, as in another data set's; a video with
                several files, or none of the videos is there.

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
        """The parts whose lists are there; arguments and errors as of `load`."""
        _, base = self._find(name, root, lists)
        return tuple(self._parts(base))

    def expected(self) -> str:
        """The folder sketch for error messages."""
        contents = {
            "…": "the videos, in any folder",
            f"{self.lists}/": f"lists such as {self.tests[0]}",
            self.labels.format(1): "the names of the classes",
        }
        if self.halves != self.lists and self.halves:
            contents[f"{self.halves}/"] = "lists such as novel_val.txt"
        text = sketch(self.folder, contents)
        return f"{text}\nLists and names may lie beside {self.folder}/, or in {REPOSITORY}/ there."

    def _find(
        self, name: str, root: str | Path | None, lists: str | Path | None
    ) -> tuple[Path, Path]:
        """The folder of videos, and what holds the lists."""
        if root is None:
            raise DataError(f"{name}: root is not set\n{self.expected()}")
        top = expand(root)
        if not os.path.isdir(top):
            raise DataError(f"{name}: root {top} is not a folder\n{self.expected()}")
        home = top / self.folder if os.path.isdir(top / self.folder) else top
        places = [home, top, top / REPOSITORY] if lists is None else [expand(lists)]
        for place in places:
            if os.path.isdir(place / self.lists):
                return home, place
        looked = "".join(f"\n  {place / self.lists}" for place in dict.fromkeys(places))
        raise DataError(f"{name}: no folder of lists; looked for{looked}\n{self.expected()}")

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
                    f"{name}: no file {base / file}, which mirrors of {REPOSITORY}'s repository "
                    f"may lack; get it there, or choose a part whose lists are here: {have}"
                )
        return files

    def _parts(self, base: Path) -> dict[str, Files]:
        """The parts whose lists are there, with their files."""
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
        """The files of a part, there or not; None if there can be no such part."""
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
    """Names of classes in label order, from a CSV file of `id,name`; underscores become spaces.

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
                "from 0, and each number stands there once"
            )
        names[label] = spaced(row["name"])
    gaps = [label for label in range(len(names)) if label not in names]
    if gaps:
        raise DataError(f"{path}: names {len(names)} classes, but none of the id {gaps[0]}; add it")
    return [names[label] for label in range(len(names))]


def read_list(path: Path) -> list[Listed]:
    """A list of videos, a line each: a path, in which there may be spaces, a space and a label.

    Raises:
        DataError: it cannot be read, or a line is of another form.
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
    """Refuses labels without a name, and names without a video."""
    seen = set()
    for each in listed:
        if each.label >= len(names):
            raise DataError(
                f"{each.where}: the label {each.label} has no name in {base / files.labels}, which "
                f"names 0 to {len(names) - 1}; take the file of names of this data set"
            )
        seen.add(each.label)
    bare = [label for label in range(len(names)) if label not in seen]
    if bare:
        raise DataError(
            f"{base / files.labels} names {len(names)} classes, and {' and '.join(files.lists)} "
            f"there have no video of {len(bare)}, e.g. {names[bare[0]]!r} ({bare[0]}); take the "
            "file of names of this data set, or take these classes out"
        )


def _candidates(video: str, found: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """The files that a list may mean: of its name, and of several of a name those with its suffix,
    in folders like those in the list."""
    path = PurePosixPath(video)
    files = found.get(video_id(path.name), ())
    if len(files) > 1:
        files = [file for file in files if PurePosixPath(file).name == path.name] or files
    if len(files) > 1:
        folders = path.parts[:-1]
        files = [file for file in files if _in_order(folders, PurePosixPath(file).parts)] or files
    return files


def _in_order(wanted: Iterable[str], parts: Iterable[str]) -> bool:
    """Whether all that is wanted comes up, in this order; other parts may lie between."""
    rest = iter(parts)
    return all(part in rest for part in wanted)


def _numbers(folder: Path, pattern: str) -> list[tuple[int, ...]]:
    """The numbers in the names of files of a pattern, sorted; none where there is no folder."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    matches = (re.fullmatch(pattern, name) for name in names)
    return sorted(tuple(map(int, match.groups())) for match in matches if match)
