"""Loads the method and backbone of a run, and finds out whether it is finished."""

import dataclasses
import functools
import pathlib
import time
from typing import Any

from ml_collections import ConfigDict

from data_pipelines import datasets
from data_pipelines.errors import DataError
from data_pipelines.layouts import emoji_scenes
from experiments.config.config import Config
from experiments.record import workdir
from experiments.record.identity import as_json, identify, refuse_other_results
from experiments.setup import building, plans, preprocessing, protocols, starting, titles
from experiments.setup.plans import Plan
from prompt_jax import methods
from prompt_jax.cli import interrupts
from prompt_jax.clip import CLIP
from prompt_jax.errors import PromptError
from prompt_jax.inputs.images.preprocessing import Preprocessing
from prompt_jax.models import saved
from prompt_jax.models.saved import Saved
from prompt_jax.text import embedded, text_files
from prompt_jax.text.class_texts import CAPTIONS, CLASSES, KINDS, Texts
from prompt_jax.training import labeling
from prompt_jax.training.labeling import Second
from prompt_jax.training.sharding import Placement


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A run with its method and backbone; its data is read on first use.

    Attributes:
        folder: run directory.
        began: start time, by `time.perf_counter`.
        results: results in the directory, possibly of another run; None if there are none.
        start: the model that provides the initial prompts, if any.
        preprocessing: preprocessing of its images.
        texts: texts of classes that the method reads, if any.
        second: the second backbone, if the method labels training images by one.
        notes: notes to print about the preprocessing.
    """

    config: Config
    folder: pathlib.Path
    began: float
    results: dict[str, Any] | None
    method: methods.Method
    settings: Any
    backbone: building.Backbone
    placement: Placement
    start: Saved | None
    preprocessing: Preprocessing
    notes: tuple[str, ...]
    texts: Texts | None
    second: Second | None

    @functools.cached_property
    def plan(self) -> Plan:
        """Returns the data of the run; raises a DataError if data is missing or malformed."""
        image_size = self.backbone.clip.config.image_size
        uses_validation = self.method.adaptation is not None or self.config.calibrate
        share = self.placement.share
        return plans.build(self.config, image_size, uses_validation, self.preprocessing, share)

    def identity(self, images: dict[str, Any] | None) -> dict[str, Any]:
        """Returns the identity of the run; see `identify`."""
        start = saved.digest(self.start.prompts) if self.start else ""
        return identify(
            as_json(self.config),
            self.backbone.fingerprint,
            images,
            start,
            preprocessing.written(self.preprocessing, self.config.data),
            self.texts.digest if self.texts else "",
            self.second.fingerprint if self.second else "",
        )


def load(
    config: ConfigDict | Config,
    folder: pathlib.Path,
    backbone: building.Backbone | None = None,
    prepared: Preprocessing | None = None,
) -> Loaded:
    """Checks a config and loads its backbone.

    Args:
        config: config of the run.
        folder: run directory.
        backbone: the config's backbone, if it is already loaded.
        prepared: preprocessing of the images, if it is known.
    """
    began = time.perf_counter()
    config = building.check(config)
    results = workdir.read_results(folder)
    placement = building.make_placement(config)
    if results is None:
        for field in ("batch_size", "eval_batch_size"):
            placement.check(field, getattr(config, field))
    method, settings = building.build_method(config)
    check_labels(config, method)
    texts = read_texts(config, method)
    start = starting.read(config, method)
    # Earlier versions assumed "gelu" for a bare state dict; their runs must resume.
    activation = "gelu" if workdir.is_begun(folder) else None
    backbone = backbone or building.build_backbone(config, activation, method)
    second = _read_second(config, method, backbone.clip)
    if start:
        starting.check_backbone(config, start, backbone.fingerprint)
        saved.check_sizes(start, backbone.clip.config, config.backbone)
    notes: list[str] = []
    if prepared is None:
        size = backbone.clip.config.image_size
        prepared, notes = preprocessing.resolve(config, backbone.declared, size)
        notes += starting.preprocessing_notes(start, prepared)
    return Loaded(
        config,
        folder,
        began,
        results,
        method,
        settings,
        backbone,
        placement,
        start,
        prepared,
        tuple(notes),
        texts,
        second,
    )


def check_labels(config: Config, method: methods.Method) -> None:
    """Checks that the protocol withholds labels from a method that labels images itself.

    Raises:
        PromptError: it does not, or a second backbone is named for another method.
    """
    if method.labeling is None:
        why = f"{config.method} uses no second backbone"
        building.refuse_changed(config, ("second_backbone",), why)
    elif config.protocol_spec.reads_labels or config.data.on_videos:
        raise PromptError(
            f"config.protocol={config.protocol}: {config.method} trains on images without their "
            "labels; use --config.protocol=unlabeled and a data set of images"
        )


def _read_second(config: Config, method: methods.Method, clip: CLIP) -> Second | None:
    if method.labeling is None:
        return None
    try:
        return labeling.read_second(config.second_backbone, clip)
    except PromptError as error:
        raise PromptError(f"config.second_backbone: {error}") from error


def finished(run: Loaded) -> dict[str, Any] | None:
    """Returns the results of a finished run, None if training or tests remain.

    Raises:
        PromptError: the directory holds results of another run, or of other images.
    """
    if run.results is None:
        return None
    texts_file = run.config.texts if run.texts else ""
    try:
        plan = run.plan
    except DataError as error:
        refuse_other_results(run.folder, run.identity(None), run.results, texts_file)
        asked = protocols.split_names(run.config.data.names)
        if not {titles.title_of(run.config.data, key) for key in asked} <= set(
            run.results["accuracy"]
        ):
            raise  # some targets have not been tested
        print(f"already finished, not compared with the data: {str(error).splitlines()[0]}")
        return run.results
    refuse_other_results(run.folder, run.identity(plan.hashes), run.results, texts_file)
    if not set(plan.tests) <= set(run.results["accuracy"]):
        return None  # targets were added
    print(f"already finished: {run.folder / 'results.json'}")
    interrupts.record_saved()
    return run.results


def read_texts(config: Config, method: methods.Method) -> Texts | None:
    """Returns the texts of classes that the method reads, None if it reads none.

    Raises:
        PromptError: they cannot be read, or the method reads none and the config names some.
    """
    if not method.texts:
        why = f"{config.method} reads no texts of classes"
        building.refuse_changed(config, ("texts",), why)
        return None
    if config.texts == text_files.EMBEDDED and not config.data.name.startswith("emoji_"):
        raise PromptError(
            f"config.texts=embedded holds texts of emoji_scenes and emoji_clips, not of "
            f"{config.data.name}: {config.method} reads {KINDS[method.texts]}; pass a file "
            "(docs/texts.md)"
        )
    try:
        if config.texts == text_files.EMBEDDED and method.texts == CAPTIONS:
            return _embedded_captions(config)
        return text_files.read(config.texts, method.texts)
    except PromptError as error:
        raise PromptError(f"config.texts: {error}") from error


def _embedded_captions(config: Config) -> Texts:
    """Returns the captions of all training scenes, with the sentences of the classes."""
    if datasets.split_domain(config.data.name)[0] != "emoji_scenes":
        raise PromptError(f"there are no embedded captions of {config.data.name}; pass a file")
    scenes = plans.load_dataset(config.data, config.data.key, 0).train
    content = {
        "captions": emoji_scenes.captions_of(scenes),
        "classes": embedded.content(CLASSES),
    }
    return text_files.from_content(content, CAPTIONS, text_files.EMBEDDED)
