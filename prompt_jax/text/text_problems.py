"""Describes what is wrong with the content of a file of texts, in plain words."""

import reprlib
from typing import Any

import pydantic

from prompt_jax.errors import escape, shorten
from prompt_jax.text.class_texts import CAPTIONS, CLASSES, FACTORS, PAIRS

MOST_SHOWN = 3

_LAYOUT = {
    CLASSES: "{class: [text, …]}",
    PAIRS: '{"class_names": […], "prompt_pairs": {…}}',
    FACTORS: '{"main": …, "factors": {factor: {value: [text, …]}}}',
    CAPTIONS: "{image: caption} or a list of captions",
}
_EXPECTED = {
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "string_type": "a text",
    "int_type": "a whole number",
}
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 60
_SHOWN.maxlevel = _SHOWN.maxlist = _SHOWN.maxdict = _SHOWN.maxtuple = 3


def describe(error: pydantic.ValidationError, kind: str, where: str) -> str:
    """Returns the message of invalid content: one line per problem, at most `MOST_SHOWN`.

    Args:
        error: of the schema of this kind.
        kind: one of `class_texts.KINDS`.
        where: the file.
    """
    found = error.errors(include_url=False)
    lines = [_describe(one, kind) for one in found[:MOST_SHOWN]]
    if len(found) > MOST_SHOWN:
        lines.append(f"and {len(found) - MOST_SHOWN:,} more")
    if len(lines) == 1:
        return f"{where}: {lines[0]} (docs/texts.md)"
    return "\n  ".join([f"{where} has another layout than docs/texts.md:", *lines])


def _describe(problem: Any, kind: str) -> str:
    place = [part for part in problem["loc"] if part != "[key]"]
    of_class = kind == CLASSES or (kind == CAPTIONS and place[:1] == ["classes"])
    if of_class:
        place = place if kind == CLASSES else place[1:]
    is_name = "[key]" in problem["loc"]
    is_class = of_class and len(place) == 1 and not is_name
    reason = _reason(problem, kind, is_class, not problem["loc"])
    if is_name:
        return f"name {shorten(str(place[-1]))}: {reason}"
    if of_class and place:
        text = f"text {place[1] + 1} of " if len(place) > 1 else ""
        return f"{text}class {shorten(str(place[0]))}: {reason}"
    name = shorten(escape(".".join(map(str, problem["loc"]))), 80).strip("'")
    return f"{name}: {reason}" if name else reason


def _reason(problem: Any, kind: str, is_class: bool, is_whole: bool) -> str:
    what, held = problem["type"], problem["input"]
    context = problem.get("ctx", {})
    if expected := _EXPECTED.get(what):
        if is_whole or problem["loc"] == ("captions",):
            expected = _LAYOUT[kind]
        elif is_class:
            expected = "a text or a list of texts"
        elif what == "model_type" and problem["loc"][0] == "captions":
            expected = 'a text or an object with "caption"'
        return f"expected {expected}, found {_found(held, is_whole)}"
    if what == "too_short":
        return f"expected at least {_plural(context['min_length'], 'entry')}, found {len(held)}"
    if what == "too_long":
        number = context.get("actual_length") or len(held)
        of = "text" if is_class else "entry"
        return f"expected at most {_plural(context['max_length'], of)}, found {number:,}"
    if what == "string_too_long":
        return f"expected at most {context['max_length']:,} characters, found {len(held):,}"
    others = {
        "missing": "it is missing",
        "extra_forbidden": "this version knows no such field",
        "string_too_short": "it is empty",
        "string_unicode": "it contains half of a surrogate pair, which is no character",
        "string_pattern_mismatch": 'it must contain "{}" once, for the class name'
        if kind == FACTORS
        else "it is blank; write a text, or [] for a class without texts",
    }
    return others.get(what) or f"{problem['msg']}, found {_found(held, is_whole)}"


def _found(held: Any, is_whole: bool) -> str:
    if isinstance(held, dict | list):
        kind = "an object" if isinstance(held, dict) else "a list"
        return kind if is_whole or len(held) > 3 else f"{kind}, {escape(_SHOWN.repr(held))}"
    if held is None or isinstance(held, bool):
        return {None: "null", True: "true", False: "false"}[held]
    return escape(_SHOWN.repr(held))


def _plural(number: int, of: str) -> str:
    return f"{number:,} {of}" if number == 1 else f"{number:,} {of.replace('entry', 'entrie')}s"
