"""Kinds of inputs: valid examples, how they are damaged, and their reader."""

import hashlib
import pickle
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from .files import Files
from .mutations import Change


class Wrong(Exception):
    """Raised if a reader misreads an input."""


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes:
        name: its name on the command line.
        weight: its share of all inputs.
        make: returns valid examples, the same at every call.
        change: makes an input of an example; the others are for splicing.
        read: the reader: returns, or raises PromptError, DataError or `Wrong`.
        reads_anywhere: whether inputs may name files outside of their directory, as documented.
    """

    name: str
    weight: float
    make: Callable[[], list[Files]]
    change: Callable[[Random, Files, Sequence[Files]], Files]
    read: Callable[[Path], object]
    reads_anywhere: bool = False

    def build(self, examples: Sequence[Files], random: Random) -> Files:
        """Returns one input; sometimes an unchanged example, which must be accepted."""
        example = random.choice(examples)
        return dict(example) if random.random() < 0.01 else self.change(random, example, examples)


def source_of(seed: int, kind: str, number: int) -> Random:
    """Returns the seed of everything random about one input."""
    digest = hashlib.sha256(f"{seed} {kind} {number}".encode()).digest()
    return Random(int.from_bytes(digest[:8], "big"))


def examples_of(kind: Kind, folder: Path) -> list[Files]:
    """Returns a kind's examples, made once and cached in `folder`."""
    kept = folder / f"{kind.name}.pickle"
    if not kept.exists():
        unfinished = kept.with_suffix(f".{id(kind)}")
        unfinished.write_bytes(pickle.dumps(kind.make()))
        unfinished.replace(kept)
    return pickle.loads(kept.read_bytes())


def changing(
    end: str | tuple[str, ...], changes: Sequence[Change]
) -> Callable[[Random, Files, Sequence[Files]], Files]:
    """Returns a change of one file with this suffix, one to four times in a row."""

    def change(random: Random, files: Files, others: Sequence[Files]) -> Files:
        name = random.choice([name for name in files if name.endswith(end)])
        same = [other[n] for other in others for n in other if n.endswith(end)]
        content = files[name]
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            try:
                content = random.choice(changes)(random, content, same)
            except (ValueError, RecursionError, struct.error):
                break  # cannot be parsed after an earlier change
        return files | {name: content}

    return change
