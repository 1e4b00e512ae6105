"""What is known of a method, all of it in the method's own file: see `Record`."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from prompt_jax.methods.encoders import Encoders
from prompt_jax.methods.method import Method
from prompt_jax.methods.recipe import Recipe

NAME_ALONE = "{}."
"""The text of a class behind a learned context."""

TARGETS = (
    "caltech101",
    "oxford_pets",
    "stanford_cars",
    "flowers102",
    "food101",
    "fgvc_aircraft",
    "sun397",
    "dtd",
    "eurosat",
    "ucf101",
)
"""The data sets of CoOp's benchmark beside ImageNet, in the order of the papers' tables."""

SHIFTED = ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")
"""The four shifted variants of ImageNet."""

AVERAGE = "average"

DEEPER = "Prompts of deeper layers are left out: they are not word embeddings."
"""What a report says of the context of methods with deep prompts."""


@dataclasses.dataclass(frozen=True)
class Published:
    """Figures that a paper prints, in percent but for ranks.

    Attributes:
        protocol: "base_to_novel", "few_shot", …
        figures: a data set's name, or "average", to its figures. base_to_novel: base, new, H.
            few_shot: accuracy with 2, 4, 8 and 16 shots. retrieval: R@1, R@5, R@10, mean and
            median rank of captions for videos, then of videos for captions, None where it is not
            printed. supervised: top-1, and top-5 where it is printed. Otherwise one accuracy.
        source: the paper and its table.
        ablation, variant: where it is a row of an ablation, as configs name them.
        backbone: with OpenAI's weights.
    """

    protocol: str
    figures: Mapping[str, tuple[float | None, ...]]
    source: str
    ablation: str = ""
    variant: str = ""
    backbone: str = "ViT-B/16"


def halves(base: float, new: float, h: float, source: str) -> Published:
    """Base-to-novel averages over ImageNet and `TARGETS`."""
    return Published("base_to_novel", {AVERAGE: (base, new, h)}, source)


def cross_dataset(source: str, *accuracies: float) -> Published:
    """Accuracies on ImageNet, the ten `TARGETS`, and the targets' average."""
    return _row("cross_dataset", ("imagenet", *TARGETS, AVERAGE), source, accuracies)


def domain_generalization(source: str, *accuracies: float) -> Published:
    """Accuracies on ImageNet, its four variants, and the variants' average."""
    return _row("domain_generalization", ("imagenet", *SHIFTED, AVERAGE), source, accuracies)


def _row(protocol, names, source, accuracies):
    figures = {name: (one,) for name, one in zip(names, accuracies, strict=True)}
    return Published(protocol, figures, source)


def name_alone(settings: Any, template: str) -> tuple[str, ...]:
    """A record's `texts` where class names stand behind a learned context."""
    del settings, template
    return (NAME_ALONE,)


def data_set_s_own(settings: Any, template: str) -> tuple[str, ...]:
    """A record's `texts` where classes have the data set's own text."""
    del settings
    return (template,)


@dataclasses.dataclass(frozen=True)
class Record:
    """A method: what computes, how it trains, and what is published of it.

    Attributes:
        name: in tables, configs, flags and files.
        title: as publications write it.
        paper: to be cited.
        appeared: year and month of the first version, and the method's row where one paper has
            several; methods are listed in this order.
        method: a `Method` for images, or `Encoders` for videos and texts.
        recipes: protocol to recipe, the paper's own protocol first. A method of images trains as
            for base_to_novel in a protocol that is not listed.
        tunes: where what trains stands: in the "text", in the "images", in "both", behind frozen
            "features", or in the backbone's own "weights".
        published: figures of papers.
        sees_at_test: what its prediction depends on, beside prompts and class names.
        export: its part of `export.torch_parts`, where that has another name.
        large: whether its arrays can be a whole tower of CLIP, so that larger files of it are read.
        context: what a report says of its context beside the words nearest to it.
        texts: (settings, the data set's template) -> the texts of a class that a method of images
            encodes, "{}" for the name.
    """

    name: str
    title: str
    paper: str
    appeared: tuple[int, ...]
    method: Method | Encoders
    recipes: Mapping[str, Recipe]
    tunes: Literal["text", "images", "both", "features", "weights"]
    published: tuple[Published, ...] = ()
    sees_at_test: str = "one image or video"
    export: str = ""
    large: bool = False
    context: str = ""
    texts: Callable[[Any, str], tuple[str, ...]] = name_alone

    @property
    def kind(self) -> Literal["images", "videos"]:
        """What the method takes."""
        return "videos" if isinstance(self.method, Encoders) else "images"

    @property
    def own_protocol(self) -> str:
        """The paper's own."""
        return next(iter(self.recipes))

    def recipe(self, protocol: str) -> Recipe | None:
        """The recipe for a protocol; None of a method of videos that has none for it."""
        if protocol not in self.recipes and self.kind == "images":
            protocol = "base_to_novel"
        return self.recipes.get(protocol)
