"""Defines the measurements: a cell is one method, size and phase."""

import dataclasses
import functools
import itertools
import random
from collections.abc import Iterable, Sequence

from prompt_jax.errors import PromptError, unknown

CLASSIFIERS = ("coop", "cocoop", "maple", "pro_mpt")
PAIRS = ("vop",)  # videos against their captions
ACTIONS = ("vilt_clip",)  # videos against classes
TOWERS = ("image_tower", "text_tower")  # a forward pass without prompts
METHODS = CLASSIFIERS + PAIRS + ACTIONS + TOWERS
BACKBONES = ("embedded", "ViT-B/32", "ViT-B/16")
PHASES = ("train", "evaluate")
PARTS = ("all", "text")
DTYPES = ("float32", "bfloat16")
LAYERS = ("auto", "scan", "unrolled")
CLASSES = (10, 50, 100, 1000)
ITERATIONS = 2
RUNS = 3  # training runs in one program
# Batches per evaluation; text features are computed once for all of them.
EVALUATION_BATCHES = 2
FRAMES = {"vop": 12, "vilt_clip": 16}  # per video
# Words of the shortest and of the longest caption.
WORDS = (8, 20)
_SMALL_WORDS = ("a", "the", "is", "and", "in", "with", "on", "of")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One measurement.

    Attributes:
        method: one of `METHODS`, with its default settings.
        backbone: "embedded", or the name of a variant, with random weights.
        K: number of classes, at most 1000; 1 for pairs and towers, which have no classes.
        batch: images per step; videos for methods in `FRAMES`; video-caption pairs for `PAIRS`;
            texts for the text tower.
        phase: "train", one step; or "evaluate", `EVALUATION_BATCHES` batches.
        part: "all"; or "text", on given image or video features, without the image tower.
        N: iterations; for pro_mpt only.
        dtype: compute type; PyTorch uses autocast for bfloat16.
        runs: training runs in one program, each with its own seed and batches. Above 1, the
            counterpart is not PyTorch but the same number of single steps of this library.
        layers: whether this library runs the towers' layers as a loop; see `config.layers`.
    """

    method: str
    backbone: str
    K: int
    batch: int = 4
    phase: str = "train"
    part: str = "all"
    N: int = ITERATIONS
    dtype: str = "float32"
    runs: int = 1
    layers: str = "auto"

    def __post_init__(self):
        choices = {"method": METHODS, "backbone": BACKBONES, "phase": PHASES, "part": PARTS}
        for field, allowed in (choices | {"dtype": DTYPES, "layers": LAYERS}).items():
            if getattr(self, field) not in allowed:
                raise unknown(f"{field} in --only", str(getattr(self, field)), allowed)
        if self.pairs or self.tower:
            object.__setattr__(self, "K", 1)
        limits = {
            "K": (1 if self.pairs or self.tower else 2, 1000),
            "batch": (1, 4096),
            "N": (1, 16),
            "runs": (1, 64),
        }
        for field, (low, high) in limits.items():
            if not low <= getattr(self, field) <= high:
                raise PromptError(
                    f"--only {field}={getattr(self, field)} must be from {low} to {high}"
                )
        if self.runs > 1 and self.phase != "train":
            raise PromptError(f"--only runs={self.runs} needs phase=train: evaluation has no runs")
        if self.frames and (self.phase != "train" or self.runs > 1):
            raise PromptError(
                f"--only method={self.method} needs phase=train and runs=1; no other form exists"
            )
        if self.tower and (self.phase, self.part) != ("evaluate", "all"):
            raise PromptError(
                f"--only method={self.method} needs phase=evaluate and part=all: a forward pass"
            )
        if self.method != "pro_mpt":
            object.__setattr__(self, "N", 1)

    @property
    def pairs(self) -> bool:
        """Returns whether the method matches videos and captions, without classes."""
        return self.method in PAIRS

    @property
    def tower(self) -> bool:
        """Returns whether the cell is a bare tower."""
        return self.method in TOWERS

    @property
    def frames(self) -> int:
        """Returns the frames per video; 0 for methods of images."""
        return FRAMES.get(self.method, 0)

    @property
    def images(self) -> int:
        """Returns the images, videos, pairs or texts that one run processes."""
        if self.tower:
            return self.batch
        return self.batch * (EVALUATION_BATCHES if self.phase == "evaluate" else self.runs)

    def __str__(self):
        iterations = f" N={self.N}" if self.method == "pro_mpt" else ""
        part = f" {self.part} part" if self.part != "all" else ""
        runs = f" {self.runs} runs" if self.runs > 1 else ""
        layers = f" {self.layers}" if self.layers != "auto" else ""
        classes = "" if self.pairs or self.tower else f" K={self.K}"
        return (
            f"{self.method} {self.backbone}{classes} batch={self.batch}{iterations} "
            f"{self.phase}{part}{runs} {self.dtype}{layers}"
        )


def full() -> list[Cell]:
    """Returns all cells, from small to large: small cells predict which ones are too slow."""
    grid = [
        Cell(method, backbone, number, phase=phase)
        for backbone in BACKBONES
        for number in CLASSES
        for method in CLASSIFIERS
        for phase in PHASES
    ]
    together = [
        Cell(method, backbone, 10, runs=RUNS)
        for backbone in BACKBONES[:2]
        for method in CLASSIFIERS
    ]
    videos = [cell for backbone in BACKBONES[:2] for cell in captioned_videos(backbone)]
    actions = [recognized_actions("embedded"), recognized_actions("ViT-B/16")]
    return unique(
        [*grid, *together, *videos, *actions, *growth("ViT-B/32", (1, 2, 4, 8), (1, 2, 3, 4))]
    )


def short() -> list[Cell]:
    """Returns cells on the embedded CLIP for a few minutes, the most important first."""
    cells = [Cell(method, "embedded", 50) for method in ("cocoop", "pro_mpt", "coop", "maple")]
    cells += [Cell("cocoop", "embedded", 10), Cell("pro_mpt", "embedded", 50, phase="evaluate")]
    cells += [Cell(method, "embedded", 50, phase="evaluate") for method in ("cocoop", "coop")]
    cells += [Cell("cocoop", "embedded", 10, batch=1), Cell("pro_mpt", "embedded", 10)]
    cells += [Cell("pro_mpt", "embedded", 10, runs=RUNS), Cell("pro_mpt", "embedded", 10, N=1)]
    return cells + captioned_videos("embedded")


def gpu(small: bool = False) -> list[Cell]:
    """Returns cells for an accelerator, in bfloat16, the most important first.

    Args:
        small: tiny sizes on the embedded CLIP, for a test on any device.
    """
    if small:
        make = functools.partial(Cell, backbone="embedded", dtype="bfloat16")
        towers = [make(name, K=1, batch=2, phase="evaluate") for name in TOWERS]
        return [*towers, *(make("coop", K=number, batch=2) for number in (3, 6))]
    make = functools.partial(Cell, backbone="ViT-B/16", dtype="bfloat16")
    plan = [
        ("image_tower", 1, 256), ("text_tower", 1, 1000), ("pro_mpt", 100, 4), ("cocoop", 100, 4),
        ("coop", 100, 256), ("maple", 100, 4), ("vop", 1, 8), ("vilt_clip", 51, 8),
        # Growth in the number of classes, then in the batch.
        ("pro_mpt", 1000, 4), ("cocoop", 1000, 4), ("coop", 1000, 256), ("pro_mpt", 10, 4),
        ("cocoop", 10, 4), ("maple", 1000, 4), ("image_tower", 1, 32), ("pro_mpt", 100, 32),
        ("cocoop", 100, 32), ("maple", 100, 32), ("vop", 1, 32),
    ]  # fmt: skip
    return [
        *(
            make(name, K=number, batch=batch, phase="evaluate" if name in TOWERS else "train")
            for name, number, batch in plan
        ),
        make("pro_mpt", K=100, layers="unrolled"),
        make("pro_mpt", K=100, runs=RUNS),
        *(make(name, K=1000, phase="evaluate") for name in ("pro_mpt", "cocoop")),
    ]


def captioned_videos(backbone: str) -> list[Cell]:
    """Returns VoP's training step, and its text part at the published batch size."""
    return [Cell("vop", backbone, 1, 4), Cell("vop", backbone, 1, 32, part="text")]


def recognized_actions(backbone: str) -> Cell:
    """Returns ViLT-CLIP's training step with the number of classes of HMDB-51."""
    return Cell("vilt_clip", backbone, 51, 2)


def growth(backbone: str, batches: Sequence[int], iterations: Sequence[int]) -> list[Cell]:
    """Returns training steps with growing batch and growing N, with ten classes."""
    cells = [
        Cell(method, backbone, 10, batch) for batch in batches for method in ("cocoop", "pro_mpt")
    ]
    return cells + [Cell("pro_mpt", backbone, 10, N=number) for number in iterations]


def unique(cells: Iterable[Cell]) -> list[Cell]:
    """Returns the cells without duplicates, in order."""
    return list(dict.fromkeys(cells))


def only(words: Sequence[str]) -> list[Cell]:
    """Returns the cells selected by `KEY=VALUE` words; values are separated by commas.

    Keys are the fields of `Cell`. By default, all image methods, backbones, phases and numbers of
    classes of the full form are selected, and the other fields have their defaults.

    Raises:
        PromptError: a key or value is unknown.
    """
    fields = {field.name: field for field in dataclasses.fields(Cell)}
    chosen: dict[str, tuple] = {
        "method": CLASSIFIERS,
        "backbone": BACKBONES,
        "K": CLASSES,
        "phase": PHASES,
    }
    for word in words:
        key, equals, values = word.partition("=")
        if not equals or not values:
            raise PromptError(f"--only {word!r} must be KEY=VALUE, e.g. method=pro_mpt")
        if key not in fields:
            raise unknown("key of --only", key, fields)
        numbers = fields[key].type is int
        chosen[key] = tuple(_number(key, v) if numbers else v for v in values.split(","))
    rows = itertools.product(*chosen.values())
    # From small to large; see `full`.
    cells = [Cell(**dict(zip(chosen, row, strict=True))) for row in rows]
    return sorted(unique(cells), key=lambda cell: (cell.K, cell.batch, cell.N))


def _number(key: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise PromptError(f"--only {key}={text}: must be a whole number") from None


def class_names(number: int, words: Sequence[str]) -> list[str]:
    """Returns `number` different class names of one to four words, like ImageNet's.

    Args:
        number: at most five times the number of words.
        words: names of one or two words.
    """
    pairs = [
        f"{word} {words[(i + 37 * step) % len(words)]}"
        for step in range(1, 5)
        for i, word in enumerate(words)
    ]
    names = [*words, *pairs]
    random.Random(0).shuffle(names)
    return names[:number]


def captions(number: int, names: Sequence[str]) -> list[str]:
    """Returns `number` captions with lengths evenly spread over `WORDS`.

    Function words alternate with words of the names.

    Args:
        number: 1 or more.
        names: names of one or more words.
    """
    rng, (shortest, longest) = random.Random(0), WORDS
    own = [word for name in names for word in name.split()]
    return [
        " ".join(
            rng.choice(own if place % 2 else _SMALL_WORDS)
            for place in range(shortest + (longest - shortest) * each // max(1, number - 1))
        )
        for each in range(number)
    ]
