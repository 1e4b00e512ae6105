"""What is known of a data set before its files are read: a row of the table of data sets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from data_pipelines.layouts.layout import Layout
from prompt_jax.text.class_names import spaced

ARCHIVES = "zhengli97/prompt_learning_dataset"
"""The Hugging Face repository of fourteen data sets, by the authors of PromptKD (Li et al. 2024),
each with its split; ImageNet alone is not among them."""
ARCHIVES_PAGE = f"https://huggingface.co/{ARCHIVES}"


@dataclass(frozen=True)
class Entry:
    """What is known of a data set before its files are read.

    Attributes:
        title: its name as tables print it.
        template: the text of one class, with one `{}` for the class name.
        layout: reads its files.
        kind: what it holds.
        tfds: its name in TFDS, with the config if it has several; None if it is not there.
        num_classes: the number of its classes; None for people's own images, and for videos that
            captions describe.
        counts: published numbers of train, validation and test images or videos, None for one
            that is not known; None if there are none. Of a data set that comes in parts, those of
            the whole.
        citation: authors, venue and year.
        url: where people get it, or how.
        clean: its class names in the CoOp benchmark from the raw ones of TFDS; None for a class
            that the benchmark leaves out.
        repeated_names: whether published class names repeat, so that repeats are no mistake:
            ImageNet's have "missile" and "sunglasses" twice.
        split_sha256: hash of the published split file's content, as `check` takes it (JSON with
            sorted keys and no spaces); None where it is not known.
        archives: what its archive in `ARCHIVES` may be called, without suffix; () where it has
            none. How words are joined, and capitals, do not matter.
    """

    title: str
    template: str
    layout: Layout
    kind: Literal["images", "videos"] = "images"
    tfds: str | None = None
    num_classes: int | None = None
    counts: tuple[int | None, int | None, int | None] | None = None
    citation: str = ""
    url: str = ""
    clean: Callable[[str], str | None] = spaced
    repeated_names: bool = False
    split_sha256: str | None = None
    archives: tuple[str, ...] = ()

    @property
    def is_own(self) -> bool:
        """Whether it stands for whatever people have: nothing is known of it before."""
        return self.counts is None and self.num_classes is None
