"""From a config to its parts: backbone, method, data. Every mistake in a config is met here."""

import dataclasses
import math
from collections.abc import Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from data_pipelines import datasets, video_loader
from experiments.configs import default
from experiments.record import tracking
from experiments.setup import preprocessing, protocols, titles
from prompt_jax import methods
from prompt_jax.clip import CLIP, PRECISIONS, CLIPConfig, Frozen, loading
from prompt_jax.clip.checkpoints.preprocessing import NOTHING, Said
from prompt_jax.clip.memory import default_budget
from prompt_jax.errors import PromptError, unknown
from prompt_jax.inputs.images.preprocessing import INTERPOLATIONS, RESIZES, STATS
from prompt_jax.inputs.videos.sampling import RULES
from prompt_jax.methods.method import KEPT
from prompt_jax.models.saved_fields import DTYPES

AT_LEAST_ONE = ("batch_size", "eval_batch_size", "epochs", "log_every", "checkpoint_every")
OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("coop", "constant", "cosine", "warmup_cosine", "vifi")
CHOICES: dict[str, Collection[str]] = {
    "protocol": protocols.PROTOCOLS,
    "dtype": DTYPES,
    "precision": PRECISIONS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "tracker": tracking.TRACKERS,
    "data.source": ("coop", "tfds"),
    "data.on_bad_image": ("stop", "skip"),
    "data.frame_rule": RULES,
    "data.augment": video_loader.AUGMENTS,
    "data.crop": video_loader.CROPS,
    "data.frame_stats": ("clip", "imagenet"),
    "data.stats": ("", *STATS),
    "data.resize": ("", *RESIZES),
    "data.interpolation": ("", *INTERPOLATIONS),
}
"""What a field may hold, of those that a table decides about."""
# What only videos have, and of these only what has classes: elsewhere it would be passed over.
OF_VIDEOS = ("augment", "crop", "frame_stats")
OF_CLASSES_OF_VIDEOS = ("mix", "views")


def check_fields(config: ConfigDict) -> None:
    """Refuses a config that has other fields than default.py's, or other types in them.

    One that starts from default.py is locked, but may be unlocked, or made in another way.

    Raises:
        PromptError: names the field and those that are close.
    """
    _check_section(config, default.get_config(), "")


def _check_section(section, usual, path):
    if wrong := next((key for key in section if key not in usual), None):
        raise unknown("config key", f"{path}{wrong}", (f"{path}{key}" for key in usual))
    if missing := [f"config.{path}{key}" for key in usual if key not in section]:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise PromptError(
            f"the config lacks {', '.join(missing[:3])}{more}; start from the one of "
            "experiments/configs/default.py"
        )
    for key, value in usual.items():
        _check_type(f"config.{path}{key}", section[key], value)
        if isinstance(value, ConfigDict) and key != "settings":  # those are the method's
            _check_section(section[key], value, f"{path}{key}.")


def _check_type(field, value, usual):
    """Compares with a value that the field may hold; whole numbers pass as others."""
    kind = type(usual)
    allowed = {float: (int, float), tuple: (tuple, list)}.get(kind, (kind,))
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise PromptError(
            f"{field}={value!r} is of type {type(value).__name__}; it must be of {kind.__name__}"
        )


def check(config: ConfigDict) -> None:
    """Refuses values outside their range, before anything is loaded.

    Raises:
        PromptError: names the field, what it holds and what is allowed.
    """
    check_fields(config)
    check_choices(config)
    tracking.check(config.tracker)
    for field in AT_LEAST_ONE:
        if config[field] < 1:
            raise PromptError(f"config.{field}={config[field]} must be at least 1")
    if config.data.shots < 1:
        raise PromptError(f"config.data.shots={config.data.shots} must be at least 1")
    if not 0 < config.learning_rate < math.inf:
        raise PromptError(f"config.learning_rate={config.learning_rate} must be a number above 0")
    if not 0 <= config.momentum < 1:
        raise PromptError(f"config.momentum={config.momentum} must be at least 0 and below 1")
    if not 0 <= config.weight_decay < math.inf:
        raise PromptError(f"config.weight_decay={config.weight_decay} must be a number, 0 or more")
    if not config.backbone:
        raise PromptError('config.backbone is empty: give "embedded", a folder, a file or a name')
    if ":" in config.data.name:
        raise PromptError(
            f"config.data.name={config.data.name}: say the part behind the colon as "
            "config.data.domain, or the whole in config.data.names"
        )
    titles.check(config)
    if config.data.frames < 1:
        raise PromptError(f"config.data.frames={config.data.frames} must be at least 1")
    _check_protocol_only(config)
    _check_videos_only(config)
    preprocessing.choose(config, on_videos(config))
    _check_optimizer(config)
    if not 0 <= config.clip_norm < math.inf:
        raise PromptError(f"config.clip_norm={config.clip_norm} must be a number, 0 or more")
    if not 0 <= config.seed < 2**32:
        raise PromptError(f"config.seed={config.seed} must be from 0 to 2^32 - 1")
    if not 0 <= config.memory_gb < math.inf:
        raise PromptError(f"config.memory_gb={config.memory_gb} must be a number, 0 or more")
    if config.cached_views < 0:
        raise PromptError(f"config.cached_views={config.cached_views} must be 0 or more")
    if config.data.num_workers < 0:
        raise PromptError(f"config.data.num_workers={config.data.num_workers} must be 0 or more")
    if config.data.num_threads < -1:
        raise PromptError(f"config.data.num_threads={config.data.num_threads} must be -1 or more")


def check_choices(config: ConfigDict) -> None:
    """Refuses what is in none of the tables that say what a field may hold.

    Raises:
        PromptError: names the field, what it holds and what is allowed.
    """
    for field, choices in CHOICES.items():
        value = _get(config, field)
        if value not in choices:
            raise unknown(f"value of config.{field}:", str(value), choices)
    others = [*protocols.split_names(config.data.names)]
    for name in [config.data.name, *others, *protocols.split_names(config.data.also_test)]:
        if datasets.split_domain(name)[0] not in datasets.TABLE:
            raise unknown("data set", name, datasets.TABLE)


def _check_protocol_only(config):
    """Refuses what the protocol would pass over."""
    if config.data.also_test and not protocols.by_captions(config):
        raise PromptError(
            f"config.data.also_test={config.data.also_test} is of config.protocol=retrieval; "
            f"{config.protocol} does not search"
        )
    if protocols.draws_shots(config):
        return
    if config.data.shots != default.get_config().data.shots:
        raise PromptError(
            f"config.data.shots={config.data.shots}: {config.protocol} draws no shots, but trains "
            "on all of a data set; leave it out, or list fewer videos"
        )


def _check_videos_only(config):
    """Refuses what images, or captions, would pass over; and what cannot be."""
    data, usual = config.data, default.get_config().data
    if data.views < 0:
        raise PromptError(f"config.data.views={data.views} must be 0 or more")
    fields: tuple[str, ...] = ()
    if not on_videos(config):
        fields, why = (*OF_VIDEOS, *OF_CLASSES_OF_VIDEOS), f"{data.name} holds images"
    elif protocols.by_captions(config):
        fields, why = OF_CLASSES_OF_VIDEOS, "retrieval knows no classes"
    if wrong := next((field for field in fields if data[field] != usual[field]), None):
        raise PromptError(f"config.data.{wrong}={data[wrong]}: {why}; leave it at {usual[wrong]!r}")
    if data.views and data.crop != usual.crop:
        raise PromptError(
            f"config.data.crop={data.crop}, and config.data.views={data.views}: a view has three "
            f"crops of its own; leave config.data.crop at {usual.crop!r}"
        )
    if data.mix and config.cached_views:
        raise PromptError(
            f"config.data.mix=True, and config.cached_views={config.cached_views}: videos whose "
            "features are kept cannot be mixed; set one of them to its default"
        )


def _check_optimizer(config):
    """Refuses what the optimizer or the schedule would pass over, or cannot be."""
    usual = default.get_config()
    betas = tuple(config.adam_betas)
    numbers = all(isinstance(beta, int | float) and 0 <= beta < 1 for beta in betas)
    if len(betas) != 2 or not numbers:
        raise PromptError(
            f"config.adam_betas={betas} must be two numbers, each at least 0 and below 1"
        )
    if betas != usual.adam_betas and config.optimizer != "adamw":
        raise PromptError(
            f"config.adam_betas={betas}: config.optimizer={config.optimizer} has none; leave it out"
        )
    if config.warmup_epochs < 0:
        raise PromptError(f"config.warmup_epochs={config.warmup_epochs} must be 0 or more")
    if config.warmup_epochs and config.schedule != "vifi":
        raise PromptError(
            f"config.warmup_epochs={config.warmup_epochs}: config.schedule={config.schedule} has "
            "its own warm-up or none; leave it at 0, or use config.schedule=vifi"
        )


def _get(config, path):
    for key in path.split("."):
        config = config[key]
    return config


def find_method(config: ConfigDict, name: str = "") -> methods.Method:
    """The config's method, or another one, as the config's protocol and data train it.

    Classes of videos are told apart by methods of videos, and by those of images, which see the
    mean over a video's frames. Zero-shot CLIP is one of the latter there.

    Raises:
        PromptError: there is none of that name, or it is for other protocols or data.
    """
    name = name or config.method
    if protocols.by_captions(config):
        return methods.retrieve(methods.get_encoders(name))
    if on_videos(config) and not methods.of_images(name):
        return methods.recognize(methods.get_encoders(name))
    return methods.get(name)


def on_videos(config: ConfigDict) -> bool:
    """Whether the config's data are videos."""
    return datasets.entry(config.data.name).kind == "videos"


def check_settings(config: ConfigDict) -> methods.Method:
    """Refuses settings that are not the method's, or of other types; returns the method.

    Raises:
        PromptError: names the settings, and the config that has the right ones.
    """
    method = find_method(config)
    file = f"images/method.py:{config.method}"
    if methods.outside.is_outside(config.method):
        file = f"images/few_shot.py:{config.method}"
    if methods.of_texts(config.method) and on_videos(config):
        file = f"video/{config.protocol}.py:{config.method}"
    advice = f"Use --config=experiments/configs/{file}"
    known = {field.name for field in dataclasses.fields(method.Settings)}
    wrong = sorted(set(config.settings) - known)
    if wrong:
        raise PromptError(
            f"config.settings has {', '.join(wrong)}, which {config.method} does not know; its "
            f"settings are {', '.join(sorted(known)) or 'none'}. {advice}"
        )
    missing = sorted(known - set(config.settings))
    if missing:
        raise PromptError(
            f"config.settings lacks {', '.join(missing)}, which {config.method} needs. {advice}"
        )
    for field, value in dataclasses.asdict(method.Settings()).items():
        _check_type(f"config.settings.{field}", config.settings[field], value)
    return method


def build_method(config: ConfigDict) -> tuple[methods.Method, Any]:
    """The method and its `Settings` from `config.method` and `config.settings`."""
    method = check_settings(config)
    if on_videos(config) and config.settings.get("frames", 0) not in (0, config.data.frames):
        raise PromptError(
            f"config.settings.frames={config.settings.frames}, and config.data.frames="
            f"{config.data.frames}: {config.method} learns something for each frame, so both must "
            f"be the same; give --config.settings.frames={config.data.frames} too"
        )
    if method.sees == "pairs" and config.batch_size < 2:
        raise PromptError(
            f"config.batch_size={config.batch_size}: {config.method} learns to tell the captions "
            "of a batch apart, so it must be at least 2"
        )
    if config.cached_views and method.sees == "pairs":
        raise PromptError(
            f"config.cached_views={config.cached_views}: features are kept of classes, and "
            "retrieval has none; set it to 0"
        )
    if config.cached_views and method.sees not in KEPT:
        raise PromptError(
            f"config.cached_views={config.cached_views}: the prompts of {config.method} change "
            "what the image tower computes, so its features cannot be kept; set it to 0"
        )
    if method.from_shots and config.cached_views < 1:
        raise PromptError(
            f"config.cached_views=0: {config.method} is made from the training images' features; "
            "say how many augmented views of each, 1 or more"
        )
    settings = method.Settings(**config.settings.to_dict())
    methods.check_bounds(settings)
    return method, settings


class Backbone(NamedTuple):
    """A loaded CLIP.

    Attributes:
        clip: what computes.
        frozen: its parameters.
        fingerprint: a short hash of sizes and parameters.
        assumed: what no file says of it, in lines for people.
        said: what its files say of how images are prepared.
    """

    clip: CLIP
    frozen: Frozen
    fingerprint: str
    assumed: tuple[str, ...] = ()
    said: Said = NOTHING


def build_backbone(config: ConfigDict, activation: str | None = None) -> Backbone:
    """Loads `config.backbone`.

    Args:
        config: of a run.
        activation: see `unsaid` of `clip.loading.read`.
    """
    sizes, frozen, assumed = loading.read(config.backbone, config.activation or None, activation)
    fingerprint = loading.fingerprint(sizes, frozen)
    arrays = jax.tree.map(jnp.asarray, frozen)
    said = loading.read_preprocessing(config.backbone, sizes.image_size)
    return Backbone(make_clip(config, sizes), arrays, fingerprint, assumed, said)


def make_clip(config: ConfigDict, sizes: CLIPConfig) -> CLIP:
    """A CLIP of these sizes that computes as the config says."""
    memory = math.ceil(config.memory_gb * 1e9) or default_budget()
    dtype = jnp.dtype(config.dtype)
    return CLIP(sizes, dtype, memory, jax.device_count(), config.precision)
