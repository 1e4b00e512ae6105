"""Records: all facts about a method, in the method's own file."""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from prompt_jax.methods.encoders import Encoders
from prompt_jax.methods.method import Method, Task
from prompt_jax.methods.recipe import Recipe
from prompt_jax.text.class_texts import CAPTIONS, CLASSES, PAIRS

NAME_ALONE = "{}."
"""The text of a class after a learned context."""

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
"""The data sets of CoOp's benchmark except ImageNet, in the order of the papers' tables."""

SHIFTED = ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")
"""The four shifted variants of ImageNet."""

AVERAGE = "average"

DEEPER = "Prompts of deeper layers are left out: they are not word embeddings."
"""A report's note on the context of methods with deep prompts."""

SEES_AT_TEST = MappingProxyType(
    {
        "one image": "the image alone",
        "one video": "the video alone",
        "a batch": "all images of the batch: in another batch, the prediction can change",
        "a stream": "the test images before it, without labels: their order matters",
    }
)
"""What a prediction may depend on, by the value of `Record.sees_at_test`. None sees test labels."""

NEEDS_TEXTS = "texts of new classes"
"""Of methods that read texts of a class beside its name also where it was not trained on."""

SEES_IN_TRAINING = MappingProxyType(
    {
        "labels": "images with labels, or videos with labels or captions",
        "no labels": "images or videos without labels",
        "nothing": "no image or video: nothing is trained",
    }
)
"""What training reads, by the value of `Record.sees_in_training`."""


@dataclasses.dataclass(frozen=True)
class Published:
    """Published figures, in percent except for ranks.

    Attributes:
        protocol: "base_to_novel", "few_shot", …
        figures: data set, or "average", to figures. base_to_novel: base, new, H. few_shot: accuracy
            with 2, 4, 8 and 16 shots. retrieval: R@1, R@5, R@10, mean and median rank of text to
            video, then of video to text, None if not printed. supervised: top-1, and top-5 if
            printed. Otherwise one accuracy.
        source: the paper and its table.
        ablation, variant: for a row of an ablation, their names in configs.
        backbone: a CLIP with OpenAI's weights.
    """

    protocol: str
    figures: Mapping[str, tuple[float | None, ...]]
    source: str
    ablation: str = ""
    variant: str = ""
    backbone: str = "ViT-B/16"


def halves(base: float, new: float, h: float, source: str) -> Published:
    """Returns base-to-novel averages over ImageNet and `TARGETS`."""
    return Published("base_to_novel", {AVERAGE: (base, new, h)}, source)


def cross_dataset(source: str, *accuracies: float) -> Published:
    """Returns accuracies on ImageNet, the ten `TARGETS`, and the targets' average."""
    return _row("cross_dataset", ("imagenet", *TARGETS, AVERAGE), source, accuracies)


def domain_generalization(source: str, *accuracies: float) -> Published:
    """Returns accuracies on ImageNet, its four variants, and the variants' average."""
    return _row("domain_generalization", ("imagenet", *SHIFTED, AVERAGE), source, accuracies)


def _row(
    protocol: str, names: tuple[str, ...], source: str, accuracies: tuple[float, ...]
) -> Published:
    figures = {name: (one,) for name, one in zip(names, accuracies, strict=True)}
    return Published(protocol, figures, source)


def name_alone(settings: Any, template: str) -> tuple[str, ...]:
    """Returns the text of a class after a learned context, for `Record.texts`."""
    del settings, template
    return (NAME_ALONE,)


def dataset_text(settings: Any, template: str) -> tuple[str, ...]:
    """Returns the data set's own text of a class, for `Record.texts`."""
    del settings
    return (template,)


def no_arrays(task: Task) -> dict[str, Any]:
    """Returns no arrays, for `Record.exported`."""
    del task
    return {}


@dataclasses.dataclass(frozen=True)
class Record:
    """A method's functions, recipes and published figures.

    Attributes:
        name: the name in tables, configs, flags and files.
        title: the name in publications.
        paper: the reference to cite.
        appeared: year and month of the first version, and a number if one paper has several
            methods; methods are listed in this order.
        method: a `Method` of images, or `Encoders` of videos and texts.
        recipes: protocol to recipe, the paper's own protocol first. For other protocols, an image
            method uses its recipe of base_to_novel, or else that of its own protocol.
        tunes: the place of the trainable parameters: the "text", the "images", "both", after
            frozen "features", or the backbone's "weights".
        published: figures of papers.
        sees_at_test: the test inputs that a prediction depends on, a key of `SEES_AT_TEST`; "": one
            image or one video, by the kind of the method. Texts are added by `at_test`.
        alone: the settings with which a prediction depends on one image alone, if there are some:
            "settings.gamma=0".
        sees_in_training: what training reads, a key of `SEES_IN_TRAINING`.
        export: its module in `export.torch_parts`, if that has another name.
        large: whether its arrays can be as large as a tower of CLIP, which permits larger files.
        context: a report's note on the context, beside the words nearest to it.
        texts: (settings, the data set's template) -> the texts of a class that an image method
            encodes, "{}" for the name.
        exported: task -> arrays by name that the PyTorch code needs beside the prompts; for methods
            whose texts of classes are not templates.
    """

    name: str
    title: str
    paper: str
    appeared: tuple[int, ...]
    method: Method | Encoders
    recipes: Mapping[str, Recipe]
    tunes: Literal["text", "images", "both", "features", "weights"]
    published: tuple[Published, ...] = ()
    sees_at_test: str = ""
    alone: str = ""
    sees_in_training: str = "labels"
    export: str = ""
    large: bool = False
    context: str = ""
    texts: Callable[[Any, str], tuple[str, ...]] = name_alone
    exported: Callable[[Task], Mapping[str, Any]] = no_arrays

    @property
    def kind(self) -> Literal["images", "videos"]:
        """Returns the type of the method's inputs."""
        return "videos" if isinstance(self.method, Encoders) else "images"

    def at_test(self, kind: str = "") -> str:
        """Returns what a prediction depends on: `sees_at_test`, and `NEEDS_TEXTS` if it does.

        Args:
            kind: of the data, "images" or "videos", of which an image method averages the frames;
                by default that of the method.
        """
        one = f"one {(kind or self.kind).removesuffix('s')}"
        seen = self.sees_at_test.replace("one image", one) or one
        return f"{seen}, {NEEDS_TEXTS}" if self._reads_new_texts() else seen

    def _reads_new_texts(self) -> bool:
        method = self.method
        if method.texts not in (CLASSES, PAIRS, CAPTIONS):
            return False
        if isinstance(method, Encoders):
            return True
        own_only = method.own_classes_only(method.Settings())
        return not (method.texts_in_training_only or own_only)

    @property
    def own_protocol(self) -> str:
        """Returns the paper's own protocol."""
        return next(iter(self.recipes))

    def recipe(self, protocol: str) -> Recipe | None:
        """Returns the recipe for a protocol, or None if a video method has none."""
        if protocol not in self.recipes and self.kind == "images" and self.recipes:
            usual = "base_to_novel"
            protocol = usual if usual in self.recipes else self.own_protocol
        return self.recipes.get(protocol)
