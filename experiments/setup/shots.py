"""Makes the training batches of a run: images, captioned videos, or cached features."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from data_pipelines.errors import shorten
from data_pipelines.examples import Dataset, Example
from experiments.config.config import Config
from experiments.setup.batches import RunBatches
from experiments.setup.plans import Plan
from prompt_jax import methods
from prompt_jax.clip import CLIP, Frozen
from prompt_jax.clip.packing import pack_captions
from prompt_jax.clip.vocabulary.captions import Captions, tokenize_captions
from prompt_jax.inputs.training_batches import TrainingBatches
from prompt_jax.methods import Method, Task
from prompt_jax.methods.recipe import Labels
from prompt_jax.training import features
from prompt_jax.training.sharding import Placement


class Shots(NamedTuple):
    """Training batches.

    Attributes:
        batches: images, videos with captions, or cached features.
        steps_per_epoch: for the schedule.
        features: cached features of the training images' views, float32[V, n, d], or of the
            frames of videos, float32[V, n, F, d]; None if they are not cached.
        labels: int32[n], labels of the training images.
        captions: see `training.features.encode_captions`.
        described: describes how image features are cached; "" if each step runs the image tower.
    """

    batches: TrainingBatches
    steps_per_epoch: int
    features: np.ndarray | None
    labels: np.ndarray
    described: str
    captions: tuple[np.ndarray, ...] = ()


class FeatureMaker:
    """A compiled frozen image tower for the images of a run."""

    def __init__(
        self,
        method: Method,
        clip: CLIP,
        frozen: Frozen,
        batches: RunBatches,
        placement: Placement,
    ):
        """Takes method, model and its parameters, the reader of the images, and the devices."""
        self._maker = features.FeatureMaker(method, clip, frozen, placement)
        self._frozen, self._batches = frozen, batches

    def of_views(self, dataset: Dataset, views: int) -> np.ndarray:
        """Returns features of `views` augmented views of the training images or videos.

        Shape: float32[views, n, d], or float32[views, n, F, d] for methods on frame features.
        """
        total = views * self._batches.test_steps(len(dataset.train))
        batches = self._batches.views(dataset, views)
        rows, _ = self._maker.run(f"features of {views} views", batches, total)
        return rows.reshape(views, len(dataset.train), *rows.shape[1:])

    def of_validation(self, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Returns features float32[n, d] and labels int32[n] of validation images; n may be 0."""
        if not dataset.val:
            blank = np.zeros((1, *self._batches.inputs.shape), np.float32)
            width = jax.eval_shape(self._maker.encode, self._frozen, blank).shape[-1]
            return np.zeros((0, width), np.float32), np.zeros(0, np.int32)
        return self.of_examples(dataset, dataset.val, "validation features")

    def of_examples(
        self, dataset: Dataset, examples: tuple[Example, ...], title: str = "features of the shots"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns features float32[n, …] and labels int32[n] of images, prepared as for tests."""
        total = self._batches.test_steps(len(examples))
        return self._maker.run(title, self._batches.test(dataset, examples), total)


class PairBatches(Iterator[dict[str, Any]]):
    """Training batches of videos with their captions.

    {"image": float32[B, F, S, S, 3], "text": `PackedTokens` of B captions, "label": 0 … B - 1}.
    With several hosts, "image" and "label" are the part of this one, and "text" is whole.
    """

    def __init__(self, making: RunBatches, dataset: Dataset, captions: Captions, devices: int):
        """Adds captions to batches of videos.

        Args:
            making: makes the batches of videos.
            dataset: data set of the videos.
            captions: captions of all its training videos, in the order of the videos.
            devices: number of devices that a batch is split over.
        """
        self._videos = making.train(dataset)
        self._tokens, self._devices = captions.tokens, devices
        # Each pair of an epoch is one caption.
        self._order = making.order(len(captions.tokens))
        self._part = making.options.share(min(making.batch_size, len(captions.tokens)))

    def __next__(self) -> dict[str, Any]:
        places = self._order(self._videos.get_state()["next_index"])
        batch = next(self._videos)
        texts = pack_captions([self._tokens[place] for place in places], self._devices)
        label = np.arange(len(places), dtype=np.int32)[self._part]
        return {"image": batch["image"], "text": texts, "label": label}

    def get_state(self) -> dict[str, int]:
        """Returns the position of the next batch; see `Positioned`."""
        return self._videos.get_state()

    def state_after(self, batches: int) -> dict[str, int]:
        """Returns the position after `batches` batches; see `Positioned`."""
        return self._videos.state_after(batches)

    def set_state(self, state: dict[str, int]) -> None:
        """Resumes at a position; see `Positioned`."""
        self._videos.set_state(state)

    def close(self) -> None:
        """Stops reading; see `Positioned`."""
        self._videos.close()


def make_shots(
    config: Config,
    plan: Plan,
    method: Method,
    task: Task,
    makes: FeatureMaker,
    placement: Placement,
    own: Labels | None = None,
) -> Shots:
    """Returns batches of the training images or videos, or of their cached features.

    `own` are labels that replace those of the training data.
    """
    dataset, making, views = plan.train, plan.batches, config.cached_views
    if own is not None:
        dataset = relabel(dataset, own.labels)
    number = making.train_examples(dataset)
    steps = making.train_steps(number)
    # With fewer images than a batch, all of them form one batch; devices must divide it.
    placement.check(f"training {dataset.kind}", min(number, making.batch_size))
    labels = np.array([example.label for example in dataset.train], np.int32)
    if method.objective == "pairs":
        tokens = tokenize(config.method, task, dataset, "training", dataset.train)
        pairs = PairBatches(making, dataset, tokens, placement.devices)
        return Shots(pairs, steps, None, labels, "")
    if not views:
        return Shots(making.train(dataset), steps, None, labels, "")
    images = [example.image for example in dataset.train]
    captions = features.encode_captions(method, task, lambda: images)
    rows = makes.of_views(dataset, views)
    kept = "video's frames" if method.input == "frames" else "image"
    described = f"cached: {views} augmented view{'s' * (views > 1)} of each training {kept}"
    return Shots(making.features(rows, labels), steps, rows, labels, described, captions)


def relabel(dataset: Dataset, labels: np.ndarray) -> Dataset:
    """Returns a data set with other labels of its training examples, int[n]."""
    names = dataset.class_names
    pairs = zip(dataset.train, labels.tolist(), strict=True)
    train = tuple(one._replace(label=label, name=names[label]) for one, label in pairs)
    return dataclasses.replace(dataset, train=train)


def tokenize(
    method: str, task: Task, dataset: Dataset, role: str, examples: Sequence[Example]
) -> Captions:
    """Returns the tokens of all captions of `examples`; prints how many are truncated."""
    prompts = methods.get_encoders(method).text_prompts(task.settings)
    captions = [caption for example in examples for caption in example.captions]
    tokens = tokenize_captions(captions, prompts, task.clip.config.context_length)
    if tokens.cut:
        print(
            f"{dataset.name}: {len(tokens.cut):,} of {len(captions):,} {role} captions are "
            "too long for the text tower and are truncated, "
            f"e.g. {shorten(captions[tokens.cut[0]])}"
        )
    return tokens
