"""The embedded video data set: moving emoji, rendered on the fly."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from data_pipelines.errors import unknown
from data_pipelines.examples import Dataset, Example
from data_pipelines.layouts.emoji_scenes import BLOCK, SEED, STARTS, check_range, spread

TIME = "time"
STYLES = ("sketch", "silhouette", "night", "mosaic")
DOMAINS = (TIME, *STYLES, *(f"{TIME}_{style}" for style in STYLES))
_CAPTIONS = {"train": 4, "val": 1, "test": 1}

# An action, its objects and an index.
_Video = tuple[str, tuple[int, ...], int]


class EmojiClips:
    """Layout of the embedded videos."""

    def load(
        self,
        name: str,
        root: str | Path | None,
        template: str,
        domain: str | None = None,
        num_objects: int = 50,
        train_per_class: int = 60,
        val_per_class: int = 10,
        test_per_class: int = 15,
        size: int = 48,
    ) -> Dataset:
        """Lists the videos; frames are rendered when they are read.

        A class is an action. Training videos have up to four captions; the others have one, which
        names object, action and background. Up to `num_objects` videos of a split and class show
        different objects, so that object and action identify the video.

        Args:
            name, root, template: see `Layout.load`; nothing is on disk.
            domain: "time" lists each video together with its reversal: the same frames in reverse
                order, with captions that differ only in the action or in the objects' roles. A
                model without temporal order ranks the two at random. Only actions with a different
                reversal are listed. A drawing style of the scenes, e.g. "night", lists all actions
                in that style, without reversals; captions do not mention it. "time_night" combines
                both. None: all actions in the plain style.
            num_objects: size of a fixed, evenly spread subset of the scenes' classes, at least 2.
            train_per_class: training videos per action. In the domain "time" it is rounded up to
                an even number if an action is its own reversal.
            val_per_class: validation videos per action.
            test_per_class: test videos per action.
            size: side of a frame in pixels.

        Returns:
            The data set; no video is in two splits.

        Raises:
            DataError: an unknown domain, or a number out of range.
        """
        from data_pipelines import scenes

        if domain is not None and domain not in DOMAINS:
            raise unknown(f"domain of {name}", domain, DOMAINS)
        check_range("num_objects", num_objects, 2, len(scenes.CLASSES))
        check_range("size", size, 32, 96)
        objects = spread(num_objects, len(scenes.CLASSES))
        counts = {"train": train_per_class, "val": val_per_class, "test": test_per_class}
        timed, style = _parts_of(domain)
        draw = _reversals if timed else _all_actions
        lists = []
        for split, per_class in counts.items():
            check_range(f"{split}_per_class", per_class, 0, BLOCK // 2)
            videos = draw(objects, range(STARTS[split], STARTS[split] + per_class))
            lists.append(_describe(videos, _CAPTIONS[split]))
        train, val, test = lists
        source = (
            "rendered" + ", told apart by time" * timed + f", style {style}" * (style != "plain")
        )
        reader = EmojiVideoReader(size, style)
        return Dataset(
            name,
            template,
            train,
            val,
            test,
            reader,
            split_source=source,
            kind="videos",
            reversals=_reversals_of((*train, *val, *test)) if timed else {},
        )

    def expected(self) -> str:
        """Returns what must be on disk, for error messages."""
        return "Nothing: the videos are rendered on the fly."


@dataclass(frozen=True)
class RenderedVideo:
    """A video (`inputs.videos.opening.Video`) whose frames are rendered on demand.

    Attributes:
        example: names its action, objects and index.
        size: side of a frame in pixels.
        style: one of `scenes.DOMAINS`.
        count: the number of frames.
        rate: frames per second.
    """

    example: Example
    size: int
    style: str
    count: int
    rate: float

    def frames(self, indices: Sequence[int]) -> Iterator[Image.Image]:
        """Renders the frames at `indices`, from 0 to `count` - 1, in that order."""
        from data_pipelines import scenes

        action, objects, index = _of_key(self.example.image)
        frames = scenes.render_video(action, objects, SEED, index, self.size, indices, self.style)
        yield from map(Image.fromarray, frames)


@dataclass(frozen=True)
class EmojiVideoReader:
    """Renders videos of `size` x `size` pixels in one style (`Dataset.read`)."""

    size: int
    style: str = "plain"

    def __call__(self, example: Example) -> RenderedVideo:
        """Returns the video of the key `action/objects/index`."""
        from data_pipelines import scenes

        return RenderedVideo(example, self.size, self.style, scenes.LENGTH, scenes.RATE)


def _parts_of(domain: str | None) -> tuple[bool, str]:
    """Returns whether a domain lists reversals, and its drawing style."""
    parts = domain.split("_") if domain else []
    style = next((part for part in parts if part != TIME), "plain")
    return TIME in parts, style


def _all_actions(objects: Sequence[int], indices: range) -> Iterator[_Video]:
    """Yields videos of every action, without reversals."""
    from data_pipelines.scenes import ACTIONS

    for number, (name, action) in enumerate(ACTIONS.items()):
        for index in indices:
            yield (
                name,
                _choose(objects, number, index)[: action.num_objects],
                2 * index + action.backwards,
            )


def _reversals(objects: Sequence[int], indices: range) -> Iterator[_Video]:
    """Yields videos of actions that differ from their reversal, each with its reversal."""
    from data_pipelines.scenes import ACTIONS, reversed_video

    for number, (name, action) in enumerate(ACTIONS.items()):
        if action.timed and not action.backwards:
            # An action that is its own reversal has two videos per index.
            for index in indices[:: 1 + action.exchanged]:
                chosen = _choose(objects, number, index)[: action.num_objects]
                yield name, chosen, 2 * index
                yield *reversed_video(name, chosen), 2 * index


def _choose(objects: Sequence[int], number: int, index: int) -> tuple[int, int]:
    """Returns two different objects; the first cycles through all of them with the index."""
    count = len(objects)
    first = index + 3 * number
    return objects[first % count], objects[(first + 1 + index % (count - 1)) % count]


def _describe(videos: Iterable[_Video], captions: int) -> tuple[Example, ...]:
    """Returns examples with up to `captions` captions each; a single one is complete."""
    from data_pipelines import scenes

    videos = list(videos)
    labels = {name: label for label, name in enumerate(sorted({name for name, _, _ in videos}))}
    examples = []
    for action, objects, index in sorted(videos):
        scene = scenes.describe_video(action, objects, SEED, index)
        # The same for a video and its reversal, so that their captions differ only in the action.
        rng = random.Random(
            f"{index} {sorted(objects)} {min(action, scenes.ACTIONS[action].reversal)}"
        )
        drawn = [scenes.caption_video(scene, rng, in_full=captions == 1) for _ in range(captions)]
        key = _key_of(action, objects, index)
        examples.append(Example(key, labels[action], action, tuple(dict.fromkeys(drawn))))
    return tuple(examples)


def _reversals_of(examples: Iterable[Example]) -> dict[str, str]:
    """Maps the key of each video to that of its reversal."""
    from data_pipelines.scenes import reversed_video

    videos = [_of_key(example.image) for example in examples]
    return {_key_of(*video): _key_of(*reversed_video(*video[:2]), video[2]) for video in videos}


def _key_of(action: str, objects: Sequence[int], index: int) -> str:
    return f"{action}/{'+'.join(map(str, objects))}/{index}"


def _of_key(key: str) -> _Video:
    action, objects, index = key.split("/")
    return action, tuple(map(int, objects.split("+"))), int(index)
