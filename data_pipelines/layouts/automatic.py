"""Splits own images or videos that have no split, reproducibly.

The files of each class are ranked by the SHA-256 of their path below the class directory (UTF-8,
"/" between directories). Of n files the first ⌈n/2⌉ are for training, the next ⌊n/5⌋ for
validation and the rest for testing: 50, 20 and 30 %, as in the CoOp benchmark. A class with two
files has one for training and one for testing.

The split does not depend on seeds, other classes, file order or contents. Adding or removing a file
moves at most one other file of its class across each of the two borders.
"""

import csv
import hashlib
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.images.readers import exclude, find_bad
from data_pipelines.layouts.layout import SPLITS
from prompt_jax.text.class_names import spaced

RULE = "automatic split 50/20/30 by file names' hashes"
"""The beginning of `Dataset.split_source` of such a data set, recorded in results.json."""
COLUMNS = ("path", "label", "split")


def divide(classes: Mapping[str, Sequence[str]]) -> dict[str, dict[str, list[str]]]:
    """Splits the files of each class.

    Args:
        classes: class directory to its files, as paths that begin with that directory.

    Returns:
        {split: {class directory: its files, in the given order}}.

    Raises:
        DataError: a name is not UTF-8.
    """
    divided: dict[str, dict[str, list[str]]] = {split: {} for split in SPLITS}
    for folder, paths in classes.items():
        ranked = sorted(paths, key=partial(_digest, folder))
        train, val = (len(ranked) + 1) // 2, len(ranked) // 5
        places = dict.fromkeys(ranked, "test") | dict.fromkeys(ranked[: train + val], "val")
        places |= dict.fromkeys(ranked[:train], "train")
        for split in SPLITS:
            divided[split][folder] = [path for path in paths if places[path] == split]
    return divided


def _digest(folder: str, path: str) -> bytes:
    try:
        return hashlib.sha256(path.removeprefix(f"{folder}/").encode()).digest()
    except UnicodeEncodeError:
        raise DataError(
            f"the name {os.fsencode(path)!r} is not valid UTF-8, so it cannot be written to a "
            "split file; rename it (convmv converts whole directories)"
        ) from None


def leave_out_bad(dataset: Dataset) -> tuple[Dataset, list[tuple[str, str]]]:
    """Returns an automatic split without unreadable files, and (path, reason) of these.

    The other files stay where they are, so that runs that read no broken file keep their images.
    Only if less than half of a class is left for training, the next files in rank move there.
    Only files and headers are checked. Any other data set is returned as it is.
    """
    if not is_automatic(dataset):
        return dataset, []
    examples = [one for split in SPLITS for one in getattr(dataset, split)]
    bad = find_bad(dataset, examples, decode=False)
    if not bad:
        return dataset, []
    keep = partial(exclude, dataset, paths={path for path, _ in bad})
    train, val, test = (keep(getattr(dataset, split)) for split in SPLITS)
    groups: dict[str, list[Example]] = {}
    for one in (*val, *test):
        groups.setdefault(_class_of(dataset, one), []).append(one)
    trained = Counter(_class_of(dataset, one) for one in train)
    moved: set[Example] = set()
    for folder, others in groups.items():
        fewer = (trained[folder] + len(others) + 1) // 2 - trained[folder]
        ranked = sorted(others, key=partial(_rank, folder))
        moved.update(ranked[: max(0, fewer)])
    return replace(
        dataset,
        train=tuple(sorted({*train, *moved}, key=_place)) if moved else train,
        val=tuple(one for one in val if one not in moved),
        test=tuple(one for one in test if one not in moved),
    ), bad


def _rank(folder: str, example: Example) -> bytes:
    return _digest(folder, example.image)


def _class_of(dataset: Dataset, example: Example) -> str:
    return _directory(example) if dataset.has_classes else ""


def _place(example: Example) -> tuple[int, str]:
    return example.label, example.image


def is_automatic(dataset: Dataset) -> bool:
    """Returns whether a data set has an automatic split."""
    return dataset.split_source.startswith(RULE)


def as_csv(dataset: Dataset) -> str:
    """Returns an automatic split as CSV text, readable as "csv", "clip_csv" or "captions_csv"."""
    assert dataset.folder is not None
    folder, text = dataset.folder.absolute(), io.StringIO()
    examples = [(split, one) for split in SPLITS for one in getattr(dataset, split)]
    renamed = any(one.name != spaced(_directory(one)) for _, one in examples)
    columns = ("path", "label", "name", "split") if renamed else COLUMNS
    columns = columns if dataset.has_classes else ("path", "caption", "split")
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for split, one in examples:
        # The directory name: sorting by it keeps the labels, sorting with spaces may not.
        label = one.label if renamed else _directory(one)
        row = {"path": folder / one.image, "label": label, "name": one.name, "split": split}
        writer.writerows(row | {"caption": caption} for caption in one.captions or ("",))
    return text.getvalue()


def _directory(example: Example) -> str:
    return example.image.split("/")[0]
