"""Finds problems in lists of images or videos, for `check` and at the start of a run."""

import contextlib
import os
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from data_pipelines.checks import contents
from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.layouts.layout import SPLITS
from prompt_jax.text import class_names


class Remark(NamedTuple):
    """A remark on lists; `stops`: whether results on them would be invalid."""

    text: str
    stops: bool = False


class Part(NamedTuple):
    """Examples in one role: "train", "val", "test" or e.g. "test base"."""

    role: str
    dataset: Dataset
    examples: Sequence[Example]


class Copy(NamedTuple):
    """An image with the same bytes as one of another role or class, e.g. in test and train."""

    image: str
    role: str
    other: str
    other_role: str
    two_classes: bool = False


def splits(dataset: Dataset) -> list[Part]:
    """Returns the three splits of a data set."""
    return [Part(split, dataset, getattr(dataset, split)) for split in SPLITS]


def count(names: Sequence[str], examples: Iterable[Example]) -> list[int]:
    """Counts the examples of each class, in label order."""
    numbers = Counter(example.label for example in examples)
    return [numbers[label] for label in range(len(names))]


def one_class(what: str, names: Sequence[str], advice: str = "") -> list[Remark]:
    """Returns a remark on a single class, for which every prediction is correct.

    `advice` names an alternative to adding classes.
    """
    if len(names) > 1:
        return []
    text = f"{what}: only one class, {names[0]!r}, so every prediction is correct; add others"
    text += advice
    return [Remark(text, True)]


def one_video(part: Part) -> list[Remark]:
    """Returns a remark on a single captioned video, which every query retrieves."""
    if len(part.examples) != 1:
        return []
    only = part.examples[0].image
    text = f"{part.role}: only one video, {only}, so every caption retrieves it; add others"
    return [Remark(text, True)]


def unmatched_classes(one: Part, other: Part) -> list[Remark]:
    """Returns a remark on classes with images in `one` and none in `other`."""
    labels = {example.label for example in one.examples}
    labels -= {example.label for example in other.examples}
    names = one.dataset.class_names
    lone = [repr(names[label]) for label in sorted(labels)]
    kind = one.dataset.kind
    return summary(f"classes of {one.role} without {other.role} {kind}", lone)


def problematic_names(names: Sequence[str], template: str) -> list[Remark]:
    """Returns remarks on published names that make the same prompt, and on meaningless names.

    `examples.check_names` rejects equal names of a user's own classes.
    """
    alike = [
        " and ".join(f"{names[label]!r} (label {label})" for label in same)
        for same in class_names.repeated(names)
    ]
    found = summary("class names that make the same prompt", alike)
    if text := class_names.describe_meaningless(names, template):
        found.append(Remark(text))
    return found


def fewer_than(shots: int, part: Part) -> list[Remark]:
    """Returns a remark on classes with some images, but fewer than `shots`."""
    names = part.dataset.class_names
    counts = zip(names, count(names, part.examples), strict=True)
    few = [f"{name!r} ({number})" for name, number in counts if 0 < number < shots]
    kind = part.dataset.kind
    what = f"{part.role}: classes with fewer {kind} than {shots} shots"
    return summary(what, few)


def listed_twice(parts: Sequence[Part]) -> list[Remark]:
    """Returns a remark on images listed more than once, by their resolved paths.

    It stops a run if one is in test and in train or val, or has two labels.
    """
    places: dict[Hashable, list[str]] = {}
    shown: dict[Hashable, Example] = {}
    folders: dict[Hashable, Path | None] = {}
    torn: list[str] = []
    kind = _kind(parts)
    for role, dataset, examples in parts:
        for example in examples:
            key = _place(dataset, example)
            places.setdefault(key, []).append(role)
            first = shown.setdefault(key, example)
            folder = folders.setdefault(key, dataset.folder)
            if first.class_key != example.class_key and folder == dataset.folder:
                torn.append(f"{first.image} ({first.name!r} and {example.name!r})")
    if torn:
        return summary(f"{kind} listed in two classes", torn, True, "leave each in one")
    found = [(shown[key].image, roles) for key, roles in places.items() if len(roles) > 1]
    # The worst case is the example of the message.
    found.sort(key=lambda pair: not _leaks(pair[1]))
    lines = [f"{image} ({', '.join(roles)})" for image, roles in found]
    leaks = any(_leaks(roles) for _, roles in found)
    advice = "leave each in one list" if leaks else ""
    return summary(f"{kind} listed more than once", lines, leaks, advice)


def same_captions(part: Part) -> list[Remark]:
    """Returns a remark on captions of several videos, which retrieval cannot tell apart."""
    videos: dict[str, set[str]] = {}
    for example in part.examples:
        for caption in example.captions:
            videos.setdefault(caption.casefold(), set()).add(example.image)
    shared = [
        f"{caption!r} ({' and '.join(sorted(those))})"
        for caption, those in videos.items()
        if len(those) > 1
    ]
    return summary(f"{part.role}: captions shared by several {part.dataset.kind}", shared)


def _kind(parts: Sequence[Part]) -> str:
    return parts[0].dataset.kind if parts else "images"


def _place(dataset: Dataset, example: Example) -> Hashable:
    if dataset.folder is None:
        return dataset.name.partition(":")[0], example.image
    # "./a.jpg", an absolute path and a link are the same image as "a.jpg".
    return os.path.realpath(os.path.join(dataset.folder, example.image))


def _leaks(roles: Iterable[str]) -> bool:
    return len({_is_test(role) for role in roles}) > 1


def _is_test(role: str) -> bool:
    return role.startswith("test")


def copies(parts: Sequence[Part], copied: Sequence[Copy] | None = None) -> list[Remark]:
    """Returns remarks on files copied from another role or class.

    They stop a run if half of the test examples or more are copies of training examples. `copied`
    is the result of `find_copies`, if known.
    """
    copied = find_copies(parts) if copied is None else copied
    found = [copy for copy in copied if copy.role != copy.other_role]
    torn = [f"{copy.image} (same as {copy.other})" for copy in copied if copy.two_classes]
    leaked = Counter(c.role for c in found if _is_test(c.role) and not _is_test(c.other_role))
    stops = any(2 * leaked[part.role] >= len(part.examples) > 0 for part in parts)
    lines = [f"{copy.image} (same as {copy.other})" for copy in found]
    advice = "remove one of each" if stops else ""
    kind = _kind(parts)
    return [
        *summary(f"{kind} copied from another split", lines, stops, advice),
        *summary(f"{kind} copied from another class", torn),
    ]


def find_copies(parts: Sequence[Part]) -> list[Copy]:
    """Finds files with the same bytes as an earlier one of another role or class, in order.

    A directory of frames is a copy if all its frames are, in order. Only files of equal size are
    read. Unreadable files are skipped.
    """
    files: dict[Path, tuple[str, Example]] = {}
    for role, dataset, examples in parts:
        if dataset.folder is not None:
            for example in examples:
                files.setdefault(dataset.folder / example.image, (role, example))
    sizes: dict[Path, tuple[int, ...]] = {}
    for path in files:
        with contextlib.suppress(OSError, DataError):
            if found_sizes := contents.sizes(path):
                sizes[path] = found_sizes
    kinds: dict[tuple[int, ...], set[tuple[str, str]]] = {}
    for path, size in sizes.items():
        role, example = files[path]
        kinds.setdefault(size, set()).add((role, example.class_key))
    first: dict[bytes, tuple[str, Example]] = {}
    found = []
    for path, size in sizes.items():
        if len(kinds[size]) < 2:
            continue
        try:
            content = contents.digest(path)
        except (OSError, DataError):
            continue
        role, example = files[path]
        other_role, other = first.setdefault(content, (role, example))
        two_classes = other.class_key != example.class_key
        if other_role != role or two_classes:
            found.append(Copy(example.image, role, other.image, other_role, two_classes))
    return found


def summary(what: str, found: Sequence[str], stops: bool = False, advice: str = "") -> list[Remark]:
    """Returns one remark for all cases of a kind, with the first as an example; [] for none."""
    if not found:
        return []
    text = f"{what}: {len(found)}, e.g. {found[0]}"
    return [Remark(f"{text}; {advice}" if advice else text, stops)]
