"""Declares a data set: one entry of the table of data sets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from data_pipelines.layouts.layout import Layout
from prompt_jax.text.class_names import spaced

ARCHIVES = "zhengli97/prompt_learning_dataset"
"""The Hugging Face repository of fourteen data sets with their splits, without ImageNet, by the
authors of PromptKD (Li et al. 2024)."""
ARCHIVES_PAGE = f"https://huggingface.co/{ARCHIVES}"


@dataclass(frozen=True)
class Entry:
    """Describes a data set before its files are read.

    Attributes:
        title: its name in tables.
        template: the prompt of one class, with one `{}` for the class name.
        layout: reads its files.
        kind: "images" or "videos".
        tfds: its name in TFDS, with a config if it has several; None if TFDS does not have it.
        num_classes: the number of classes; None for a user's own data and for captioned videos.
        counts: published numbers of train, validation and test examples, each None if unknown; None
            for a user's own data. For a data set with parts, the numbers of the whole.
        citation: authors, venue and year.
        url: where to download it.
        clean: converts a raw class name of TFDS to that of the CoOp benchmark; returns None for a
            class that the benchmark leaves out.
        repeated_names: whether published class names repeat, as ImageNet's "missile" and
            "sunglasses" do.
        split_sha256: the hash of the published split as JSON with sorted keys and without spaces;
            None if unknown.
        gigabytes: about the size of its download from its authors; None if unknown.
        archives: possible names of its archive in `ARCHIVES`, without suffix; () if there is none.
            Case, "-" and "_" do not matter.
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
    gigabytes: float | None = None
    archives: tuple[str, ...] = ()

    @property
    def is_own(self) -> bool:
        """Whether it is a user's own data, of which nothing is published."""
        return self.counts is None and self.num_classes is None
