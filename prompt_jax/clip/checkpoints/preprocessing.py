"""What stands beside a checkpoint's weights about images.

Weights do not show it, and answer worse when it is passed over.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from prompt_jax.clip.checkpoints.preprocessing_files import (
    HUGGING_FACE,
    OPEN_CLIP,
    PROCESSOR,
    READERS,
    TRANSFORMERS,
    content,
)
from prompt_jax.errors import PromptError
from prompt_jax.inputs.images.preprocessing import CLIP, Preprocessing


class Said(NamedTuple):
    """What the files beside the weights say.

    Attributes:
        fields: of a `Preprocessing`, those that a file says, with the file's name.
        problems: of a field, or of all ("") what is wrong in words.
        alone: whether the weights are a file that nothing of this stands beside.
        notes: what people should know of the files, a line each.
    """

    fields: Mapping[str, tuple[Any, str]]
    problems: tuple[tuple[str, str], ...] = ()
    alone: bool = False
    notes: tuple[str, ...] = ()


NOTHING = Said({})


def read(
    folder: Path, image_size: int, names: tuple[str, ...] = (OPEN_CLIP, *TRANSFORMERS)
) -> Said:
    """What a checkpoint's files say, which of `names` are there.

    Args:
        folder: holds them beside the weights.
        image_size: pixels of a side that the weights take; files that say others are wrong.
        names: of the files that belong to the weights.
    """
    found: dict[str, dict[str, Any]] = {}
    wrong: dict[str, str] = {}
    notes: list[str] = []
    for name in names:
        try:
            inside = content(folder / name)
            if inside is None:
                continue
            found[name] = READERS[name](inside, image_size)
        except (OSError, ValueError) as error:
            wrong[name] = str(error)
            continue
        if name in TRANSFORMERS and inside.get("auto_map"):
            notes.append(f"{name} names code of its own (auto_map), which is not run")
    if PROCESSOR in found:
        notes += _replaced(found, wrong)
    said: dict[str, tuple[Any, str]] = {}
    problems = [("", f"{name}: {error}") for name, error in wrong.items()]
    for name, fields in found.items():
        for field, value in fields.items():
            before, where = said.get(field, (value, name))
            if before != value and field != "middle":
                problems.append((field, f"{where} says {field}={before}, {name} {value}"))
            said.setdefault(field, (value, name))
    return Said(said, tuple(problems), notes=tuple(notes))


def _replaced(found: dict[str, dict[str, Any]], wrong: dict[str, str]) -> list[str]:
    """Takes out what transformers 5 does not read where processor_config.json says it."""
    wins = f"{PROCESSOR} wins over {HUGGING_FACE}, as in transformers 5"
    if error := wrong.pop(HUGGING_FACE, ""):
        return [f"{wins}; of the latter: {error}"]
    if HUGGING_FACE not in found:
        return []
    one, other = Preprocessing(**found[PROCESSOR]), Preprocessing(**found.pop(HUGGING_FACE))
    said = one.differences(other)
    said.pop("middle", None)
    both = (f"{name} {value}, not {getattr(other, name)}" for name, value in said.items())
    return [f"{wins}: {'; '.join(both)}"] if said else []


def resolve(
    said: Said, chosen: Mapping[str, Any], image_size: int, setting: str
) -> tuple[Preprocessing, list[str]]:
    """What is done to images, and what people should know of it, a line each.

    Args:
        said: what the files say.
        chosen: fields that a person sets, which win.
        image_size: pixels of a side.
        setting: what a person sets, for advice.

    Raises:
        PromptError: the files cannot be read, contradict each other or the weights, in fields that
            are not chosen.
    """
    settled = {"mean", "interpolation", "resize"} <= set(chosen)
    wrong = [text for field, text in said.problems if field not in chosen and not settled]
    if wrong:
        raise PromptError(
            f"{'; '.join(wrong)}. Correct the file, or say how images are prepared, which then "
            f"wins: {setting}"
        )
    # What a file says of margins and middles belongs to its way of resizing.
    instead = {*chosen, *(("fill", "middle") if "resize" in chosen else ())}
    by_files = {name: one for name, one in said.fields.items() if name not in instead}
    found = Preprocessing(**{name: value for name, (value, _) in by_files.items()}, **chosen)
    notes = [*said.notes]
    if said.alone and "mean" not in chosen:
        notes.append(
            "assumed: images normalized by OpenAI's mean and standard deviation; "
            f"open_clip_config.json beside the file would say, or {setting}"
        )
    for name, value in chosen.items():
        before, where = said.fields.get(name, (value, ""))
        if before != value:
            notes.append(f"{where} says {name}={before}; {name}={value} is set, and wins")
    if found != CLIP:
        by = {where for name, (_, where) in by_files.items() if name != "middle"}
        source = " and ".join(sorted(by)) or "the settings"
        notes.append(f"images are prepared by {source}: {found.describe(image_size)}")
    return found, notes
