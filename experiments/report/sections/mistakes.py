"""The classes with the lowest accuracy, what they are predicted as, and images of errors."""

from collections.abc import Sequence
from typing import Any

from experiments.figures import classes
from experiments.record.files import confusions
from experiments.record.files.confusions import Confusion
from experiments.report.blocks import Block, Card, Gallery, Section, Table, Text
from experiments.report.finished import Finished

CLASSES, IMAGES = 8, 8  # shown per test set


def section(run: Finished) -> Section | None:
    """Returns the worst classes of each test set; None if no confusions were recorded."""
    results = run.results
    if "ranks" in results:
        return None
    counted, damaged = confusions.of_run(run.folder, results["accuracy"], results["pictures"])
    run.left_out.extend(damaged)
    blocks: list[Block] = []
    for key, confusion in counted.items():
        worst = classes.worst(confusion, CLASSES).rows
        blocks += [_table(confusion, worst, key), *_calibration(run, key)]
        cards = _cards(run, key, worst)
        if cards:
            blocks.append(Gallery(cards, f"Errors on {key}, of the worst classes first"))
    return Section("Mistakes", blocks) if blocks else None


def _table(confusion: Confusion, worst: Sequence[str], key: str) -> Table:
    rows = []
    for name in worst:
        examples = confusion.examples[name]
        wrong = classes.taken_for(confusion, name)
        often = sorted(wrong, key=lambda other: (-wrong[other], other))[:3]
        taken = ", ".join(f"{other} {100 * wrong[other] / examples:.0f} %" for other in often)
        words = f"{name} → {taken}" if taken else name
        rows.append([words, f"{confusion.of_class(name):.1f}", str(examples)])
    headers = ["class → predicted as", "accuracy, %", "examples"]
    caption = f"The worst {len(worst)} of {len(confusion.examples)} classes of {key}"
    return Table(headers, rows, caption)


def _calibration(run: Finished, key: str) -> list[Text]:
    """Returns the interval and the calibration of a test set, where results.json has them."""
    results, sentences = run.results, []
    ends = (results.get("interval") or {}).get(key)
    if ends:
        sentences.append(
            f"95 % interval over test images (Wilson): {ends[0]:.1f} to {ends[1]:.1f} %."
        )
    error = (results.get("calibration_error") or {}).get(key)
    if error is not None:
        before = (results.get("zero_shot_calibration_error") or {}).get(key)
        beside = "" if before is None else f", zero-shot CLIP {before:.1f} %"
        calibration = f"Calibration error (ECE, 15 bins): {error:.1f} %{beside}"
        sure, right = (results.get("confidence") or {}).get(key), results["accuracy"][key]
        if sure is not None:
            low, high = ends or (right, right)
            word = "overconfident" if sure > high else "underconfident"
            if low <= sure <= high:
                word = "calibrated within the interval"
            calibration += f"; mean confidence {sure:.1f} %, accuracy {right:.1f} %: {word}"
        sentences.append(f"{calibration}.")
    return [Text(f"{key}: {' '.join(sentences)}")] if sentences else []


def _cards(run: Finished, key: str, worst: Sequence[str]) -> list[Card]:
    """Returns errors of each of the worst classes in turn, the most confident first."""
    wrong: dict[str, list[tuple[int, dict[str, Any]]]] = {name: [] for name in worst}
    for place, row in enumerate(run.predictions(key)):
        if not row["right"] and row["class"] in wrong:
            wrong[row["class"]].append((place, row))
    for rows in wrong.values():
        rows.sort(key=lambda found: -found[1]["probabilities"][0])
    turns = range(max(map(len, wrong.values()), default=0))
    order = [rows[turn] for turn in turns for rows in wrong.values() if turn < len(rows)]
    cards = []
    for place, row in order[:IMAGES]:
        images = run.images(key, place)
        if images:
            lines = [f"predicted {row['top5'][0]} ({row['probabilities'][0]:.2f})", row["path"]]
            cards.append(Card(images, row["class"], lines))
    return cards
