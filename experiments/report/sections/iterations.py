"""Predictions that change over ProMPT's iterations (ProMPT, Figures 6 and 7)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from experiments.report.blocks import Bar, Block, Card, Gallery, Section, Table, Text
from experiments.report.finished import Finished

IMAGES, CLASSES = 4, 3  # images per test set and direction; classes per image


class Prediction(NamedTuple):
    """The predictions of one example.

    Attributes:
        place: index in the test set.
        name: its class.
        path: its file.
        shares: after each iteration, the most probable classes to their probabilities.
    """

    place: int
    name: str
    path: str
    shares: Sequence[dict[str, float]]

    def right(self, iteration: int) -> bool:
        """Tells whether the label is the most probable class."""
        return next(iter(self.shares[iteration])) == self.name

    def own(self, iteration: int) -> float:
        """Returns the probability of the label; 0 if it is not in the top 5."""
        return self.shares[iteration].get(self.name, 0.0)


def section(run: Finished) -> Section | None:
    """Returns counts, and the images that change most; None for methods without iterations."""
    blocks: list[Block] = []
    for key in run.keys:
        predictions = read(run.predictions(key))
        if not predictions:
            continue
        blocks.append(_count(predictions, key))
        last = len(predictions[0].shares) - 1
        for corrected, words in (
            (True, f"corrected by the iterations: p0 is wrong, p{last} right"),
            (False, f"lost by the iterations: p0 is right, p{last} wrong"),
        ):
            changed = changed_most(predictions, corrected)
            if cards := [_card(run, key, one) for one in changed[:IMAGES]]:
                many = f"; the {len(cards)} of {len(changed)} that change most"
                blocks.append(Gallery(cards, f"{key}, {words}{many}"))
    if not blocks:
        return None
    legend = Text(
        "Bars show the probability of a class after each iteration, p0 (coarse) first. In bars and "
        "means the probability of a class outside the top 5 counts as 0."
    )
    return Section("Iterations", [legend, *blocks])


def read(rows: Sequence[dict[str, Any]]) -> list[Prediction]:
    """Reads the predictions of every example; none if the method has no iterations."""
    if not rows or "top5_after_0" not in rows[0]:
        return []
    number = sum(name.startswith("top5_after_") for name in rows[0])
    endings = [*(f"_after_{n}" for n in range(number)), ""]

    def shares(row, ending):
        return dict(zip(row[f"top5{ending}"], row[f"probabilities{ending}"], strict=True))

    return [
        Prediction(place, row["class"], row["path"], [shares(row, ending) for ending in endings])
        for place, row in enumerate(rows)
    ]


def changed_most(predictions: Sequence[Prediction], corrected: bool) -> list[Prediction]:
    """Returns examples that only the last prediction has right, or only the first.

    Those whose label gains or loses most probability come first.
    """
    last = len(predictions[0].shares) - 1
    chosen = [
        one
        for one in predictions
        if one.right(last) != one.right(0) and one.right(last) == corrected
    ]

    def gain(one):
        return one.own(last) - one.own(0)

    return sorted(chosen, key=gain, reverse=corrected)


def _count(predictions: Sequence[Prediction], key: str) -> Table:
    rows = []
    for n in range(len(predictions[0].shares)):
        right = sum(one.right(n) for one in predictions)
        cells = [f"p{n}", f"{100 * right / len(predictions):.1f}"]
        for now in (True, False):
            changed = (
                sum(one.right(n) == now != one.right(n - 1) for one in predictions) if n else ""
            )
            cells.append(str(changed))
        rows.append([*cells, f"{sum(one.own(n) for one in predictions) / len(predictions):.2f}"])
    headers = ["prediction", "accuracy, %", "corrected", "lost", "probability"]
    caption = f"{key}: each iteration against the one before; mean probability of the label"
    return Table(headers, rows, caption)


def _card(run: Finished, key: str, one: Prediction) -> Card:
    most: dict[str, float] = {}
    for shares in one.shares:
        for name, share in shares.items():
            most[name] = max(most.get(name, 0.0), share)
    likely = sorted(most, key=lambda name: -most[name])[:CLASSES]
    bars = [
        Bar(name, [shares.get(name, 0.0) for shares in one.shares], name == one.name)
        for name in dict.fromkeys([one.name, *likely])
    ]
    return Card(run.images(key, one.place), one.name, [one.path], bars)
