"""Defines a data set: lists of examples and a function that reads one."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from data_pipelines.errors import DataError, shorten
from prompt_jax.text.class_names import Classes, is_blank, key

# In characters; far more than the 77 tokens of a prompt can hold.
_LONGEST_NAME = 1000


class Example(NamedTuple):
    """One labeled image or video.

    Attributes:
        image: its key: a path inside the directory of images or videos, or a scene.
        label: its class, from 0.
        name: its class name.
        captions: its captions; () if only its class is known.
        span: (start, end) in seconds of the annotated part of a video; None: all of it.
        class_id: the class id shared with other data sets, e.g. ImageNet's WordNet id; "" if none.
    """

    image: str
    label: int
    name: str
    captions: tuple[str, ...] = ()
    span: tuple[float, float] | None = None
    class_id: str = ""

    @property
    def class_key(self) -> str:
        """The key of its class in other lists of its data set: the id, otherwise the name."""
        return self.class_id or self.name


@dataclass(frozen=True)
class Dataset:
    """A labeled data set whose images or videos are still on disk, or not yet rendered.

    Attributes:
        name: the name used in configs, e.g. "caltech101".
        template: the prompt of one class, with one `{}` for the class name.
        train: training examples.
        val: validation examples; may be empty.
        test: test examples.
        read: reads one example. Images: a `PIL.Image` in RGB, of any size. Videos: a
            `inputs.videos.opening.Video`. Raises `BadImage`.
        folder: the directory of `Example.image`; None for images that are not files.
        split_source: describes the source of the lists, recorded in results.
        notes: remarks on the lists for the user.
        kind: "images" or "videos".
        reversals: maps the key of a video to that of its reversal, which shows the same frames in
            reverse order and has another caption; empty if none is known.
    """

    name: str
    template: str
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]
    read: Callable[[Example], Any]
    folder: Path | None = None
    split_source: str = ""
    notes: tuple[str, ...] = ()
    kind: Literal["images", "videos"] = "images"
    reversals: Mapping[str, str] = field(default_factory=dict)

    @property
    def upright(self) -> bool:
        """Whether images are rotated as their files say; True for rendered ones."""
        return getattr(self.read, "upright", True)

    @property
    def has_classes(self) -> bool:
        """Whether there are classes; captioned videos have none (all label 0, no name)."""
        return self.kind == "images" or self.class_names != ("",)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in label order, over all three splits.

        Raises:
            DataError: labels are not 0..K-1, or a label has two names.
        """
        return class_names(self.name, (*self.train, *self.val, *self.test))

    @property
    def classes(self) -> Classes:
        """Class names, and the ids where every class has one, in label order.

        Raises:
            DataError: see `class_names`.
        """
        names = self.class_names
        ids = {e.label: e.class_id for e in (*self.train, *self.val, *self.test) if e.class_id}
        all_ids = tuple(ids[label] for label in sorted(ids))
        return Classes(names, all_ids if len(set(all_ids)) == len(names) else ())


def class_names(what: str, examples: Iterable[Example]) -> tuple[str, ...]:
    """Returns the class names in label order; `what` is the source, for messages.

    Raises:
        DataError: labels are not 0..K-1, or a label has two names.
    """
    names: dict[int, str] = {}
    for example in examples:
        name = names.setdefault(example.label, example.name)
        if name != example.name:
            raise DataError(
                f"{what}: label {example.label} is called both {name!r} and {example.name!r} "
                f"(image {example.image}); give each label one class name"
            )
    if not names:
        raise DataError(f"{what}: no examples; at least one labeled image is needed")
    gaps = sorted(set(range(len(names))) - set(names))
    if gaps:
        raise DataError(
            f"{what}: {len(names)} classes must have the labels 0 to {len(names) - 1}, but "
            f"{', '.join(map(str, gaps[:10]))} are missing and labels go from {min(names)} to "
            f"{max(names)}; renumber them without gaps"
        )
    return tuple(names[label] for label in range(len(names)))


def check_names(what: str, names: Iterable[str], may_repeat: bool = False) -> None:
    """Rejects class names that make no prompt, or the same prompt as another class.

    Args:
        what: the source, for messages.
        names: the class names in label order, as used in prompts.
        may_repeat: whether two labels may have exactly the same name, as in published lists.

    Raises:
        DataError: a name is empty, not valid Unicode or too long, or two labels have names with
            the same `class_names.key`.
    """
    first: dict[str, tuple[int, str]] = {}
    for label, name in enumerate(names):
        if len(name) > _LONGEST_NAME:
            raise DataError(
                f"{what}: label {label} has the class name {shorten(name)}; the limit is "
                f"{_LONGEST_NAME:,} characters"
            )
        if any(0xD800 <= ord(character) < 0xE000 for character in name):
            raise DataError(
                f"{what}: label {label} has the class name {shorten(name)}, which is not valid "
                "Unicode; rename the class"
            )
        prompt = key(name)
        if is_blank(name):
            called = f"the class name {shorten(name)}, which has no tokens"
            called = called if name.strip() else "an empty class name"
            raise DataError(f"{what}: label {label} has {called}; give it a name")
        before, other = first.setdefault(prompt, (label, name))
        if before != label and not (may_repeat and name == other):
            raise DataError(
                f"{what}: the labels {before} and {label}, {shorten(other)} and {shorten(name)}, "
                "make the same prompt (case, underscores and spacing are ignored); give each "
                "class its own name, or merge them"
            )
