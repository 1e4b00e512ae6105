"""The embedded data set of videos: emoji that do something, rendered on the fly."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from data_pipelines.errors import unknown
from data_pipelines.examples import Dataset, Example
from data_pipelines.layouts.emoji_scenes import BLOCK, SEED, STARTS, check_range, spread

TIME = "time"
LOOKS = ("sketch", "silhouette", "night", "mosaic")
DOMAINS = (TIME, *LOOKS, *(f"{TIME}_{look}" for look in LOOKS))
_CAPTIONS = {"train": 4, "val": 1, "test": 1}

# An action, its objects and an index.
_Video = tuple[str, tuple[int, ...], int]


class EmojiClips:
    """The embedded videos, as a layout of the table of data sets."""

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
        """List the videos; frames are rendered when they are read.

        A class is an action. Training videos have up to four captions, the others one, which names
        object, action and background. Up to `num_objects` videos of a split and class are all of
        different objects, so that the two together are said of one video only.

        Args:
            name: the data set's name, for messages and results.
            root: not used; nothing is on disk.
            template: the text of one class, with one `{}` for the class name.
            domain: "time" lists only actions whose reversal is another or has the objects in each
                other's role, and every video beside its reversal: the same frames in opposite order
                and the same captions but for what tells the two apart. What knows no order ranks
                the two at random. A shifted domain of the scenes lists all actions, and no video's
                reversal, in that look, of which captions say nothing; "time_night" and the like
                are both. None: all actions as they are.
            num_objects: a fixed, evenly spread subset of the scenes' classes, at least 2.
            train_per_class: training videos per action. In the domain "time" it is rounded up to
                an even number where video and reversal are of the same action.
            val_per_class: validation videos per action.
            test_per_class: test videos per action.
            size: side of a frame in pixels.

        Returns:
            The data set; videos of different splits are never the same.

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
        timed, look = _parts_of(domain)
        draw = _reversals if timed else _all_actions
        lists = []
        for split, per_class in counts.items():
            check_range(f"{split}_per_class", per_class, 0, BLOCK // 2)
            videos = draw(objects, range(STARTS[split], STARTS[split] + per_class))
            lists.append(_describe(videos, _CAPTIONS[split]))
        train, val, test = lists
        source = "rendered" + ", told apart by time" * timed + f", style {look}" * (look != "plain")
        reader = EmojiVideoReader(size, look)
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
        """What must be on disk, in words."""
        return "Nothing: the videos are rendered on the fly."


@dataclass(frozen=True)
class RenderedVideo:
    """A video as `videos.readers.VideoReader` gives one; frames are drawn when they are asked for.

    Attributes:
        example: what it is a video of.
        size: side of a frame in pixels.
        look: one of `scenes.DOMAINS`.
        count: its frames.
        rate: frames a second.
    """

    example: Example
    size: int
    look: str
    count: int
    rate: float

    def frames(self, indices: Sequence[int]) -> Iterator[Image.Image]:
        """The frames at `indices`, from 0 to `count` - 1, in that order."""
        from data_pipelines import scenes

        action, objects, index = _of_key(self.example.image)
        frames = scenes.render_video(action, objects, SEED, index, self.size, indices, self.look)
        yield from map(Image.fromarray, frames)


@dataclass(frozen=True)
class EmojiVideoReader:
    """`Dataset.read` for videos, which it renders `size` pixels wide and high, in one look."""

    size: int
    look: str = "plain"

    def __call__(self, example: Example) -> RenderedVideo:
        """The video of the key `action/objects/index`."""
        from data_pipelines import scenes

        return RenderedVideo(example, self.size, self.look, scenes.LENGTH, scenes.RATE)


def _parts_of(domain: str | None) -> tuple[bool, str]:
    """Whether a domain is of what time alone tells apart, and how its videos look."""
    parts = domain.split("_") if domain else []
    look = next((part for part in parts if part != TIME), "plain")
    return TIME in parts, look


def _all_actions(objects: Sequence[int], indices: range) -> Iterator[_Video]:
    """Videos of every action, none of them with its reversal."""
    from data_pipelines.scenes import ACTIONS

    for number, (name, action) in enumerate(ACTIONS.items()):
        for index in indices:
            yield (
                name,
                _choose(objects, number, index)[: action.num_objects],
                2 * index + action.backwards,
            )


def _reversals(objects: Sequence[int], indices: range) -> Iterator[_Video]:
    """Videos of the actions that time alone tells apart, each with its reversal."""
    from data_pipelines.scenes import ACTIONS, reversed_video

    for number, (name, action) in enumerate(ACTIONS.items()):
        if action.timed and not action.backwards:
            # An action that is its own reversal gets two videos of one index.
            for index in indices[:: 1 + action.exchanged]:
                chosen = _choose(objects, number, index)[: action.num_objects]
                yield name, chosen, 2 * index
                yield *reversed_video(name, chosen), 2 * index


def _choose(objects: Sequence[int], number: int, index: int) -> tuple[int, int]:
    """Two different objects; the first one goes through all of them as the index goes on."""
    count = len(objects)
    first = index + 3 * number
    return objects[first % count], objects[(first + 1 + index % (count - 1)) % count]


def _describe(videos: Iterable[_Video], captions: int) -> tuple[Example, ...]:
    """Examples with up to `captions` captions each, or with one that names all there is."""
    from data_pipelines import scenes

    videos = list(videos)
    labels = {name: label for label, name in enumerate(sorted({name for name, _, _ in videos}))}
    examples = []
    for action, objects, index in sorted(videos):
        scene = scenes.describe_video(action, objects, SEED, index)
        # The same for a video and its reversal, so that their captions differ in what they must.
        rng = random.Random(
            f"{index} {sorted(objects)} {min(action, scenes.ACTIONS[action].reversal)}"
        )
        drawn = [scenes.caption_video(scene, rng, in_full=captions == 1) for _ in range(captions)]
        key = _key_of(action, objects, index)
        examples.append(Example(key, labels[action], action, tuple(dict.fromkeys(drawn))))
    return tuple(examples)


def _reversals_of(examples: Iterable[Example]) -> dict[str, str]:
    """The key of each video to its reversal's."""
    from data_pipelines.scenes import reversed_video

    videos = [_of_key(example.image) for example in examples]
    return {_key_of(*video): _key_of(*reversed_video(*video[:2]), video[2]) for video in videos}


def _key_of(action: str, objects: Sequence[int], index: int) -> str:
    return f"{action}/{'+'.join(map(str, objects))}/{index}"


def _of_key(key: str) -> _Video:
    action, objects, index = key.split("/")
    return action, tuple(map(int, objects.split("+"))), int(index)
