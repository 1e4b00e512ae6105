"""People's own images or videos: a folder per class, in a folder per split."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from data_pipelines.errors import DataError, unknown
from data_pipelines.examples import Dataset, Example
from data_pipelines.images.readers import FolderReader
from data_pipelines.layouts import automatic, video_files
from data_pipelines.layouts.layout import SPLITS, expand
from data_pipelines.videos.readers import VideoReader
from prompt_jax.inputs.images import files
from prompt_jax.text.class_names import spaced

_SHOWN = 3


@dataclass(frozen=True)
class FolderLayout:
    """Own images, or videos, in `<root>[/<domain>]/{train,val,test}/<class>/…`.

    Or in `<root>[/<domain>]/<class>/…`, which `automatic` splits.
    """

    kind: Literal["images", "videos"] = "images"

    def load(
        self,
        name: str,
        root: str | Path | None,
        template: str,
        domain: str | None = None,
        ignore_rotation: bool = False,
    ) -> Dataset:
        """List the images, or videos.

        The classes are all class folders of all splits, sorted by name; underscores in names
        become spaces. Folders inside a class folder belong to the class; `images.files` says
        which files count, and `video_files.find_videos` which files and folders are videos.
        Any of the splits may be missing. Without both train and test, the folders are classes if
        one of them holds images itself, and else domains, whose folders are the classes.

        Args:
            name: the data set's name, for messages and results.
            root: the folder that holds the splits, the classes or the domains.
            template: the text of one class, with one `{}` for the class name.
            domain: a folder of `root` to use in its place.
            ignore_rotation: leave images and frames as they are stored, whatever the file says.

        Raises:
            DataError: no root, no split folders, an unknown domain, no classes, images outside
                of class folders, a class without images or a name that is not UTF-8.
        """
        home = self._find(name, root, domain)
        splits = [split for split in SPLITS if (home / split).is_dir()]
        below = {split: self._list(name, home, split) for split in splits or [""]}
        listed = below if splits else automatic.divide(below[""])
        names = sorted({folder for classes in listed.values() for folder in classes})
        if not names:
            raise DataError(f"{name}: no class folders in {home}/train or test\n{self.expected()}")
        for folder in names:
            if not any(classes.get(folder) for classes in listed.values()):
                raise DataError(
                    f"{name}: the class folder {folder!r} in {home} holds no {self.kind} (files "
                    f"that end in {' '.join(self._files.SUFFIXES)}); fill or remove it"
                )
        train, val, test = (
            tuple(
                Example(image, label, spaced(folder))
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
        told = _unread(home, splits) if splits else [_divided(home, (train, val, test), self.kind)]
        notes = (*_nested(below, self.kind), *told, *left)
        return Dataset(
            name, template, train, val, test, reader, home, source, notes, kind=self.kind
        )

    def expected(self) -> str:
        """The folder sketch for error messages."""
        kind = "*.mp4" if self.kind == "videos" else "*.jpg"
        return (
            "Expected layout:\n"
            "  <root>/\n"
            f"    train/<class>/{kind}                     training {self.kind} of a class\n"
            f"    val/<class>/{kind}                       optional\n"
            f"    test/<class>/{kind}                      test {self.kind} of a class\n"
            "or the same one folder deeper, for several domains: <root>/<domain>/train/…\n"
            "or without a split, which is then made: <root>/<class>/… or <root>/<domain>/<class>/…"
        )

    @property
    def _files(self) -> ModuleType:
        """What lists the files of that kind."""
        return video_files if self.kind == "videos" else files

    def _list(self, name: str, home: Path, split: str) -> dict[str, list[str]]:
        """The files of each class folder in a split, or of "" in `home`, by paths from `home`."""
        folder = home / split
        videos = self.kind == "videos"
        loose = video_files.loose_videos(folder) if videos else files.loose_images(folder)
        if loose:
            raise DataError(
                f"{name}: {len(loose)} {self.kind} lie in {folder} itself, e.g. {loose[0]}; move "
                "them into folders that are called as their classes"
            )
        return {
            each: [os.path.join(split, each, path) for path in self._below(folder / each)]
            for each in files.subfolders(folder)
        }

    def _below(self, folder: Path) -> list[str]:
        """All that lie in a folder, however deep."""
        if self.kind == "videos":
            return video_files.videos_below(folder)
        return files.images_below(folder)

    def _find(self, name: str, root: str | Path | None, domain: str | None) -> Path:
        if root is None:
            raise DataError(f"{name}: root is not set\n{self.expected()}")
        base = expand(root)
        if not os.path.isdir(base):
            raise DataError(f"{name}: root {base} is not a folder\n{self.expected()}")
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
                hint += f" (or, if those are classes, move their {self.kind} up into them)"
        raise DataError(f"{name}: no folder train or test in {base}{hint}\n{self.expected()}")

    def _domains(self, base: Path) -> list[str]:
        """The folders that have a split, or classes to make one of."""
        whole = _has_splits(base) or self._holds_classes(base)
        return [
            folder
            for folder in files.subfolders(base)
            if _has_splits(base / folder) or (not whole and self._holds_classes(base / folder))
        ]

    def _holds_classes(self, folder: Path) -> bool:
        """Whether one of the folders in a folder without a split holds images, or videos, itself.

        With a folder val, others than train and test are misspelt.
        """
        below = files.subfolders(folder)
        if "val" in below:
            return False
        return any("/" not in path for each in below for path in self._below(folder / each))


def _has_splits(folder: Path) -> bool:
    return os.path.isdir(folder / "train") or os.path.isdir(folder / "test")


def _divided(home: Path, parts: tuple[tuple[Example, ...], ...], kind: str) -> str:
    """Says that there was no split, and which one was made."""
    counts = ", ".join(f"{len(part):,} {split}" for split, part in zip(SPLITS, parts, strict=True))
    return (
        f"{home} has no folders train and test, so that its {kind} are divided here, by class and "
        f"the hash of their file names: {counts}; the run's folder lists them in split….csv"
    )


def _nested(listed: dict[str, dict[str, list[str]]], kind: str) -> list[str]:
    """Names folders below a class that hold some: they may have been meant as the classes."""
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
        f"{place} holds the folder{'s' * (len(folders) > 1)} {_first(folders)}: their {kind} "
        f"count as {class_folder!r}{likewise}. If they are the classes, move them up to "
        f"{f'{split}/' if split else 'the folder above'}"
    ]


def _unread(home: Path, splits: list[str]) -> list[str]:
    """Names the folders beside the splits, e.g. a misspelt "valid"."""
    others = [folder for folder in files.subfolders(home) if folder not in splits]
    if not others:
        return []
    return [f"{home} also holds {_first(others)}: only the folders {', '.join(SPLITS)} are read"]


def _first(names: Iterable[str]) -> str:
    names = list(names)
    more = f", … ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
