"""Captions of text-to-video retrieval: ranks before and after training."""

import os
from collections.abc import Sequence

from experiments.record.files import ranks
from experiments.record.files.ranks import Line
from experiments.report.blocks import Block, Card, Gallery, Section
from experiments.report.finished import Finished
from prompt_jax.errors import escape

CAPTIONS, FRAMES = 4, 4  # captions of each kind; frames of a video


def section(run: Finished) -> Section | None:
    """Returns captions that improve most, worsen most, and rank last; None without retrieval."""
    blocks: list[Block] = []
    for key in run.keys:
        lines = read(run, key)
        for words, chosen in choose(lines).items():
            if chosen:
                cards = _cards(run, key, chosen)
                blocks.append(Gallery(cards, f"{key}, {len(lines)} captions: {words}"))
    return Section("Captions", blocks) if blocks else None


def read(run: Finished, key: str) -> list[Line]:
    """Reads the ranks of a test set; none if there are none that can be read."""
    path = run.folder / ranks.ranks_file(key)
    if "ranks" not in run.results or not os.path.lexists(path):
        return []
    try:
        lines = ranks.read(path)
        number = (run.results.get("captions") or {}).get(key, len(lines))
        if len(lines) != number:
            raise ValueError(f"{len(lines):,} captions, {number:,} in results.json")
    except (OSError, ValueError) as error:
        run.report_damage(path, error)
        return []
    return lines


def choose(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """Returns the captions that are shown, by heading."""
    gained = sorted((line for line in lines if line.gain > 0), key=lambda line: -line.gain)
    lost = sorted((line for line in lines if line.gain < 0), key=lambda line: line.gain)
    shown = {*gained[:CAPTIONS], *lost[:CAPTIONS]}
    others = [line for line in lines if line.rank > 1 and line not in shown]
    worst = sorted(others, key=lambda line: -line.rank)
    return {
        "improved most": gained[:CAPTIONS],
        "worsened most": lost[:CAPTIONS],
        "worst rank of the others": worst[:CAPTIONS],
    }


def _cards(run: Finished, key: str, lines: Sequence[Line]) -> list[Card]:
    dataset = run.tests.get(key)
    places = {escape(example.image): n for n, example in enumerate(dataset.test)} if dataset else {}
    cards = []
    for line in lines:
        place = places.get(line.clip)
        images = [] if place is None else run.images(key, place, FRAMES)
        places_of = (
            f"rank {line.zero_shot_rank:g} with zero-shot CLIP, {line.rank:g} after training"
        )
        cards.append(Card(images, f"“{line.caption}”", [places_of, line.clip]))
    return cards
