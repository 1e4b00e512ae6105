"""A user's own images or videos: a directory per class, in a directory per split."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from data_pipelines.errors import DataError, unknown
from data_pipelines.examples import Dataset, Example
from data_pipelines.images.readers import FolderReader
from data_pipelines.layouts import automatic, own_classes, video_files
from data_pipelines.layouts.layout import SPLITS, root_directory
from data_pipelines.videos.readers import VideoReader
from prompt_jax.inputs.images import files

_SHOWN = 3


@dataclass(frozen=True)
class FolderLayout:
    """Layout of own images or videos in `<root>[/<domain>]/{train,val,test}/<class>/…`.

    `<root>[/<domain>]/<class>/…` is split by `automatic`.
    """

    kind: Literal["images", "videos"] = "images"

    def load(
        self,
        name: str,
        root: str | Path | None,
        template: str,
        domain: str | None = None,
        ignore_rotation: bool = False,
        leave_out: str = "",
        class_names: str = "",
    ) -> Dataset:
        """Lists the images or videos.

        The classes are all class directories of all splits, sorted by name; underscores in names
        become spaces. Directories inside a class directory belong to the class. `images.files`
        and `video_files.find_videos` define which files are images and videos. Any split may be
        missing. Without train and test, the directories are classes if one of them directly
        contains images, and otherwise domains with one directory per class. A class directory
        without files is left out, with a note.

        Args:
            name, template, ignore_rotation: see `Layout.load`.
            root: the directory of the splits, the classes or the domains.
            domain: a directory of `root` to use instead of it.
            leave_out: "a,b", class directories to leave out.
            class_names: a CSV file "directory,name"; see `own_classes.read_names`.

        Raises:
            DataError: also for images outside of class directories, a class directory that holds
                only other files, or a name that is not UTF-8.
        """
        home = self._find(name, root, domain)
        splits = [split for split in SPLITS if (home / split).is_dir()]
        below = {split: self._list(name, home, split) for split in splits or [""]}
        folders = sorted({folder for classes in below.values() for folder in classes})
        unwanted = own_classes.check_left_out(name, leave_out, folders)
        folders = [folder for folder in folders if folder not in unwanted]
        names = [each for each in folders if any(classes.get(each) for classes in below.values())]
        if not names:
            but = f" but empty ones, {_first(folders)}" if folders else ""
            raise DataError(f"{name}: no classes in {home}{but}\n{self.expected()}")
        empty = [folder for folder in folders if folder not in names]
        self._refuse_filled(name, home, splits, empty)
        below = {
            split: {each: found for each, found in classes.items() if each in names}
            for split, classes in below.items()
        }
        listed = below if splits else automatic.divide(below[""])
        called, named_notes = own_classes.read_names(name, class_names, names)
        train, val, test = (
            tuple(
                Example(image, label, called[folder])
                for label, folder in enumerate(names)
                for image in listed.get(split, {}).get(folder, ())
            )
            for split in SPLITS
        )
        source = f"folders {', '.join(splits)}" if splits else automatic.RULE
        source += f" of {domain}" if domain else ""
        read = VideoReader if self.kind == "videos" else FolderReader
        reader = read(home, upright=not ignore_rotation)
        left = filter(None, (self._files.left_out(home / split) for split in splits or [""]))
        split_notes = (
            _unread(home, splits) if splits else [_divided(home, (train, val, test), self.kind)]
        )
        notes = (*_nested(below, self.kind), *split_notes, *left, *named_notes)
        notes += self._unused(home, empty, unwanted)
        return Dataset(
            name, template, train, val, test, reader, home, source, notes, kind=self.kind
        )

    def expected(self) -> str:
        """Returns a sketch of the layout, for error messages."""
        kind = "*.mp4" if self.kind == "videos" else "*.jpg"
        return (
            "Expected layout:\n"
            "  <root>/\n"
            f"    train/<class>/{kind}                     training {self.kind} of a class\n"
            f"    val/<class>/{kind}                       optional\n"
            f"    test/<class>/{kind}                      test {self.kind} of a class\n"
            "or one level deeper, for several domains: <root>/<domain>/train/…\n"
            "or without splits, which are then drawn: <root>/<class>/… or <root>/<domain>/<class>/…"
        )

    def _refuse_filled(
        self, name: str, home: Path, splits: list[str], empty: Iterable[str]
    ) -> None:
        """Raises a DataError if a class directory holds files, but no images or videos."""
        for folder in empty:
            if any(_holds_files(home / split / folder) for split in splits or [""]):
                raise DataError(
                    f"{name}: the class directory {folder!r} in {home} contains no {self.kind} "
                    f"(files ending in {' '.join(self._files.SUFFIXES)}), but other files; "
                    f"convert or move them, or leave the class out: leave_out={folder}"
                )

    def _unused(self, home: Path, empty: list[str], unwanted: list[str]) -> tuple[str, ...]:
        """Returns notes on directories that are no classes."""
        notes = []
        if empty:
            notes.append(f"{home}: empty class directories, which are left out: {_first(empty)}")
        if unwanted:
            notes.append(f"{home}: left out as asked (leave_out): {_first(unwanted)}")
        return tuple(notes)

    @property
    def _files(self) -> ModuleType:
        """The module that lists files of this kind."""
        return video_files if self.kind == "videos" else files

    def _list(self, name: str, home: Path, split: str) -> dict[str, list[str]]:
        """Returns the files of each class in a split ("": no splits), relative to `home`."""
        folder = home / split
        videos = self.kind == "videos"
        loose = video_files.loose_videos(folder) if videos else files.loose_images(folder)
        if loose:
            raise DataError(
                f"{name}: {len(loose)} {self.kind} are directly in {folder}, e.g. {loose[0]}; move "
                "them into directories named by their classes"
            )
        return {
            each: [os.path.join(split, each, path) for path in self._below(folder / each)]
            for each in files.subfolders(folder)
        }

    def _below(self, folder: Path) -> list[str]:
        if self.kind == "videos":
            return video_files.videos_below(folder)
        return files.images_below(folder)

    def _find(self, name: str, root: str | Path | None, domain: str | None) -> Path:
        base = root_directory(name, root, self.expected())
        if domain is None and (_has_splits(base) or self._holds_classes(base)):
            return base
        domains = self._domains(base)
        if domain is not None:
            if not domains:
                raise DataError(
                    f"{name}: unknown domain of {base}: {domain!r}; it has none\n{self.expected()}"
                )
            if domain not in domains:
                raise unknown(f"domain of {base}:", domain, domains)
            return base / domain
        hint = ""
        if domains:
            hint = f"; choose one of its domains: {', '.join(f'{name}:{d}' for d in domains)}"
            if not any(_has_splits(base / each) for each in domains):
                hint += f" (or, if those are classes, move their {self.kind} up one level)"
        raise DataError(f"{name}: no directory train or test in {base}{hint}\n{self.expected()}")

    def _domains(self, base: Path) -> list[str]:
        """Returns the directories with splits, or with classes that can be split."""
        whole = _has_splits(base) or self._holds_classes(base)
        return [
            folder
            for folder in files.subfolders(base)
            if _has_splits(base / folder) or (not whole and self._holds_classes(base / folder))
        ]

    def _holds_classes(self, folder: Path) -> bool:
        """Returns whether a directory directly below `folder` contains images or videos."""
        below = files.subfolders(folder)
        if "val" in below:  # then the others are misspelled splits
            return False
        return any("/" not in path for each in below for path in self._below(folder / each))


def _holds_files(folder: Path) -> bool:
    return any(
        not name.startswith(".")
        for _, _, names in os.walk(folder, followlinks=False)
        for name in names
    )


def _has_splits(folder: Path) -> bool:
    return os.path.isdir(folder / "train") or os.path.isdir(folder / "test")


def _divided(home: Path, parts: tuple[tuple[Example, ...], ...], kind: str) -> str:
    """Returns a note on the automatic split."""
    counts = ", ".join(f"{len(part):,} {split}" for split, part in zip(SPLITS, parts, strict=True))
    return (
        f"{home} has no directories train and test, so its {kind} are split by class and a hash of "
        f"their file names: {counts}; the run directory lists them in split….csv"
    )


def _nested(listed: dict[str, dict[str, list[str]]], kind: str) -> list[str]:
    """Returns a note on directories with images below a class, which may be the real classes."""
    below: dict[str, list[str]] = {}
    for split, classes in listed.items():
        for class_folder, found in classes.items():
            place = os.path.join(split, class_folder)
            deeper = [os.path.relpath(image, place).split("/") for image in found]
            folders = list(dict.fromkeys(parts[0] for parts in deeper if len(parts) > 1))
            if folders:
                below[place] = folders
    if not below:
        return []
    place, folders = next(iter(below.items()))
    others = len(below) - 1
    likewise = f" (likewise in {others} more, e.g. {list(below)[1]})" if others else ""
    split, class_folder = os.path.split(place)
    return [
        f"{place} contains the {'directories' if len(folders) > 1 else 'directory'} "
        f"{_first(folders)}: their {kind} count as {class_folder!r}{likewise}. If they are the "
        f"classes, move them up to {f'{split}/' if split else 'the directory above'}"
    ]


def _unread(home: Path, splits: list[str]) -> list[str]:
    """Returns a note on directories beside the splits, e.g. a misspelled "valid"."""
    others = [folder for folder in files.subfolders(home) if folder not in splits]
    if not others:
        return []
    return [f"{home} also contains {_first(others)}: only {', '.join(SPLITS)} are read"]


def _first(names: Iterable[str]) -> str:
    names = list(names)
    more = f", … ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
