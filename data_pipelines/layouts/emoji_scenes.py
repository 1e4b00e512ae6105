"""The embedded image data set: small scenes rendered on the fly, without files or download."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from data_pipelines.errors import DataError, unknown
from data_pipelines.examples import Dataset, Example

BLOCK = 1_000_000
STARTS = {"train": 0, "val": BLOCK, "test": 2 * BLOCK}
"""The first scene index of each split: separate blocks, so that no scene is in two splits."""

SEED = 0
"""Fixed, so that the data set is the same in every run; a run's seed only draws its shots."""


class EmojiScenes:
    """Layout of the embedded scenes."""

    def load(
        self,
        name: str,
        root: str | Path | None,
        template: str,
        domain: str | None = None,
        num_classes: int | None = None,
        train_per_class: int = 64,
        val_per_class: int = 16,
        test_per_class: int = 10,
        size: int = 48,
    ) -> Dataset:
        """Lists the scenes; each is rendered when it is read.

        Args:
            name, root, template: see `Layout.load`; nothing is on disk.
            domain: a drawing style of `scenes.DOMAINS`; by default the first one.
            num_classes: size of a fixed, evenly spread subset of the classes; None: all.
            train_per_class: training scenes per class.
            val_per_class: validation scenes per class.
            test_per_class: test scenes per class.
            size: side of a scene in pixels.

        Returns:
            The data set; no scene is in two splits.

        Raises:
            DataError: an unknown domain, or a number out of range.
        """
        from data_pipelines import scenes

        domain = next(iter(scenes.DOMAINS)) if domain is None else domain
        if domain not in scenes.DOMAINS:
            raise unknown(f"domain of {name}", domain, scenes.DOMAINS)
        total = len(scenes.CLASSES)
        count = total if num_classes is None else num_classes
        check_range("num_classes", count, 1, total)
        check_range("size", size, 32, 96)
        counts = {"train": train_per_class, "val": val_per_class, "test": test_per_class}
        for split, per_class in counts.items():
            check_range(f"{split}_per_class", per_class, 0, BLOCK)
        kept = spread(count, total)
        train, val, test = (
            _list_scenes(domain, kept, scenes.CLASSES, range(start, start + counts[split]))
            for split, start in STARTS.items()
        )
        source = f"rendered, style {domain}"
        return Dataset(name, template, train, val, test, SceneReader(size), split_source=source)

    def expected(self) -> str:
        """Returns what must be on disk, for error messages."""
        return "Nothing: the scenes are rendered on the fly."


@dataclass(frozen=True)
class SceneReader:
    """Renders scenes of `size` x `size` pixels (`Dataset.read`)."""

    size: int

    def __call__(self, example: Example) -> Image.Image:
        """Renders the scene of the key `domain/class/index`."""
        from data_pipelines import scenes

        domain, label, index = example.image.split("/")
        return Image.fromarray(scenes.render(int(label), domain, SEED, int(index), self.size))


def captions_of(examples: Iterable[Example]) -> dict[str, str]:
    """Returns a caption of each scene by its key, from the scene's description alone."""
    from data_pipelines import scenes

    found = {}
    for example in examples:
        domain, label, index = example.image.split("/")
        scene = scenes.describe(int(label), domain, SEED, int(index))
        found[example.image] = scenes.caption_in_full(scene)
    return found


def _list_scenes(
    domain: str, kept: Sequence[int], names: Sequence[str], indices: range
) -> tuple[Example, ...]:
    return tuple(
        Example(f"{domain}/{scene_class}/{index}", label, names[scene_class])
        for label, scene_class in enumerate(kept)
        for index in indices
    )


def spread(number: int, total: int) -> list[int]:
    """Returns the positions of `number` evenly spread items out of `total`."""
    return [position * total // number for position in range(number)]


def check_range(field: str, value: int, low: int, high: int) -> None:
    """Raises `DataError` for a number outside of `low` to `high`."""
    if not low <= value <= high:
        raise DataError(f"{field}={value}: must be from {low} to {high}")
