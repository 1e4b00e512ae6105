"""Determines a checkpoint's image preprocessing from the files beside its weights.

The weights do not show it, and a wrong preprocessing lowers the accuracy.
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


class Declared(NamedTuple):
    """The preprocessing that the files beside the weights declare.

    Attributes:
        fields: declared fields of `Preprocessing`: value and name of the file.
        problems: pairs of a field, "" for all, and an error message.
        alone: whether the weights are a file without any preprocessing file.
        notes: messages to the user about the files.
    """

    fields: Mapping[str, tuple[Any, str]]
    problems: tuple[tuple[str, str], ...] = ()
    alone: bool = False
    notes: tuple[str, ...] = ()


NOTHING = Declared({})


def read(
    folder: Path, image_size: int, names: tuple[str, ...] = (OPEN_CLIP, *TRANSFORMERS)
) -> Declared:
    """Reads the preprocessing files in a checkpoint's directory.

    Args:
        folder: directory with the weights.
        image_size: input size of the weights in pixels; a file with another size is an error.
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
            notes.append(f"{name} refers to custom code (auto_map), which is not executed")
    if PROCESSOR in found:
        notes += _replaced(found, wrong)
    declared: dict[str, tuple[Any, str]] = {}
    problems = [("", f"{name}: {error}") for name, error in wrong.items()]
    for name, fields in found.items():
        for field, value in fields.items():
            before, where = declared.get(field, (value, name))
            if before != value and field != "middle":
                problems.append((field, f"{field} is {before} in {where}, {value} in {name}"))
            declared.setdefault(field, (value, name))
    return Declared(declared, tuple(problems), notes=tuple(notes))


def _replaced(found: dict[str, dict[str, Any]], wrong: dict[str, str]) -> list[str]:
    """Removes preprocessor_config.json, which processor_config.json overrides; returns notes."""
    rule = f"{PROCESSOR} overrides {HUGGING_FACE}, as in transformers 5"
    if error := wrong.pop(HUGGING_FACE, ""):
        return [f"{rule}; the latter is invalid: {error}"]
    if HUGGING_FACE not in found:
        return []
    one, other = Preprocessing(**found[PROCESSOR]), Preprocessing(**found.pop(HUGGING_FACE))
    differences = one.differences(other)
    differences.pop("middle", None)
    both = (f"{name} {value}, not {getattr(other, name)}" for name, value in differences.items())
    return [f"{rule}: {'; '.join(both)}"] if differences else []


def resolve(
    declared: Declared, chosen: Mapping[str, Any], image_size: int, setting: str
) -> tuple[Preprocessing, list[str]]:
    """Returns the preprocessing and notes to the user about it.

    Args:
        declared: from `read`.
        chosen: fields set by the user, which override the files.
        image_size: in pixels.
        setting: name of the user's setting, for messages.

    Raises:
        PromptError: the files cannot be read, or contradict each other or the weights in fields
            that are not in `chosen`.
    """
    settled = {"mean", "interpolation", "resize"} <= set(chosen)
    wrong = [text for field, text in declared.problems if field not in chosen and not settled]
    if wrong:
        raise PromptError(
            f"{'; '.join(wrong)}. Correct the file, or set the preprocessing, which overrides it: "
            f"{setting}"
        )
    # A file's `fill` and `middle` belong to its way of resizing.
    instead = {*chosen, *(("fill", "middle") if "resize" in chosen else ())}
    by_files = {name: one for name, one in declared.fields.items() if name not in instead}
    found = Preprocessing(**{name: value for name, (value, _) in by_files.items()}, **chosen)
    notes = [*declared.notes]
    if declared.alone and "mean" not in chosen:
        notes.append(
            "assumed: images normalized with OpenAI's mean and standard deviation; put "
            f"open_clip_config.json beside the file to state it, or set {setting}"
        )
    for name, value in chosen.items():
        before, where = declared.fields.get(name, (value, ""))
        if before != value:
            notes.append(f"{name}={value} is set and overrides {before} in {where}")
    if found != CLIP:
        by = {where for name, (_, where) in by_files.items() if name != "middle"}
        source = " and ".join(sorted(by)) or "the settings"
        notes.append(f"image preprocessing from {source}: {found.describe(image_size)}")
    return found, notes
