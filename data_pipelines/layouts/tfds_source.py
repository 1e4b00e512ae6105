"""Loads data sets from TFDS: splits, labels and class names."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.layouts.coop import read_split
from data_pipelines.layouts.imagenet import CLASS_NAMES, read_class_names
from data_pipelines.layouts.layout import expand
from data_pipelines.layouts.tfds_records import (
    Record,
    TfdsReader,
    find_prepared,
    label_texts,
    list_records,
)

Records = Mapping[str, Sequence[Record]]
Lists = tuple[tuple[Example, ...], ...]


def load(
    name: str,
    tfds_name: str,
    root: str | Path | None,
    template: str,
    clean: Callable[[str], str | None],
    split_file: str | Path | None = None,
    classnames: str | Path | None = None,
) -> Dataset:
    """Lists the records of a prepared TFDS data set.

    Every record is read once for its label; images are not decoded. Without `split_file` the
    splits are TFDS's train, validation and test. If TFDS has no labeled test split, its validation
    split becomes the test split, and validation is empty. Classes without records are dropped, the
    others numbered in TFDS's order; the published base and new classes need `split_file`.

    Args:
        name: the data set's name, for messages and results.
        tfds_name: TFDS's name, e.g. "caltech101", "eurosat/rgb" or "caltech101:3.0.1".
        root: TFDS's data_dir.
        template: the prompt of one class, with one `{}` for the class name.
        clean: converts a class name of TFDS; None drops the class.
        split_file: a `split_zhou_*.json` whose splits, labels and class names are used instead,
            matched by the names of the image files.
        classnames: a `classnames.txt` for data sets whose TFDS class names are WordNet ids; by
            default `<root>/classnames.txt` or `<root>/imagenet/classnames.txt`.

    Returns:
        The data set; `Example.image` is a record's key such as "train/17".

    Raises:
        DataError: an error of `find_prepared`; no labeled split; a missing `classnames.txt`; or an
            image of `split_file` without a record.
    """
    folder = find_prepared(name, tfds_name, root)
    base, version, _ = tfds_name.partition(":")
    version = f"TFDS {base}:{version or folder.name}"
    # Unlabeled records, e.g. of ImageNet's test split, have the label -1.
    records = {split: [r for r in found if r.text] for split, found in list_records(folder).items()}
    if split_file is not None:
        path = expand(split_file)
        lists = _by_file_name(f"{name}: {path}", read_split(path), records)
        source = f"{path.name}, images of {version}"
    else:
        texts = label_texts(folder)
        names = _names(name, texts, clean, classnames, expand(str(root)))
        roles = _roles(name, folder, records)
        lists = _official(roles, records, names, texts if _are_ids(texts) else ())
        source = f"{version}, " + ", ".join(
            f"{split}: {official or 'none in TFDS'}" for split, official in roles.items()
        )
    train, val, test = lists
    return Dataset(name, template, train, val, test, TfdsReader(folder), split_source=source)


def _roles(name: str, folder: Path, records: Records) -> dict[str, str]:
    have = [split for split in ("train", "validation", "test") if records.get(split)]
    if not have:
        raise DataError(
            f"{name}: {folder} has no labeled split train, validation or test; it has "
            f"{', '.join(records) or 'none'}"
        )
    val, test = ("validation", "test") if "test" in have else ("", "validation")
    roles = {"train": "train", "val": val, "test": test}
    return {split: official if official in have else "" for split, official in roles.items()}


def _official(
    roles: Mapping[str, str], records: Records, names: Mapping[int, str], ids: Sequence[str]
) -> Lists:
    kept = {
        split: [r for r in records.get(official, ()) if r.label in names]
        for split, official in roles.items()
    }
    used = sorted({record.label for found in kept.values() for record in found})
    numbers = {label: number for number, label in enumerate(used)}
    return tuple(
        tuple(
            Example(r.key, numbers[r.label], names[r.label], class_id=ids[r.label] if ids else "")
            for r in found
        )
        for found in kept.values()
    )


def _names(
    name: str,
    texts: Sequence[str],
    clean: Callable[[str], str | None],
    classnames: str | Path | None,
    root: Path,
) -> dict[int, str]:
    if _are_ids(texts):
        by_wnid = read_class_names(_class_names_file(name, classnames, root))
        missing = [text for text in texts if text not in by_wnid]
        if missing:
            raise DataError(f"{name}: {CLASS_NAMES} lacks {len(missing)} ids, e.g. {missing[0]}")
        return {label: by_wnid[text] for label, text in enumerate(texts)}
    cleaned = {label: clean(text) for label, text in enumerate(texts)}
    return {label: text for label, text in cleaned.items() if text is not None}


def _are_ids(texts: Sequence[str]) -> bool:
    """Returns whether these are WordNet ids, TFDS's class names of ImageNet."""
    return bool(texts) and all(re.fullmatch(r"n\d{8}", text) for text in texts)


def _class_names_file(name: str, classnames: str | Path | None, root: Path) -> Path:
    if classnames is not None:
        return expand(classnames)
    files = [root / CLASS_NAMES, root / "imagenet" / CLASS_NAMES]
    for file in files:
        if os.path.isfile(file):
            return file
    raise DataError(
        f"{name}: TFDS's class names are WordNet ids, and {' and '.join(map(str, files))} do not "
        f"exist; set classnames to the {CLASS_NAMES} of the CoOp benchmark"
    )


def _by_file_name(what: str, lists: Lists, records: Records) -> Lists:
    """Returns the split file's examples with the keys of their records."""
    by_stem: dict[str, list[Record]] = {}
    for record in (r for found in records.values() for r in found):
        if record.file is None:
            raise DataError(
                f"{what}: this TFDS data set has no file names, so a split file cannot be "
                "applied; omit split_file, or use the CoOp layout"
            )
        by_stem.setdefault(PurePosixPath(record.file).stem, []).append(record)
    found = [[_find_record(example.image, by_stem) for example in part] for part in lists]
    missing = [
        example.image
        for part, keys in zip(lists, found, strict=True)
        for example, key in zip(part, keys, strict=True)
        if key is None
    ]
    if missing:
        shown = "".join(f"\n  {image}" for image in missing[:10])
        raise DataError(
            f"{what}: {len(missing)} of its {sum(map(len, lists))} images have no unique record in "
            f"TFDS:{shown}\nUse the split file of this data set."
        )
    return tuple(
        tuple(e._replace(image=key) for e, key in zip(part, keys, strict=True) if key)
        for part, keys in zip(lists, found, strict=True)
    )


def _find_record(image: str, by_stem: Mapping[str, Sequence[Record]]) -> str | None:
    path = PurePosixPath(image)
    same = by_stem.get(path.stem, ())
    if len(same) > 1:
        folder = _letters(path.parent.name)
        # StanfordCars repeats file names in its splits' directories, e.g. "cars_train".
        near = [r for r in same if folder == _letters(r.text)]
        near = near or [r for r in same if folder.endswith(r.key.split("/")[0])]
        same = near or [r for r in same if r.file and image.endswith(r.file.lstrip("/"))]
    return same[0].key if len(same) == 1 else None


def _letters(text: str) -> str:
    """Normalizes "Apply_Eye_Makeup" and "ApplyEyeMakeup", "Faces" and "faces" to one text."""
    return re.sub(r"[\W_]", "", text).casefold()
