"""Captions that search clips: at which rank some found theirs, before and after training."""

import csv
from collections.abc import Mapping, Sequence

from experiments.report.blocks import Block, Card, Gallery, Section
from experiments.report.finished import Finished
from experiments.run.testing import ranks_file
from prompt_jax.errors import PromptError

CAPTIONS, FRAMES = 4, 4  # shown of each kind; frames of a clip

Line = Mapping[str, str]


def section(run: Finished) -> Section | None:
    """Captions that gained most, lost most, and are worst; None where no captions searched."""
    blocks: list[Block] = []
    for key in run.keys:
        lines = read(run, key)
        for words, chosen in choose(lines).items():
            if chosen:
                cards = _cards(run, key, chosen)
                blocks.append(Gallery(cards, f"{key}, {len(lines)} captions: {words}"))
    return Section("Captions", blocks) if blocks else None


def read(run: Finished, key: str) -> list[Line]:
    """The lines of a test set's ranks; none where the run left none.

    Raises:
        PromptError: the file is not what a run writes.
    """
    path = run.folder / ranks_file(key)
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        lines: list[Line] = list(csv.DictReader(file))
    try:
        _ = [(_gain(line), line["clip"], line["caption"]) for line in lines]
    except (KeyError, TypeError, ValueError):
        raise PromptError(f"{path} is damaged; delete it to go without") from None
    return lines


def choose(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """Which captions are shown, under which words."""
    gained = sorted((line for line in lines if _gain(line) > 0), key=lambda line: -_gain(line))
    lost = sorted((line for line in lines if _gain(line) < 0), key=_gain)
    shown = [*gained[:CAPTIONS], *lost[:CAPTIONS]]
    others = [line for line in lines if float(line["rank"]) > 1 and line not in shown]
    worst = sorted(others, key=lambda line: -float(line["rank"]))
    return {
        "gained most": gained[:CAPTIONS],
        "lost most": lost[:CAPTIONS],
        "of the others, found last": worst[:CAPTIONS],
    }


def _gain(line: Line) -> float:
    return float(line["zero_shot_rank"]) - float(line["rank"])


def _cards(run: Finished, key: str, lines: Sequence[Line]) -> list[Card]:
    dataset = run.tests.get(key)
    places = {example.picture: n for n, example in enumerate(dataset.test)} if dataset else {}
    cards = []
    for line in lines:
        place = places.get(line["clip"])
        pictures = [] if place is None else run.pictures(key, place, FRAMES)
        ranks = f"rank {line['zero_shot_rank']} by zero-shot CLIP, {line['rank']} now"
        cards.append(Card(pictures, f"“{line['caption']}”", [ranks, line["clip"]]))
    return cards
