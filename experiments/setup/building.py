"""Checks a config as a whole, and builds its backbone, method and tasks."""

import dataclasses
import itertools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from data_pipelines import datasets
from data_pipelines.examples import Dataset
from experiments.config.config import FIELDS, Config, read
from experiments.record import tracking
from experiments.setup import preprocessing, protocols, titles
from experiments.setup.batches import check_frames
from prompt_jax import methods
from prompt_jax.cli import hosts
from prompt_jax.clip import CLIP, CLIPConfig, Frozen, loading
from prompt_jax.clip.blocks import Attention
from prompt_jax.clip.checkpoints.preprocessing import NOTHING, Declared
from prompt_jax.clip.layers import scans
from prompt_jax.clip.memory import default_budget
from prompt_jax.errors import PromptError, check_type, unknown
from prompt_jax.mesh import parse_mesh, read_axes
from prompt_jax.methods import Method, Task
from prompt_jax.methods.method import KEPT
from prompt_jax.text.class_names import Classes
from prompt_jax.text.class_texts import Texts
from prompt_jax.training.sharding import Placement, find_devices

Predicate = Callable[[Config], bool]

# (fields, condition, reason): the fields must keep their defaults unless the condition holds.
CONDITIONS: tuple[tuple[tuple[str, ...], Predicate, str], ...] = (
    (
        (
            *("data.augment", "data.crop", "data.frame_stats", "data.mix", "data.views"),
            *("data.test_frames", "data.test_passes"),
        ),
        lambda config: config.data.on_videos,
        "{config.data.name} holds images",
    ),
    (
        ("data.mix", "data.views"),
        lambda config: not config.protocol_spec.by_captions,
        "retrieval has no classes",
    ),
    (
        ("calibrate",),
        lambda config: not config.protocol_spec.by_captions and config.protocol_spec.reads_labels,
        "config.protocol={config.protocol} has no labeled images to choose a temperature on",
    ),
    (
        ("data.also_test",),
        lambda config: config.protocol_spec.by_captions,
        "only config.protocol=retrieval searches videos, not {config.protocol}",
    ),
    (
        ("data.shots",),
        lambda config: config.protocol_spec.draws_shots,
        "{config.protocol} draws no shots; it trains on all examples of a data set",
    ),
    (
        ("adam_betas",),
        lambda config: config.optimizer == "adamw",
        "config.optimizer={config.optimizer} does not use them",
    ),
    (
        ("warmup_epochs",),
        lambda config: config.schedule in ("vifi", "coop", "warmup_cosine"),
        "config.schedule={config.schedule} has no warm-up; only vifi, coop and warmup_cosine do",
    ),
)


def check(config: ConfigDict | Config) -> Config:
    """Returns the typed config of one run, fully checked before anything is loaded.

    Raises:
        PromptError: names the field, its value and what is allowed.
    """
    config = read(config)
    check_names(config)
    tracking.check(config.tracker)
    read_axes(config.mesh, "config.mesh")
    data = config.data
    if not config.backbone:
        raise PromptError(
            'config.backbone is empty: give "embedded", a directory, a file or a name'
        )
    if config.epochs < 1:
        raise PromptError(f"config.epochs={config.epochs} must be at least 1")
    if ":" in data.name:
        raise PromptError(
            f"config.data.name={data.name}: give the part after the colon as config.data.domain, "
            "or the whole name in config.data.names"
        )
    titles.check(config.data)
    for names, applies, why in CONDITIONS:
        if not applies(config):
            refuse_changed(config, names, why.format(config=config))
    if data.views and data.crop != FIELDS["data.crop"].default:
        raise PromptError(
            f"config.data.crop={data.crop} and config.data.views={data.views}: each view has "
            f"three fixed crops; leave config.data.crop at {FIELDS['data.crop'].default!r}"
        )
    if data.views and data.test_passes > 1:
        raise PromptError(
            f"config.data.test_passes={data.test_passes} and config.data.views={data.views}: the "
            "frames of views are drawn; leave one of them at its default"
        )
    if data.mix and config.cached_views:
        raise PromptError(
            f"config.data.mix=True and config.cached_views={config.cached_views}: videos whose "
            "features are cached cannot be mixed; set one of them to its default"
        )
    preprocessing.choose(config.data)
    return config


def refuse_changed(config: Config, names: Sequence[str], why: str) -> None:
    """Raises a PromptError, which says why, if fields differ from their defaults."""
    for name in names:
        value, usual = operator.attrgetter(name)(config), FIELDS[name].default
        if value != usual:
            raise PromptError(f"config.{name}={value}: {why}; leave it at {usual!r}")


def check_names(config: Config) -> None:
    """Raises a PromptError if a data set of the config does not exist."""
    others = (config.data.names, config.data.also_test)
    for name in (config.data.name, *itertools.chain(*map(protocols.split_names, others))):
        if datasets.split_domain(name)[0] not in datasets.TABLE:
            raise unknown("data set", name, datasets.TABLE)


def find_method(config: Config, name: str = "") -> methods.Method:
    """Returns the method `name`, by default the config's, for its protocol and kind of data.

    Image methods, among them zero-shot CLIP, classify videos by the mean over their frames.

    Raises:
        PromptError: the method does not exist, or does not support the protocol or data.
    """
    name = name or config.method
    if config.protocol_spec.by_captions:
        return methods.retrieve(methods.get_encoders(name))
    if config.data.on_videos and not methods.of_images(name):
        return methods.recognize(methods.get_encoders(name))
    return methods.get(name)


def check_settings(config: Config) -> methods.Method:
    """Checks the names and types of `config.settings`; returns the method.

    Raises:
        PromptError: a setting is unknown, missing or of another type; suggests a config.
    """
    method = find_method(config)
    file = f"images/method.py:{config.method}"
    if methods.outside.is_outside(config.method):
        file = f"images/few_shot.py:{config.method}"
    if methods.of_texts(config.method) and config.data.on_videos:
        file = f"video/{config.protocol}.py:{config.method}"
    advice = f"Use --config=experiments/configs/{file}"
    known = {field.name for field in dataclasses.fields(method.Settings)}
    if wrong := sorted(set(config.settings) - known):
        raise PromptError(
            f"config.settings has {', '.join(wrong)}, which {config.method} does not have; its "
            f"settings are {', '.join(sorted(known)) or 'none'}. {advice}"
        )
    if missing := sorted(known - set(config.settings)):
        raise PromptError(
            f"config.settings lacks {', '.join(missing)}, which {config.method} needs. {advice}"
        )
    for field, value in dataclasses.asdict(method.Settings()).items():
        check_type(f"config.settings.{field}", config.settings[field], type(value))
    return method


def build_method(config: Config) -> tuple[methods.Method, Any]:
    """Returns the method and its `Settings`, checked with the rest of the config."""
    method = check_settings(config)
    check_frames(config, method)
    if method.objective == "pairs" and config.batch_size < 2:
        raise PromptError(
            f"config.batch_size={config.batch_size}: {config.method} is trained to match "
            "the videos and captions of a batch, so it must be at least 2"
        )
    if config.cached_views and method.objective == "pairs":
        raise PromptError(
            f"config.cached_views={config.cached_views}: features are cached for classes, and "
            "retrieval has none; set it to 0"
        )
    if config.cached_views and method.input not in KEPT:
        raise PromptError(
            f"config.cached_views={config.cached_views}: the prompts of {config.method} change "
            "the output of the image tower, so its features cannot be cached; set it to 0"
        )
    if method.adaptation and config.cached_views < 1:
        raise PromptError(
            f"config.cached_views=0: {config.method} is computed from the training images' "
            "features; set it to the number of augmented views per image, at least 1"
        )
    settings = method.Settings(**config.settings)
    methods.check_bounds(settings)
    return method, settings


class Backbone(NamedTuple):
    """A loaded CLIP.

    Attributes:
        clip: the model.
        frozen: its parameters.
        fingerprint: short hash of sizes and parameters.
        assumed: lines to print about settings that no file states.
        declared: preprocessing that its files state.
    """

    clip: CLIP
    frozen: Frozen
    fingerprint: str
    assumed: tuple[str, ...] = ()
    declared: Declared = NOTHING


def build_backbone(
    config: Config, activation: str | None = None, method: Method | None = None
) -> Backbone:
    """Loads `config.backbone`.

    Args:
        config: config of a run.
        activation: see `default_activation` of `clip.loading.read`.
        method: the method to train, if any.
    """
    sizes, frozen, assumed = loading.read(config.backbone, config.activation or None, activation)
    fingerprint = loading.fingerprint(sizes, frozen)
    clip = make_clip(config, sizes, make_placement(config).mesh)
    exact = method is not None and method.copies_weights
    arrays = jax.tree.map(jnp.asarray, clip.arrange(frozen, exact=exact))
    declared = loading.read_preprocessing(config.backbone, sizes.image_size)
    return Backbone(clip, arrays, fingerprint, assumed, declared)


def _least(budgets: Sequence[int | None]) -> int | None:
    """Returns the least memory of all hosts, which must compile the same programs."""
    return min((budget for budget in budgets if budget), default=None)


def make_clip(config: Config, sizes: CLIPConfig, mesh: Mesh) -> CLIP:
    """Returns a CLIP of these sizes with the precision, memory and layers of the config."""
    memory = math.ceil(config.memory_gb * 1e9) or _least(hosts.gather("memory", default_budget()))
    dtype = jnp.dtype(config.dtype)
    scan = scans(jax.default_backend()) if config.layers == "auto" else config.layers == "scan"
    return CLIP(
        sizes,
        dtype,
        memory,
        mesh,
        precision=config.precision,
        shard_frozen=config.shard_frozen,
        scan_layers=scan,
        attention=cast(Attention, config.attention),
    )


def make_placement(config: Config) -> Placement:
    """Returns the placement of arrays on the mesh of the config.

    Raises:
        PromptError: the mesh does not fit the devices.
    """
    mesh = parse_mesh(config.mesh, find_devices(), "config.mesh")
    return Placement(mesh, config.shard_frozen)


def make_tests(
    config: Config,
    method: Method,
    settings: Any,
    backbone: Backbone,
    placement: Placement,
    tests: Mapping[str, Dataset],
    known: Classes,
    texts: Texts | None = None,
) -> tuple[dict[str, list[Task]], list[Method]]:
    """Returns tasks of the method and of zero-shot CLIP by test set; see `Testable`.

    Args:
        config: config of the run; its protocol selects the kind of zero-shot CLIP.
        method, settings: method under test.
        backbone, placement: the backbone, and the placement of its parameters on devices.
        tests: test sets by key.
        known: classes that the prompts are trained on.
        texts: see `loading.read_texts`.

    Raises:
        PromptError: the method cannot distinguish some of the classes; see `methods.make_task`.
    """
    compared = {method: settings}
    zero_shot = find_method(config, "zero_shot")
    compared.setdefault(zero_shot, zero_shot.Settings())
    made = {
        key: [
            make_task(tested, chosen, backbone, placement, dataset, known, texts)
            for tested, chosen in compared.items()
        ]
        for key, dataset in tests.items()
    }
    return made, list(compared)


def make_task(
    method: Method,
    settings: Any,
    backbone: Backbone,
    placement: Placement,
    dataset: Dataset,
    known: Classes,
    texts: Texts | None = None,
) -> Task:
    """Returns the task of a method on the classes of a data set; see `make_tests`."""
    names, ids = Classes(()) if method.objective == "pairs" else dataset.classes
    index = methods.index_trained(known.names, names, known.ids, ids)
    tower = methods.tower_for(method, backbone.clip, dataset.kind)
    made = methods.make_task(
        method, tower, backbone.frozen, names, settings, dataset.template, index, texts
    )
    return placement.put_task(made)
