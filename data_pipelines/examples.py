"""What a data set is to the rest of the code: three lists of examples and a way to read one."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from data_pipelines.errors import DataError, shorten
from prompt_jax.text.class_names import Classes, is_blank, key

# Prompts have 77 tokens; this is far more than fits.
_LONGEST_NAME = 1000


class Example(NamedTuple):
    """One labelled image or video.

    Attributes:
        image: its key: a path inside the folder of images or videos, or a scene.
        label: its class, from 0.
        name: its class's name.
        captions: texts that describe it; none where it is known by its class alone.
        span: (start, end) in seconds: what of a video is meant; None: all of it.
        class_id: what other data sets know its class by: a WordNet id of ImageNet's; "": its name.
    """

    image: str
    label: int
    name: str
    captions: tuple[str, ...] = ()
    span: tuple[float, float] | None = None
    class_id: str = ""

    @property
    def known_by(self) -> str:
        """What its class is known by in other lists of its data set: id, else name."""
        return self.class_id or self.name


@dataclass(frozen=True)
class Dataset:
    """A labelled data set, its images or videos still on disk (or not yet rendered).

    Attributes:
        name: the name used in configs, e.g. "caltech101".
        template: the text of one class, with one `{}` for the class name.
        train: training examples.
        val: validation examples; may be empty.
        test: test examples.
        read: reads one example. Images: a `PIL.Image` in RGB, of any size. Videos: what
            `videos.readers.VideoReader` gives. Raises `BadImage`.
        folder: what `Example.image` is relative to; None for images that are not files.
        split_source: where the three lists come from, in words, for results.
        notes: sentences that people should read before they trust the lists.
        kind: "images" or "videos": what `read` gives, and what messages call it.
        reversals: the key of a video to that of the one that shows the same frames in opposite
            order and has another caption; empty where none is known.
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
        """Whether images of files are turned as the files say; what is rendered has no files."""
        return getattr(self.read, "upright", True)

    @property
    def has_classes(self) -> bool:
        """False for videos that captions alone describe: label 0 and no name, all of them."""
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
    """The name of each label in label order; `what` names the source in error messages.

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
        raise DataError(f"{what}: no examples; at least one labelled image is needed")
    gaps = sorted(set(range(len(names))) - set(names))
    if gaps:
        raise DataError(
            f"{what}: {len(names)} classes must have the labels 0 to {len(names) - 1}, but "
            f"{', '.join(map(str, gaps[:10]))} are missing and labels go from {min(names)} to "
            f"{max(names)}; renumber them without gaps"
        )
    return tuple(names[label] for label in range(len(names)))


def check_names(what: str, names: Iterable[str], may_repeat: bool = False) -> None:
    """Refuse class names that make no prompt, or that a text tower could not tell apart.

    Args:
        what: the source, for the message.
        names: the class names in label order, as prompts will hold them.
        may_repeat: whether two labels may have one name, letter by letter, as published ones do.

    Raises:
        DataError: a name is empty, is not text or is too long, or two labels have names of one
            `class_names.key`.
    """
    first: dict[str, tuple[int, str]] = {}
    for label, name in enumerate(names):
        if len(name) > _LONGEST_NAME:
            raise DataError(
                f"{what}: label {label} has the class name {shorten(name)}; it can have "
                f"{_LONGEST_NAME:,}, and few prompts have room for that"
            )
        if any(0xD800 <= ord(character) < 0xE000 for character in name):
            raise DataError(
                f"{what}: label {label} has the class name {shorten(name)}, which is not text; "
                "rename the class"
            )
        prompt = key(name)
        if is_blank(name):
            called = f"the class name {shorten(name)}, of which no token is left"
            called = called if name.strip() else "an empty class name"
            raise DataError(f"{what}: label {label} has {called}; give it one")
        before, other = first.setdefault(prompt, (label, name))
        if before != label and not (may_repeat and name == other):
            raise DataError(
                f"{what}: the labels {before} and {label}, {shorten(other)} and {shorten(name)}, "
                "make the same prompt (case, underscores and spacing do not count); give each "
                "class a name of its own, or merge them"
            )
