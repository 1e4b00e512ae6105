"""Every field of an experiment: type, default, help, allowed values, role in its identity.

Command line, help, checks, sweeps and identities all read this declaration.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from data_pipelines import datasets
from experiments.config import fields
from experiments.config.fields import field
from experiments.config.protocols import PROTOCOLS, Protocol
from prompt_jax.clip import PRECISIONS
from prompt_jax.clip.config import ACTIVATIONS
from prompt_jax.errors import unknown
from prompt_jax.inputs.augmenting import Kind
from prompt_jax.inputs.given import Crop
from prompt_jax.inputs.images.preprocessing import Interpolation, Resize, Stats
from prompt_jax.inputs.videos.sampling import Rule
from prompt_jax.methods.recipe import Recipe
from prompt_jax.models.saved_fields import DTYPES

_NUMBERS = "numbers, e.g. 0.002,0.004"
_WHOLE = "whole numbers, e.g. 1,2,3"
_COLORS = "three numbers, e.g. 0.5,0.5,0.5"


@dataclasses.dataclass(frozen=True)
class Data:
    """The fields `config.data`: what is trained on and tested, and how it is read.

    How images and frames are prepared, `stats` to `interpolation`, is by default as the
    checkpoint's files say, and else as OpenAI's CLIP has it; see
    prompt_jax/inputs/images/preprocessing.py.
    """

    name: str = field("emoji_scenes", "data set to train on", role="run")
    names: str = field(
        "",
        '"a,b": data sets to train on, one run each; of transfer protocols, data sets to test',
        role="free",
    )
    title: str = field(
        "",
        'name of own data in results; "a=/data/a,b=/data/b": several with roots, one run each',
        role="run",
        since="2026-11-29",
    )
    root: str = field(
        "", "directory of all data sets' directories, or of the one data set", role="free"
    )
    source: Literal["coop", "tfds"] = field(
        "coop", "the CoOp benchmark's directories, or what TFDS prepared"
    )
    split_file: str = field(
        "", "tfds only: a split_zhou_*.json to use in place of TFDS's own splits", role="run"
    )
    shots: int = field(16, "training images per class", at_least=1, role="run")
    shots_list: tuple[int, ...] = field(
        (),
        "several numbers of shots, one run each: 1,2,4,8,16",
        at_least=1,
        form=_WHOLE,
        role="run",
    )
    on_bad_image: Literal["stop", "skip"] = field(
        "stop", "list unreadable images and stop, or skip and count them", role="free"
    )
    domain: str = field(
        "", "emoji_scenes: plain, sketch, …; folder and csv: a part of the images", role="run"
    )
    template: str = field("", 'folder and csv only: text of a class; "" is "a photo of a {}."')
    stats: Stats = field(
        "", "images are normalized by these statistics; half is mean and std 0.5", role="free"
    )
    mean: tuple[float, ...] = field(
        (), "or by the mean of red, green, blue in 0 to 1: 0.5,0.5,0.5", form=_COLORS, role="free"
    )
    std: tuple[float, ...] = field((), "with their standard deviations", form=_COLORS, role="free")
    resize: Literal["", Resize] = field(
        "", "test images: resize the shortest or longest side, squash both, or none", role="free"
    )
    interpolation: Literal["", Interpolation] = field("", "filter of the resizing", role="free")
    ignore_rotation: bool = field(
        False,
        "folder and csv only: True leaves images as stored, whatever their EXIF data say",
        affects="tests",
    )
    num_classes: int = field(0, "emoji_scenes only: an evenly spread part of its classes; 0 is all")
    num_objects: int = field(0, "emoji_clips only: number of kinds of objects; 0 is its default")
    train_per_class: int = field(
        0, "emoji_clips only: training videos per action; 0 is its default", affects="training"
    )
    test_per_class: int = field(
        0, "emoji_… only: test images or videos per class; 0 is its default"
    )
    frames: int = field(12, "videos only: frames per video, F", at_least=1, affects="tests")
    frame_rule: Rule = field(
        "centre",
        "videos only, in training: how frames are chosen; see inputs/videos/sampling.py",
        affects="tests",
    )
    flip: bool = field(
        True,
        "videos only: mirror half in training; not where left and right matter",
        affects="training",
    )
    augment: Kind = field(
        "none",
        "videos only: none crops and flips; vifi adds ViFi-CLIP's crops and colors",
        since="2026-11-28",
        affects="training",
    )
    mix: bool = field(
        False,
        "videos with classes only: cutmix or mixup in fours, label smoothing 0.1",
        since="2026-11-28",
        affects="training",
    )
    crop: Crop = field(
        "clip",
        "videos only, in testing: the center, as CLIP or ViFi-CLIP crops it",
        since="2026-11-28",
        affects="tests",
    )
    views: int = field(
        0,
        "videos with classes only, in testing: draws of frames x 3 crops; 0: one view",
        at_least=0,
        since="2026-11-28",
        affects="tests",
    )
    frame_stats: Literal["clip", "imagenet"] = field(
        "clip",
        "videos only: imagenet is data.stats=imagenet, as ViFi-CLIP's",
        since="2026-11-28",
        affects="tests",
    )
    also_test: str = field(
        "", 'retrieval only: "a,b", further data sets whose test videos are searched', role="free"
    )
    num_threads: int = field(
        -1, "reading threads; 0 reads in the main thread, -1 chooses", at_least=-1, role="free"
    )
    num_workers: int = field(
        0, "reading processes, each with such threads; 0 reads in this one", at_least=0, role="free"
    )

    @property
    def key(self) -> str:
        """The data set to train on, "name" or "name:domain"."""
        return f"{self.name}:{self.domain}" if self.domain else self.name

    @property
    def on_videos(self) -> bool:
        """Whether the data set holds videos."""
        return datasets.entry(self.name).kind == "videos"


@dataclasses.dataclass(frozen=True)
class Config:
    """An experiment; the method checks `settings`, which are its own."""

    method: str = field(
        "pro_mpt", 'name of a method, or "module:ATTRIBUTE" for one of another package', role="run"
    )
    backbone: str = field(
        "embedded",
        '"embedded", a directory, a file, a hub id, or a name like "ViT-B/16"',
        role="run",
    )
    activation: str = field(
        "",
        "activation of the towers; '' as the checkpoint says",
        choices=("", *ACTIVATIONS),
        affects="tests",
    )
    dtype: str = field(
        "float32", "compute type of the frozen towers", choices=DTYPES, affects="tests"
    )
    precision: str = field(
        "highest",
        "precision of the towers' float32 products on accelerators: highest is float32; high, "
        "default round to TF32 (NVIDIA) or bfloat16 (TPU) and are faster; see docs/using.md",
        choices=PRECISIONS,
        since="2026-12-01",
        affects="tests",
    )
    memory_gb: float = field(
        0.0,
        "memory for a tower's backward pass; 0: a quarter of the device's",
        at_least=0,
        unit="GB",
        role="free",
    )
    protocol: str = field(
        "base_to_novel",
        "what is trained on and tested; retrieval is for videos and captions",
        choices=PROTOCOLS,
        role="run",
    )
    init_from: str = field(
        "",
        "directory of a run of the same method: training starts from its prompts",
        role="run",  # by the digest of the prompts, wherever they are
        since="2026-11-29",
    )
    seed: int = field(
        1,
        "seed of the shots, the first prompts, order and augmentation",
        at_least=0,
        at_most=2**32 - 1,
        role="run",
    )
    seeds: tuple[int, ...] = field(
        (), "several seeds, one run each: 1,2,3", form=_WHOLE, role="run"
    )
    learning_rates: tuple[float, ...] = field(
        (), "several learning rates, one run each", above=0, form=_NUMBERS, role="run"
    )
    parallel_seeds: bool = field(
        False, "train several seeds and learning rates in one program", role="free"
    )

    data: Data = Data()

    batch_size: int = field(
        Recipe.batch_size,
        "training images per step; a multiple of the number of devices",
        at_least=1,
    )
    eval_batch_size: int = field(
        100, "test images per step; a multiple of the number of devices", at_least=1, role="free"
    )
    cached_views: int = field(
        Recipe.cached_views,
        "0: new crops in every epoch; n: n crops, their image features kept",
        at_least=0,
        role="run",  # averages compare the run's "features"
    )
    epochs: int = field(
        Recipe.epochs, "passes over the training images; 0: as epochs_by_shots says", at_least=0
    )
    epochs_by_shots: tuple[tuple[int, int], ...] = field(
        Recipe.epochs_by_shots,
        "((most shots, epochs), …): the first entry that fits, or the last",
        at_least=1,
        form="pairs (most shots, epochs), e.g. ((2, 50),)",
    )
    optimizer: Literal["sgd", "adamw"] = field(Recipe.optimizer, "optimizer of the prompts")
    schedule: Literal["coop", "constant", "cosine", "warmup_cosine", "vifi"] = field(
        Recipe.schedule,
        "learning rate. coop: a warm-up epoch, then a cosine by epoch; all others go by "
        "step. See prompt_jax/training/optim.py",
    )
    warmup_epochs: int = field(
        Recipe.warmup_epochs,
        "vifi: epochs in which the rate grows from 0; 0 if all are fewer",
        at_least=0,
        since="2026-11-28",
    )
    learning_rate: float = field(Recipe.learning_rate, "peak learning rate", above=0)
    momentum: float = field(Recipe.momentum, "sgd: momentum", at_least=0, below=1)
    weight_decay: float = field(Recipe.weight_decay, "weight decay, on prompts too", at_least=0)
    adam_epsilon: float = field(Recipe.adam_epsilon, "adamw: epsilon", at_least=0)
    adam_betas: tuple[float, float] = field(
        Recipe.adam_betas,
        "adamw: decay of the averages of gradients and of their squares",
        at_least=0,
        below=1,
        form="two numbers",
        since="2026-11-28",
    )
    clip_norm: float = field(
        Recipe.clip_norm,
        "adamw: longer gradients are scaled to this norm; 0: as they are",
        at_least=0,
    )
    log_every: int = field(
        20, "steps between lines of metrics.jsonl", at_least=1, unit="steps", role="free"
    )
    tracker: Literal["", "wandb"] = field(
        "", "wandb: metrics go to Weights & Biases too, with the extra wandb", role="free"
    )
    checkpoint_every: int = field(
        500,
        "steps between checkpoints; one more is written at the end",
        at_least=1,
        unit="steps",
        role="free",
    )

    ablation: str = field("", "name of the table that the variants are rows of", role="run")
    variants: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = field(
        (),
        "((label, ((field, value), …)), …): one run each",
        form='(label, ((field, value), …)) each, e.g. ("N=1", (("settings.iterations", 1),))',
        role="run",
    )
    variant: str = field("", "label of this run's", role="run")

    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def protocol_spec(self) -> Protocol:
        """What its protocol is for."""
        return PROTOCOLS[self.protocol]

    @property
    def recipe(self) -> Recipe:
        """How it trains."""
        return Recipe(**{name: getattr(self, name) for name in Recipe().fields()})

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, in sections."""
        return dataclasses.asdict(self)


FIELDS = fields.declared(Config)
"""The declaration of each field but those of `settings`, by name: "data.shots"."""


def read(config: Any) -> Config:
    """Returns the typed config of an `ml_collections.ConfigDict`, checked field by field.

    A config is locked, but may be unlocked, or made without configs/default.py.

    Args:
        config: as a config file returns it; a `Config` is checked again.

    Raises:
        PromptError: a field is unknown, missing, of another type or out of its range.
    """
    return fields.build(Config, config.to_dict())


def change(config: Config, changes: Mapping[str, Any]) -> Config:
    """Returns a config with other values of some fields, by name: "data.shots", "settings.depth".

    Raises:
        PromptError: see `read`; a setting must also keep its type.
    """
    values = config.to_dict()
    for path, value in changes.items():
        section, (*sections, name) = values, path.split(".")
        for part in sections:
            section = section.get(part, {})
        if name not in section:
            known = (*FIELDS, *(f"settings.{setting}" for setting in config.settings))
            raise unknown("config key", path, known)
        if sections == ["settings"]:
            fields.check_type(f"config.{path}", value, type(section[name]))
        section[name] = value
    return fields.build(Config, values)
