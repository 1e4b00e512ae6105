"""The split of own images or videos that come without one, by a rule that anyone can repeat.

In each class the files are ranked by the SHA-256 of their name: the path below the class's folder,
in UTF-8, with "/" between folders. Of n files the first ⌈n/2⌉ are trained on, the next ⌊n/5⌋
validate, and the rest is tested: 50, 20 and 30 %, the CoOp benchmark's shares, and one at least to
train on and one to test where a class has two.

It depends on no seed, on no other class, and neither on the order nor on the bytes of files. A file
that is added or removed moves at most one other of its class over each of the two borders.
"""

import csv
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from functools import partial

from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset
from data_pipelines.layouts.layout import SPLITS

RULE = "automatic split 50/20/30 by file names' hashes"
"""How `Dataset.split_source` begins of such a data set."""
COLUMNS = ("path", "label", "split")


def divide(classes: Mapping[str, Sequence[str]]) -> dict[str, dict[str, list[str]]]:
    """The files of each class in each split.

    Args:
        classes: class folder to its files, as paths that begin with that folder.

    Returns:
        {split: {class folder: its files there, in the order given}}.

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
            f"the name {os.fsencode(path)!r} is not valid UTF-8, so it cannot be written into a "
            "split; rename it (convmv does whole folders)"
        ) from None


def is_automatic(dataset: Dataset) -> bool:
    """Whether a data set came without a split, whole or the part of it that is used."""
    return dataset.split_source.startswith(RULE)


def as_csv(dataset: Dataset) -> str:
    """A split as a CSV file's text, which the data sets "csv" and "clip_csv" read to equal lists.

    Args:
        dataset: whole, one of `is_automatic`.
    """
    assert dataset.folder is not None
    folder, text = dataset.folder.absolute(), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for split in SPLITS:
        for example in getattr(dataset, split):
            # The folder's name, by which classes are sorted; spaces sort otherwise.
            label = example.image.split("/")[0]
            writer.writerow((folder / example.image, label, split))
    return text.getvalue()
