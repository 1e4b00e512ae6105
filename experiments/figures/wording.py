"""Titles of tables of accuracy, and remarks on how comparable their figures are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.figures import tables
from experiments.figures.papers import published
from experiments.figures.result_table import ECE, MACRO, MERGED, ResultTable
from experiments.record.runs import SOURCE_PROTOCOLS, STAND_IN
from prompt_jax import methods

SETTINGS = "settings."
ON_STAND_IN = STAND_IN[0].upper() + STAND_IN[1:] + "."


def title(table: ResultTable) -> str:
    """Returns the protocol, data, shots, and the backbone with its hash."""
    return f"{heading(table)} ({table.backbone_hash[:8]})"


def heading(table: ResultTable) -> str:
    """Returns the title without the hash, as in figures of papers."""
    parts = [f"{table.protocol}{', ablation: ' * bool(table.ablation)}{table.ablation}"]
    if table.protocol in SOURCE_PROTOCOLS:
        by = f" by {table.trained_by}" if table.trained_by else ""
        parts.append(f"trained on {table.data}{by}")
    elif table.data:
        parts.append(table.data)
    if table.shots is not None:
        _, most = table.shots_of(table.shots)
        parts.append(tables.count_shots(table.shots, most, most))
    return ", ".join([*parts, f"backbone {table.backbone}"])


def remarks_on(table: ResultTable) -> list[str]:
    """Returns all remarks on a table, a sentence each."""
    lines = []
    if table.backbone == "embedded" or any(name.startswith("emoji") for name in table.datasets):
        lines.append(ON_STAND_IN)
    cells = [cell for row in table.rows for cell in row.cells.values()]
    if any(cell.deviation is not None for cell in cells):
        lines.append("±: the sample standard deviation over seeds.")
    if table.intervals and any(cell.interval for cell in cells):
        lines.append(
            "In brackets: the 95 % interval of the mean over test images (Wilson; of H by "
            "sampling); it does not contain the spread over seeds."
        )
    if ECE in table.further:
        lines.append(
            "ECE: expected calibration error of the predicted class in %, 15 bins; 0 is calibrated."
        )
    lines += cautions(table)
    if _has_published(table):
        if table.backbone in published.BACKBONE_NAMES:
            shots = f", {published.SHOTS} shots" if table.shots else ""
            lines.append(f"Published figures: {published.BACKBONE}{shots}.")
        lines.append("Differences are measured minus published, in percentage points.")
    for features, names in table.features.items():
        lines.append(f"Training images of {', '.join(names)} are {features}.")
    for (method, name), values in table.chosen.items():
        counts = ", ".join(f"{one:g} ({n})" for one, n in sorted(Counter(values).items()))
        lines.append(f"{name} of {method} was chosen without test images, value (runs): {counts}.")
    if any(cell.most_seeds > cell.seeds for cell in cells):
        lines.append(
            "Averages over data sets with different numbers of seeds take all seeds of each, and "
            "have no ±."
        )
    if len(table.averaged) > 1:
        lines.append(
            f"Averages are over {', '.join(table.averaged)}; rows that lack one have none."
        )
    for name, parts in table.splits.items():
        lines.append(f"{name}: the mean over {len(parts)} splits, ± its deviation over them.")
    if MERGED in table.further:
        lines.append(
            "Reversals merged: predicting the reversal of an action, which differs from it in the "
            "order of frames only, counts as right too."
        )
    if MACRO in table.further:
        lines.append(
            "Mean over classes: the mean of the accuracies of all classes, which have different "
            "numbers of test images."
        )
    if "h" in table.columns:
        lines.append("H is the harmonic mean of the base and new accuracies after averaging.")
    for method in dict.fromkeys(row.method for row in table.rows):
        record = methods.find_record(method, "videos")
        if record and record.sees_in_training == "no labels":
            lines.append(f"The training of {method} reads no labels.")
    for row in table.rows:
        trained = any(run.trainable != 0 for run in row.runs)
        chosen = {name: "as chosen" for run in row.runs for name in run.chosen}
        if phrases := recipe([run.config for run in row.runs], trained, chosen):
            lines.append(f"{row.label}: {phrases}.")
    return lines


def seen(table: ResultTable) -> str:
    """Returns what the predictions of each method depend on, "one image (coop, vpt); …"."""
    found: dict[str, dict[str, None]] = {}
    for row in table.rows:
        found.setdefault(row.sees_at_test or "not known", {})[row.method] = None
    return "; ".join(f"{sees} ({', '.join(names)})" for sees, names in found.items())


def recipe(configs: Sequence[Mapping[str, Any]], trained: bool, chosen: Mapping[str, str]) -> str:
    """Returns the training recipe and the settings of the method; "" if none are recorded.

    Args:
        configs: of the runs, flat names to values.
        trained: whether anything was trained.
        chosen: settings that the runs chose, to the text that stands for them.
    """

    def values(name: str) -> str:
        found = dict.fromkeys(str(config[name]) for config in configs if name in config)
        return " or ".join(found)

    phrases = []
    if trained and values("epochs"):
        epochs = values("epochs")
        size = f"batches of {values('batch_size')}"
        phrases = [
            f"{epochs} epoch{'s' * (epochs != '1')}",
            size,
            f"rate {values('learning_rate')}",
        ]
        phrases.append(values("optimizer"))
    names = dict.fromkeys(name for config in configs for name in config)
    for name in names:
        setting = name.removeprefix(SETTINGS)
        if name.startswith(SETTINGS) and (value := chosen.get(setting) or values(name)):
            quoted = f"“{value}”" if " " in value and setting not in chosen else value
            phrases.append(f"{setting} {quoted}")
    return ", ".join(phrases)


def cautions(table: ResultTable) -> list[str]:
    """Returns why a table's figures are not comparable with published ones, a sentence each."""
    lines = []
    if _has_published(table) and table.backbone not in published.BACKBONE_NAMES:
        lines.append(
            f"Published figures: {published.BACKBONE}, {published.SHOTS} shots; "
            f"measured: backbone {table.backbone}."
        )
    for (name, asked), (least, most) in table.shots_there.items():
        if least < asked:
            there = tables.count_shots(asked, least, most)
            lines.append(f"{name}: trained on {there}; no more were listed or could be read.")
    if table.data_differences:
        listed = "; ".join(table.data_differences)
        lines.append(f"Not comparable with published figures: {listed}.")
    if table.settings_differences:
        listed = "; ".join(table.settings_differences)
        lines.append(f"Settings differ from the published ones, so none are shown: {listed}.")
    return lines


def _has_published(table: ResultTable) -> bool:
    return any(cell.published for row in table.rows for cell in row.cells.values())
