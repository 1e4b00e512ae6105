"""Predicts classes and encodes images, videos and texts with a CLIP, prompted or not."""

import dataclasses
import functools
import os
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from prompt_jax import methods
from prompt_jax.clip import CLIP, Frozen, tokenizer
from prompt_jax.clip.vocabulary.captions import tokenize_captions
from prompt_jax.errors import ArgumentError, PromptError
from prompt_jax.evaluation import class_lists, confidence, programs
from prompt_jax.evaluation.predictions import Predictions, check_finite, describe_single_class
from prompt_jax.evaluation.programs import compiled
from prompt_jax.evaluation.retrieval import text_batches
from prompt_jax.indexing import searching
from prompt_jax.inputs.batching import OnError
from prompt_jax.inputs.preparation import Inputs, as_items, prepare
from prompt_jax.methods import Method, Prompts, Task
from prompt_jax.methods.method import OF_IMAGES
from prompt_jax.models import running, saved
from prompt_jax.prompts import PHOTO
from prompt_jax.text import text_files
from prompt_jax.text.class_names import check_names, describe_repeated, repeated
from prompt_jax.text.class_texts import PASS, Texts

BATCH_SIZE = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A frozen CLIP with a method and its prompts.

    Programs are compiled at the first call for a batch size and number of classes, and cached.
    There are few of both: other numbers are padded. All devices are used.

    Attributes:
        name: name of the method.
        method, settings, prompts: the trained method; zero-shot CLIP has no prompts.
        clip, frozen: the backbone.
        inputs: preprocessing of images or videos.
        class_names: classes of the training; empty for a bare backbone and after captions.
        template: text of a class, with "{}" for its name, unless the method has its own.
        trained, backbone, activation, task, class_ids: see `saved.Saved`.
        texts: templates that zero-shot CLIP averages over, if several.
        class_texts: texts of classes that the method reads, if any.
        assumed: see `clip.loading.Checkpoint`.
        temperature: number that logits are divided by before the softmax, chosen on held-out images
            (`fit(calibrate=…)`); 1 for a bare backbone.
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
    class_texts: Texts | None = None
    temperature: float = 1.0
    _tasks: dict[Any, tuple[Task, Any]] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        """Shows the method, the number of classes and the input size."""
        classes = f", {len(self.class_names)} classes" if self.class_names else ""
        seen = f"{self.inputs.kind}s of {self.inputs.image_size} pixels"
        return f"Model({self.name}{classes}, {seen})"

    def preprocess(self, image: Any) -> np.ndarray:
        """Returns one image float32[S, S, 3], or video float32[F, S, S, 3], preprocessed.

        Args:
            image: see `inputs.preparation`.

        Raises:
            BadImage: a file cannot be read.
            PromptError: it is not an image, or an array of an invalid shape or type.
        """
        [item] = as_items(image, self.inputs)
        out = np.empty(self.inputs.shape, np.float32)
        prepare(item, self.inputs, out)
        return out

    def tokenize(self, texts: Sequence[str] | str) -> np.ndarray:
        """Returns token ids int32[N, 77] with SOS and EOT, padded with zeros.

        Raises:
            PromptError: a text is too long.
        """
        return tokenizer.tokenize(_listed(texts), self.clip.config.context_length)

    def encode_images(
        self, images: Any, batch_size: int = BATCH_SIZE, on_error: OnError | None = None
    ) -> np.ndarray:
        """Returns features float32[P, d] of images or videos, L2-normalized.

        Methods with a video and a text encoder (VoP, ViLT-CLIP, …) use their prompts; for all
        others, features are those of the frozen CLIP. Compare them with those of `encode_texts`.

        Args:
            images: one or several, see `inputs.preparation`.
            batch_size: images per step, at most.
            on_error: see `predict`; the features of what cannot be read are NaN.

        Raises:
            BadImage: a file cannot be read, and `on_error` is None.
            PromptError: an array has an invalid shape or type, and `on_error` is None.
        """
        if encoders := self.encoders:
            task, _ = self._without_classes
            run = functools.partial(compiled(encoders.encode_videos), self.prompts, task)
        else:
            run = functools.partial(programs.encode_images, self._tower, self.frozen)
        return self._run(images, run, batch_size, on_error)[1]

    def encode_texts(self, texts: Sequence[str] | str) -> np.ndarray:
        """Returns features float32[N, d] of texts, L2-normalized; see `encode_images`.

        Raises:
            PromptError: a text is too long.
        """
        listed = _listed(texts)
        if not listed:
            return np.zeros((0, self.clip.config.embed_dim), np.float32)
        if not (encoders := self.encoders):
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
        """Returns zero-shot CLIP for these classes, without prompts.

        Args:
            names: K class names.
            templates: one or several texts with "{}" for the class name; features of several are
                averaged. None: the model's own, which for a bare backbone is "a photo of a {}.",
                or "a video of a {}." for videos.

        Raises:
            PromptError: there are no templates, or a name cannot be encoded.
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
            class_texts=None,
            temperature=1.0,
            trained={},
            task="classes",
            _tasks={},
        )
        model._task_of(self._names(names))  # raises if a name cannot be encoded
        return model

    def predict(
        self,
        images: Any,
        classes: Sequence[str] | None = None,
        top_k: int = 5,
        batch_size: int = BATCH_SIZE,
        on_error: OnError | None = None,
        quiet: bool = False,
        texts: Any = None,
        threshold: float | None = None,
        score: str = confidence.SCORES[0],
    ) -> Predictions:
        """Predicts the classes of images or videos.

        Args:
            images: one or several, see `inputs.preparation`.
            classes: class names to choose from; None: those of the training.
            top_k: classes per `Prediction`.
            batch_size: images per step, at most. It does not change which images a prediction of a
                method with `Method.block` depends on: all of the call, or of blocks of so many.
            on_error: called with the error of each image or video that cannot be read, of a file
                or in memory; its prediction has no classes, logits NaN and label -1. None raises
                the error.
            quiet: hides the progress bar.
            texts: texts of these classes, for methods that read them; see `fit`. None: the model's.
            threshold: images whose score is below it are none of these classes, with label -1.
            score: "probability", "max_logit" or "energy"; see `Predictions.scores`.

        Raises:
            BadImage: a file cannot be read, and `on_error` is None.
            PromptError: an array has an invalid shape or type, and `on_error` is None; there are
                no classes; or the method does not support these.
        """
        _check_number("top_k", top_k)
        names = self._names(classes)
        confidence.check_threshold(threshold, score, len(names))
        task, prepared = self._task_of(names, self.read_texts(texts))
        program = programs.logits(self.method)
        if len(names) == 1:
            program = programs.logits_and_cosine(self.name, self.method)
        run = functools.partial(program, self.prompts, prepared, task)
        sources, logits, errors = self._run(images, run, batch_size, on_error, quiet, task)
        logits, cosines = np.moveaxis(logits, 1, 0), None
        logits = logits[..., : len(names)]  # see `class_lists`
        check_finite(logits, errors)
        if len(names) == 1:
            warnings.warn(describe_single_class(names[0]), stacklevel=2)
            logits, cosines = logits[:-1], logits[-1, :, 0]
        sure = self.temperature, threshold, score
        return Predictions(sources, names, logits, top_k, errors, cosines, *sure)

    def save(self, folder: str | os.PathLike, overwrite: bool = False) -> pathlib.Path:
        """Writes model.json and prompts.safetensors, without the backbone, for `load`.

        Texts of classes that the method reads are written to texts.json.

        Args:
            folder: a new or empty directory.
            overwrite: whether it may also hold a saved model, which is replaced.

        Returns:
            the directory.

        Raises:
            PromptError: the directory holds something else, or the model averages templates.
        """
        return saved.save(self, pathlib.Path(folder), overwrite)

    def warm_up(
        self,
        batch_sizes: Sequence[int] | int = (1,),
        classes: Sequence[str] | None = None,
        texts: Any = None,
    ) -> None:
        """Compiles, or reads from disk, the programs of `predict`, so that no answer waits.

        Args:
            batch_sizes: numbers of images per call, as a service will pass them.
            classes, texts: as for `predict`; other lists of about as many classes then need no
                other program, see docs/using.md.

        Raises:
            PromptError: a number is below 1, or as for `predict`.
        """
        blank = np.zeros(self.inputs.shape, np.float32)
        for number in [batch_sizes] if isinstance(batch_sizes, int) else batch_sizes:
            _check_number("batch_sizes", number)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the classes: `predict` repeats them
                self.predict([blank] * number, classes, quiet=True, texts=texts)

    def _names(self, classes):
        names = self.class_names if classes is None else classes
        if not len(names):
            raise ArgumentError(
                "the model has no classes to choose from", "pass class names by {}", "classes"
            )
        check_names(names, self.class_names, may_repeat=True)
        if not self.class_names and (same := repeated(names)):
            warnings.warn(describe_repeated(names, same), stacklevel=3)
        return tuple(names)

    def read_texts(self, texts: Any) -> Texts | None:
        """Returns texts of classes for `predict`: those of a path or content, else the model's.

        Raises:
            PromptError: they cannot be read, or the method reads none.
        """
        if texts is None:
            return self.class_texts and self.class_texts.with_advice(PASS)
        if not self.method.texts:
            raise ArgumentError(f"{self.name} reads no texts of classes", "leave {} out", "texts")
        return text_files.resolve(texts, self.method.texts)

    def _task_of(self, names, texts=None):
        """Returns the task of these classes and its prepared state; caches the last few."""
        made = self.method, self.prompts, self._tower, self.frozen, self.settings, self.template
        # The trained classes stay the same: a program of their own is the smallest.
        may_fill = not self.prompts or names != self.class_names
        listed = names, self.class_names, texts, self.texts, may_fill
        key = names, texts
        return class_lists.keep(self._tasks, key, lambda: class_lists.make(*made, *listed))

    @property
    def encoders(self) -> methods.Encoders | None:
        """The encoders of a method of videos and texts; None: those of the frozen CLIP are used."""
        return None if self.method.input in OF_IMAGES else methods.of_texts(self.name)

    index = searching.index
    search = searching.search

    @property
    def _tower(self):
        """Returns the backbone as the method uses it: image methods average over frames."""
        return methods.tower_for(self.method, self.clip, f"{self.inputs.kind}s")

    @property
    def _without_classes(self):
        """Returns a task without classes, for encoding videos and texts."""

        def make():
            encoders = methods.retrieve(methods.get_encoders(self.name))
            return methods.make_task(encoders, self.clip, self.frozen, (), self.settings), None

        return class_lists.keep(self._tasks, None, make)

    def _run(self, images, program, batch_size, on_error=None, quiet=False, task=None):
        """Runs a program in batches, or that of a task in the method's blocks; see `running`."""
        _check_number("batch_size", batch_size)
        title = "" if quiet else f"{self.name} on {self.inputs.kind}s"
        block = 0 if task is None else self.method.block(self.prompts)
        blocks = block, functools.partial(programs.features(self.method), task)
        how = self.inputs, batch_size, title, on_error
        return running.run_given(program, images, blocks, *how)


def _check_number(field, value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise PromptError(f"{field}={value!r} must be a whole number, at least 1")


def _listed(texts):
    return [texts] if isinstance(texts, str) else list(texts)
