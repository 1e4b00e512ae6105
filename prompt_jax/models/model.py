"""The front door: a CLIP, with trained prompts or without, that looks at images and says what."""

import dataclasses
import functools
import os
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prompt_jax import methods
from prompt_jax.cli import progress
from prompt_jax.clip import CLIP, Frozen, loading, normalize, tokenizer
from prompt_jax.clip.captions import tokenize_captions
from prompt_jax.errors import ArgumentError, BadImage, PromptError
from prompt_jax.evaluation import programs
from prompt_jax.evaluation.predictions import Predictions, only_one, refuse_no_numbers
from prompt_jax.evaluation.programs import OF_IMAGES, compiled
from prompt_jax.evaluation.retrieval import text_batches
from prompt_jax.inputs.batching import in_batches, sizes_for
from prompt_jax.inputs.given import PATHS, Inputs, as_items, prepare
from prompt_jax.methods import Method, Prompts, Task
from prompt_jax.models import saved
from prompt_jax.prompts import PHOTO, encode_templates
from prompt_jax.storage.files import filling, is_free
from prompt_jax.text.class_names import check_names, describe_repeated, repeated
from prompt_jax.training.sharding import Placement

BATCH_SIZE = 64
MANY = 256  # images or videos from which on a bar is shown
TASKS_KEPT = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A frozen CLIP, its method and prompts.

    What computes is compiled at the first call for a number of images and classes, and then kept:
    batches come in few sizes. All devices are used.

    Attributes:
        name: the method's, from the tables of methods.
        method, settings, prompts: what was trained; zero-shot CLIP has no prompts.
        clip, frozen: the backbone.
        inputs: how images or videos are prepared.
        class_names: those that the prompts were trained on; none of a bare backbone, and of one
            that was trained on captions.
        template: the text of a class, "{}" for its name, where the method has no own.
        trained, backbone, activation, task: see `saved.Saved`; assumed: `clip.loading.Checkpoint`.
        texts: of zero-shot CLIP, several templates to average over.
        class_ids: see `saved.Saved`.
    """

    name: str
    method: Method
    settings: Any
    prompts: Prompts
    clip: CLIP
    frozen: Frozen
    inputs: Inputs
    class_names: tuple[str, ...] = ()
    template: str = PHOTO
    trained: dict[str, Any] = dataclasses.field(default_factory=dict)
    backbone: str = ""
    activation: str = ""
    task: str = "classes"
    texts: tuple[str, ...] = ()
    class_ids: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    _tasks: dict[Any, tuple[Task, Any]] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        """The method, and of how many classes."""
        classes = f", {len(self.class_names)} classes" if self.class_names else ""
        seen = f"{self.inputs.kind}s of {self.inputs.image_size} pixels"
        return f"Model({self.name}{classes}, {seen})"

    def preprocess(self, image: Any) -> np.ndarray:
        """One image float32[S, S, 3], or video float32[F, S, S, 3], as the image tower takes it.

        Args:
            image: see `inputs.given`.

        Raises:
            BadImage: a file cannot be read.
            PromptError: it is no image, or an array that none can be.
        """
        [item] = as_items(image, self.inputs)
        out = np.empty(self.inputs.shape, np.float32)
        prepare(item, self.inputs, out)
        return out

    def tokenize(self, texts: Sequence[str] | str) -> np.ndarray:
        """Token ids int32[N, 77] with SOS and EOT, padded with zeros.

        Raises:
            PromptError: a text does not fit.
        """
        return tokenizer.tokenize(_listed(texts), self.clip.config.context_length)

    def encode_images(self, images: Any, batch_size: int = BATCH_SIZE) -> np.ndarray:
        """Features float32[P, d] of images or videos, L2-normalised.

        They are frozen CLIP's; of a method with two encoders (VoP, ViLT-CLIP, …) its own, under its
        prompts, to be compared with those of `encode_texts`.

        Args:
            images: one or several, see `inputs.given`.
            batch_size: how many at once, at most.

        Raises:
            BadImage: a file cannot be read.
            PromptError: an array is not what an image can be.
        """
        encoders = methods.of_texts(self.name) if self.method.input not in OF_IMAGES else None
        if encoders:
            task, _ = self._without_classes
            run = functools.partial(compiled(encoders.encode_videos), self.prompts, task)
        else:
            run = functools.partial(programs.encode_images, self._tower, self.frozen)
        items = as_items(images, self.inputs)
        return self._run(items, run, batch_size)[0]

    def encode_texts(self, texts: Sequence[str] | str) -> np.ndarray:
        """Features float32[N, d] of texts, L2-normalised; see `encode_images`.

        Raises:
            PromptError: a text does not fit.
        """
        listed = _listed(texts)
        if not listed:
            return np.zeros((0, self.clip.config.embed_dim), np.float32)
        if self.method.input in OF_IMAGES or not (encoders := methods.of_texts(self.name)):
            tokens = jnp.asarray(self.tokenize(listed))
            return np.asarray(programs.encode_texts(self.clip, self.frozen, tokens))
        task, _ = self._without_classes
        room = self.clip.config.context_length
        rows = tokenize_captions(listed, encoders.text_prompts(self.settings), room).tokens
        run = compiled(encoders.encode_texts)
        size = min(BATCH_SIZE, max(len(rows), 1))
        found = [np.asarray(run(self.prompts, task, each)) for each in text_batches(rows, size)]
        return np.concatenate(found)[: len(rows)]

    def zero_shot(
        self, names: Sequence[str], templates: Sequence[str] | str | None = None
    ) -> "Model":
        """Zero-shot CLIP for these classes, without prompts.

        Args:
            names: K class names.
            templates: the text of a class, "{}" for its name; of several the features are averaged.
                None for the model's own: "a photo of a {}." of a bare backbone, of videos "a video
                of a {}.".
        """
        asked = self.template if templates is None else templates
        texts = (asked,) if isinstance(asked, str) else tuple(asked)
        if not texts:
            raise PromptError(f"templates is empty; give at least one, such as {PHOTO!r}")
        method = methods.get("zero_shot")
        model = dataclasses.replace(
            self,
            name="zero_shot",
            method=method,
            settings=method.Settings(),
            prompts={},
            class_names=tuple(names),
            class_ids=(),
            template=texts[0],
            texts=texts if len(texts) > 1 else (),
            trained={},
            task="classes",
            _tasks={},
        )
        model._task_of(self._names(names))  # names that cannot be encoded are met here
        return model

    def predict(
        self,
        images: Any,
        classes: Sequence[str] | None = None,
        top_k: int = 5,
        batch_size: int = BATCH_SIZE,
        on_error: Callable[[BadImage], None] | None = None,
        quiet: bool = False,
    ) -> Predictions:
        """What images or videos show.

        Args:
            images: one or several, see `inputs.given`.
            classes: names to choose from; None for those that the prompts were trained on.
            top_k: how many each `Prediction` lists.
            batch_size: how many at once, at most.
            on_error: is told of a file that cannot be read, which then has no classes, NaN for
                logits and label -1; None lets the error end it.
            quiet: shows no bar, however many they are.

        Raises:
            BadImage: a file cannot be read.
            PromptError: an array is not what an image can be, there are no classes, or the method
                cannot tell these apart.
        """
        _check_number("top_k", top_k)
        _check_number("batch_size", batch_size)
        if on_error is not None and not callable(on_error):
            raise PromptError(f"on_error={on_error!r} must be a function of an error, or None")
        names = self._names(classes)
        task, prepared = self._task_of(names)
        items = as_items(images, self.inputs)
        program = programs.logits(self.method)
        if len(names) == 1:
            program = programs.logits_and_cosine(self.name, self.method)
        run = functools.partial(program, self.prompts, prepared, task)
        logits, errors = self._run(items, run, batch_size, on_error, quiet)
        sources = tuple(
            os.fspath(item) if isinstance(item, PATHS) else f"#{number}"
            for number, item in enumerate(items)
        )
        logits, cosines = np.moveaxis(logits, 1, 0), None
        refuse_no_numbers(logits, errors)
        if len(names) == 1:
            warnings.warn(only_one(names[0]), stacklevel=2)
            logits, cosines = logits[:-1], logits[-1, :, 0]
        return Predictions(sources, names, logits, top_k, errors, cosines)

    def save(self, folder: str | os.PathLike) -> pathlib.Path:
        """Writes model.json and prompts.safetensors, which `load` reads; the backbone is not in it.

        Args:
            folder: a new or empty one.

        Returns:
            the folder.

        Raises:
            PromptError: the folder holds something, or templates are averaged, which is not kept.
        """
        if self.texts:
            raise PromptError(f"an average of {len(self.texts)} templates is not kept; give one")
        path = pathlib.Path(folder)
        if not is_free(path):
            raise PromptError(f"{path} is there already; name a new or empty folder")
        with filling(path) as aside:
            saved.write(aside, self._as_saved())
        return path

    def _as_saved(self):
        config, frozen = self.clip.config, jax.tree.map(np.asarray, self.frozen)
        return saved.Saved(
            method=self.name,
            kind=f"{self.inputs.kind}s",
            task=self.task,
            settings=dataclasses.asdict(self.settings),
            class_names=self.class_names,
            template=self.template,
            backbone=self.backbone,
            backbone_hash=loading.fingerprint(config, frozen),
            activation=self.activation,
            dtype=self.clip.dtype.name,
            precision=self.clip.precision,
            sizes=config,
            inputs=self.inputs,
            trained={"assumed": list(self.assumed), **self.trained},
            prompts=jax.tree.map(np.asarray, self.prompts),
            class_ids=self.class_ids,
        )

    def _names(self, classes):
        names = self.class_names if classes is None else classes
        if not len(names):
            raise ArgumentError(
                "there are no classes to choose from",
                "give {}, names of what may be seen",
                "classes",
            )
        check_names(names, self.class_names, may_repeat=True)
        if not self.class_names and (same := repeated(names)):
            warnings.warn(describe_repeated(names, same), stacklevel=3)
        return tuple(names)

    def _task_of(self, names):
        """The task over these classes, and what no image changes of it; the last few are kept."""
        names = tuple(names)
        if names not in self._tasks:
            index = methods.index_trained(self.class_names, names)
            task = methods.make_task(
                self.method, self._tower, self.frozen, names, self.settings, self.template, index
            )
            if self.texts:
                texts = encode_templates(self.clip, self.frozen, self.texts, names)
                task = dataclasses.replace(task, constants=normalize(texts))
            while len(self._tasks) >= TASKS_KEPT:
                self._tasks.pop(next(iter(self._tasks)))
            self._tasks[names] = (task, compiled(self.method.prepare)(self.prompts, task))
        return self._tasks[names]

    @property
    def _tower(self):
        """The backbone as the method sees it: of images, on videos, the mean over their frames."""
        return methods.tower_for(self.method, self.clip, f"{self.inputs.kind}s")

    @property
    def _without_classes(self):
        """A task for texts that are no classes."""
        if None not in self._tasks:
            encoders = methods.retrieve(methods.get_encoders(self.name))
            task = methods.make_task(encoders, self.clip, self.frozen, (), self.settings)
            self._tasks[None] = (task, None)
        return self._tasks[None]

    def _run(self, items, run, batch_size, on_error=None, quiet=False):
        """What `run` says of each image, NaN of one that cannot be read; the errors by place."""
        _check_number("batch_size", batch_size)
        placement = Placement()
        errors: dict[int, BadImage] = {}
        sizes = sizes_for(batch_size, placement.devices)
        silent = quiet or len(items) < MANY
        title = f"{self.name} on {self.inputs.kind}s"
        done, waiting, out = 0, None, None
        if not items:
            blank = jax.ShapeDtypeStruct((1, *self.inputs.shape), jnp.float32)
            return np.zeros((0, *jax.eval_shape(run, blank).shape[1:]), np.float32), errors
        with progress.silence() if silent else progress.bar(title, len(items)) as advance:
            for batch in in_batches(items, self.inputs, sizes, on_error):
                errors |= batch.errors
                found = run(placement.split(batch.images))
                # The device computes this batch while the next ones are read.
                if waiting is not None:
                    _put(out, *waiting)
                else:
                    out = np.full((len(items), *found.shape[1:]), np.nan, np.float32)
                waiting = (batch.places, found)
                done += len(batch.places) + len(batch.errors)
                advance(done, "")
            if waiting is not None:
                _put(out, *waiting)
        return out, errors


def _check_number(field, value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise PromptError(f"{field}={value!r} must be a whole number, at least 1")


def _put(out, places, found):
    out[places] = np.asarray(found, np.float32)[: len(places)]


def _listed(texts):
    return [texts] if isinstance(texts, str) else list(texts)
