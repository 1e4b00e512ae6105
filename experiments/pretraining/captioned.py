"""What the embedded CLIP is trained on: captioned scenes and frames of videos, without end."""

from typing import NamedTuple

import grain
import jax
import numpy as np

from data_pipelines import scenes
from experiments.pretraining.calibration import STREAM, TOKENS
from prompt_jax.clip import tokenizer

IMAGE_SIZE = 48
# Words of one token each, the most of them before a caption, and the slots of both together.
BEFORE = (
    "this is what someone saw one day and then kept for all of us to look at later on when there "
    "was some time to think about where it may have come from or who could be behind it so here "
    "you are with very little more than that old story we know well enough by now"
)
MOST_BEFORE, LONG_TOKENS = 20, 40
# Few objects a batch, so that it is what they do that tells many of its videos apart.
OBJECTS_PER_BATCH = 8
NO_ACTION = -1
# Stills show an action late: people press the shutter when it is seen what happens, and their words
# say what has led to it. The latest of three instants drawn evenly. It is what makes an action and
# its reversal differ in words, which drawn evenly they would not.
LATEST_OF = 3


class Settings(NamedTuple):
    """What a pretraining run is.

    Attributes:
        steps: training steps in all.
        batch_size: images a step.
        learning_rate: the peak.
        seed: of parameters and scenes.
        shifted: share of images from the shifted domains until the decay begins.
        shifted_late: the same from then on.
        text_steps: further steps of the text tower alone.
        patches: how many patches of an image the image tower sees until the decay begins.
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
        """Steps before the decay begins."""
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
        """A scene, its caption and its class."""
        label = int(rng.integers(len(scenes.CLASSES)))
        late = index >= self.settings.decay * self.settings.batch_size
        shifted = self.settings.shifted_late if late else self.settings.shifted
        number = int(rng.integers(1, len(scenes.DOMAINS))) if rng.random() < shifted else 0
        image, scene = scenes.compose(
            label, scenes.DOMAINS[number], STREAM + self.seed, index, IMAGE_SIZE, True
        )
        return image, scenes.caption(scene, rng), label


class LongCaptions(CaptionedScenes):
    """Scenes and single frames of videos in turns, behind up to `MOST_BEFORE` other words."""

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
        """A late frame of a video, its caption, the object that acts, and its action's number."""
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
    """Batches start … stop - 1 of the stream, with long captions or without."""
    size = settings.batch_size
    source = (LongCaptions if long else CaptionedScenes)(settings)
    data = grain.MapDataset.source(source)[start * size : stop * size]
    data = data.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2 * size))
    return data.batch(size)


def same_said(labels: jax.Array, actions: jax.Array) -> jax.Array:
    """Which of B captions may be said of which other image too: bool[B, B].

    Those of the same class, unless both say what it does and that is not the same.
    """
    silent = actions == NO_ACTION
    agree = (actions[:, None] == actions) | silent[:, None] | silent
    return (labels[:, None] == labels) & agree
