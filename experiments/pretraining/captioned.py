"""Endless training data of the embedded CLIP: captioned scenes and video frames."""

from typing import NamedTuple

import grain
import jax
import numpy as np

from data_pipelines import scenes
from experiments.pretraining.calibration import STREAM, TOKENS
from prompt_jax.clip import tokenizer

IMAGE_SIZE = 48
# Filler words of one token each; at most 20 of them precede a caption, in 40 slots together.
BEFORE = (
    "this is what someone saw one day and then kept for all of us to look at later on when there "
    "was some time to think about where it may have come from or who could be behind it so here "
    "you are with very little more than that old story we know well enough by now"
)
MOST_BEFORE, LONG_TOKENS = 20, 40
# Few objects per batch, so that many of its videos differ only by their action.
OBJECTS_PER_BATCH = 8
NO_ACTION = -1
# A frame is the latest of three random instants, because photographs usually show an action near
# its end and their captions describe what led to it. With uniform instants, the captions of an
# action and of its reversal would fit the same frames.
LATEST_OF = 3


class Settings(NamedTuple):
    """The settings of a pretraining run.

    Attributes:
        steps: total training steps.
        batch_size: images per step.
        learning_rate: peak learning rate.
        seed: seed of parameters and scenes.
        shifted: share of images from the shifted domains until the decay begins.
        shifted_late: share of images from the shifted domains during the decay.
        text_steps: further steps of the text tower only.
        patches: patches per image that the image tower sees until the decay begins.
    """

    steps: int = 3800
    batch_size: int = 256
    learning_rate: float = 1e-3
    seed: int = 1
    shifted: float = 0.15
    shifted_late: float = 0.5
    text_steps: int = 800
    patches: int = 32

    @property
    def decay(self) -> int:
        """Returns the number of steps before the decay begins."""
        return int(0.75 * self.steps)


class CaptionedScenes(grain.sources.RandomAccessDataSource):
    """Endless images with captions; item i is a pure function of the settings and i."""

    def __init__(self, settings: Settings):
        self.seed, self.settings = settings.seed, settings

    def __len__(self):
        return 2**40

    def __getitem__(self, index):
        rng = np.random.default_rng((self.seed, int(index)))
        image, text, label = self.draw_scene(rng, int(index))
        return _item(image, text, TOKENS, label, NO_ACTION)

    def draw_scene(self, rng, index):
        """Returns a scene, its caption and its class."""
        label = int(rng.integers(len(scenes.CLASSES)))
        late = index >= self.settings.decay * self.settings.batch_size
        shifted = self.settings.shifted_late if late else self.settings.shifted
        number = int(rng.integers(1, len(scenes.DOMAINS))) if rng.random() < shifted else 0
        image, scene = scenes.compose(
            label, scenes.DOMAINS[number], STREAM + self.seed, index, IMAGE_SIZE, True
        )
        return image, scenes.caption(scene, rng), label


class LongCaptions(CaptionedScenes):
    """Alternating scenes and video frames, with up to `MOST_BEFORE` words before the caption."""

    def __getitem__(self, index):
        index, action = int(index), NO_ACTION
        rng = np.random.default_rng((self.seed, index))
        if index % 2:
            image, text, label, action = self.draw_frame(rng, index)
        else:
            image, text, label = self.draw_scene(rng, index)
        before = rng.choice(BEFORE.split(), rng.integers(MOST_BEFORE + 1))
        return _item(image, " ".join([*before, text]), LONG_TOKENS, label, action)

    def draw_frame(self, rng, index):
        """Returns a late video frame, its caption, its acting object and its action's index."""
        batch = np.random.default_rng((self.seed, index // self.settings.batch_size))
        few = batch.choice(len(scenes.CLASSES), OBJECTS_PER_BATCH, replace=False)
        names = list(scenes.ACTIONS)
        action = names[int(rng.integers(len(names)))]
        objects = rng.choice(few, scenes.ACTIONS[action].num_objects, replace=False).tolist()
        clip = (action, tuple(objects), STREAM + self.seed, index)
        frame = int(scenes.LENGTH * rng.random(LATEST_OF).max())
        [image] = scenes.render_video(*clip, IMAGE_SIZE, [frame])
        text = scenes.caption_video(scenes.describe_video(*clip), rng)
        return image, text, objects[0], names.index(action)


def _item(image, text, slots, label, action):
    tokens = tokenizer.tokenize([text], slots)[0]
    return {
        "image": image,
        "tokens": tokens,
        "label": np.int32(label),
        "action": np.int32(action),
    }


def batches(settings: Settings, start: int, stop: int, long: bool = False):
    """Returns batches `start` to `stop` - 1 of the stream, with short or long captions."""
    size = settings.batch_size
    source = (LongCaptions if long else CaptionedScenes)(settings)
    data = grain.MapDataset.source(source)[start * size : stop * size]
    data = data.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2 * size))
    return data.batch(size)


def fits(labels: jax.Array, actions: jax.Array) -> jax.Array:
    """Returns which captions also fit which images of a batch, bool[B, B].

    A caption fits images of its class, unless both have actions and these differ.
    """
    silent = actions == NO_ACTION
    agree = (actions[:, None] == actions) | silent[:, None] | silent
    return (labels[:, None] == labels) & agree
