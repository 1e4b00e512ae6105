"""Layouts of texts of classes: their schemas, and the canonical content that they become.

`class_texts.Texts.content` describes it; `text_files` reads the files. Imports no JAX.
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import pydantic
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter

from prompt_jax.errors import PromptError, shorten
from prompt_jax.storage.schemas import STRICT
from prompt_jax.text.class_texts import CAPTIONS, CLASSES, FACTORS, KINDS, PAIRS
from prompt_jax.text.text_problems import describe

MOST_CLASSES = 100_000
MOST_TEXTS = 10_000  # of a class, a pair or a value
MOST_PAIRS = 2_000_000
MOST_IMAGES = 5_000_000
_IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp")


_Text = Annotated[str, Field(max_length=10_000)]
_Name = Annotated[str, Field(min_length=1, max_length=10_000)]
_Texts = Annotated[list[_Text], Field(max_length=MOST_TEXTS, fail_fast=True)]
_Seen = Annotated[_Text, Field(pattern=r"[^\s\p{C}]")]  # has a visible character
_OfClass = Annotated[
    list[_Seen],
    Field(max_length=MOST_TEXTS, fail_fast=True),
    BeforeValidator(lambda texts: [texts] if isinstance(texts, str) else texts),
]
_Classes = Annotated[dict[_Name, _OfClass], Field(min_length=1, max_length=MOST_CLASSES)]
_IGNORING = ConfigDict(strict=True, extra="ignore")  # further fields of published files
_Label = Annotated[int, Field(ge=0, lt=MOST_CLASSES)]


class _Difference(pydantic.BaseModel):
    model_config = _IGNORING
    prompt_pair: Annotated[list[_Text], Field(min_length=2, max_length=2)]


class _Pair(pydantic.BaseModel):
    model_config = _IGNORING
    classes: Annotated[list[_Label], Field(min_length=2, max_length=2)]
    prompt_pairs: Annotated[list[_Difference], Field(max_length=MOST_TEXTS)]


_Pairs = Annotated[dict[_Name, _Pair], Field(max_length=MOST_PAIRS)]
_Names = Annotated[list[_Name], Field(min_length=1, max_length=MOST_CLASSES)]


class _NamedPairs(pydantic.BaseModel):
    model_config = STRICT
    class_names: _Names
    prompt_pairs: _Pairs


_Values = Annotated[dict[_Name, _Texts], Field(min_length=1, max_length=1000)]


class _Factors(pydantic.BaseModel):
    model_config = STRICT
    main: Annotated[_Text, Field(pattern=r"^[^{}]*\{\}[^{}]*$")] = "a photo of a {}"
    convert_text: _Text = "object"
    factors: Annotated[dict[_Name, _Values], Field(min_length=1, max_length=100)]


class _Captioned(pydantic.BaseModel):
    model_config = _IGNORING
    image_path: _Text = ""
    caption: _Text


_Listed = Annotated[
    list[
        Annotated[
            _Captioned,
            BeforeValidator(lambda row: {"caption": row} if isinstance(row, str) else row),
        ]
    ],
    Field(min_length=1, max_length=MOST_IMAGES, fail_fast=True),
]
_ByImage = Annotated[dict[_Name, _Text], Field(min_length=1, max_length=MOST_IMAGES)]


class _Captions(pydantic.BaseModel):
    model_config = STRICT
    captions: _Listed
    classes: _Classes | None = None


class _CaptionsByImage(pydantic.BaseModel):
    model_config = STRICT
    captions: _ByImage
    classes: _Classes | None = None


def parse(content: Any, kind: str, where: str) -> Any:
    """Returns the canonical content, from any layout of this kind.

    Raises:
        PromptError: it has no layout of this kind; `where` names it in the message.
    """
    if isinstance(content, Mapping) and set(content) == {"kind", "texts"}:
        there = content["kind"]
        if isinstance(there, str) and there in KINDS:
            if there != kind:
                raise wrong_kind(where, there, kind)
            content = _published(kind, content["texts"])
    return _LAYOUTS[kind](_as_plain(content), where)


def wrong_kind(where: str, there: str, kind: str) -> PromptError:
    """Returns the error for texts of the kind `there` in the place of `kind`."""
    return PromptError(
        f"{where} holds {KINDS[there]}; the method reads {KINDS[kind]} (docs/texts.md)"
    )


def _published(kind: str, content: Any) -> Any:
    """Returns canonical content, which may be of an untrusted file, in the published layout."""
    try:
        if kind == PAIRS:
            pairs = {
                f"{i}_{j}": {
                    "classes": [i, j],
                    "prompt_pairs": [{"prompt_pair": pair} for pair in texts],
                }
                for i, j, texts in content["pairs"]
            }
            return {"class_names": content["class_names"], "prompt_pairs": pairs}
        if kind == FACTORS:
            return {
                **content,
                "factors": {factor: dict(values) for factor, values in content["factors"]},
            }
        if kind == CAPTIONS:
            captions = [
                {"image_path": image, "caption": caption} for image, caption in content["captions"]
            ]
            return {"captions": captions, "classes": content["classes"] or None}
    except (TypeError, ValueError, KeyError):
        raise PromptError(f"texts.json is damaged: it holds no {KINDS[kind]}") from None
    return content


def _parse_classes(content: Any, where: str) -> Any:
    classes = _checked(_Classes, content, CLASSES, where)
    if all(pathlib.PurePath(name).suffix.lower() in _IMAGES for name in classes):
        raise wrong_kind(where, CAPTIONS, CLASSES)
    return classes


def _parse_pairs(content: Any, where: str) -> Any:
    if kind_of(content) == PAIRS and not {"prompt_pairs", "class_names"} & set(content):
        raise PromptError(
            f"{where} has no class names: call it NAME_prompt_pairs.json and put "
            "NAME_class_names.json beside it, or write both into one file (docs/texts.md)"
        )
    named = _checked(_NamedPairs, content, PAIRS, where)
    number = len(named.class_names)
    pairs: dict[tuple[int, int], list[list[str]]] = {}
    for name, pair in named.prompt_pairs.items():
        i, j = pair.classes
        if max(i, j) >= number or i == j:
            raise PromptError(
                f"{where}: pair {shorten(name, 40)} is of classes {i} and {j}; there are {number} "
                f"class names, so both must be different numbers from 0 to {number - 1}"
            )
        texts = [one.prompt_pair if i < j else one.prompt_pair[::-1] for one in pair.prompt_pairs]
        pairs.setdefault((min(i, j), max(i, j)), []).extend(texts)
    return {
        "class_names": named.class_names,
        "pairs": [[i, j, texts] for (i, j), texts in sorted(pairs.items())],
    }


def _parse_factors(content: Any, where: str) -> Any:
    found = _checked(_Factors, content, FACTORS, where)
    factors = [
        [factor, list(map(list, values.items()))] for factor, values in found.factors.items()
    ]
    return {"main": found.main, "convert_text": found.convert_text, "factors": factors}


def _parse_captions(content: Any, where: str) -> Any:
    if not (isinstance(content, dict) and "captions" in content):
        if isinstance(content, dict) and set(map(type, content.values())) == {list}:
            return {"captions": [], "classes": _parse_classes(content, where)}
        there = kind_of(content)
        if there in (PAIRS, FACTORS) or (there == CLASSES and list in map(type, content.values())):
            raise wrong_kind(where, there, CAPTIONS)
        content = {"captions": content}
    by_image = isinstance(content["captions"], dict)
    schema = _CaptionsByImage if by_image else _Captions
    found = _checked(schema, content, CAPTIONS, where)
    rows = found.captions
    rows = rows.items() if by_image else [(row.image_path, row.caption) for row in rows]
    return {"captions": list(map(list, rows)), "classes": found.classes or {}}


_LAYOUTS: dict[str, Callable[[Any, str], Any]] = {
    CLASSES: _parse_classes,
    PAIRS: _parse_pairs,
    FACTORS: _parse_factors,
    CAPTIONS: _parse_captions,
}


def kind_of(content: Any) -> str:
    """Returns the kind whose layout the content resembles, "" if none is recognized."""
    if isinstance(content, list):
        captions = content and all(isinstance(one, dict) and "caption" in one for one in content)
        return CAPTIONS if captions else ""
    if not isinstance(content, dict) or not content:
        return ""
    values = list(content.values())
    if "factors" in content and set(content) <= {"main", "convert_text", "factors"}:
        return FACTORS
    if "prompt_pairs" in content or set(content) == {"class_names"}:
        return PAIRS
    if all(isinstance(one, dict) and "prompt_pairs" in one for one in values):
        return PAIRS
    if "captions" in content and set(content) <= {"captions", "classes"}:
        return CAPTIONS
    if all(isinstance(one, str) for one in values):
        images = all(pathlib.PurePath(str(name)).suffix.lower() in _IMAGES for name in content)
        return CAPTIONS if images else CLASSES
    return CLASSES if all(isinstance(one, str | list) for one in values) else ""


def _checked(schema: Any, content: Any, kind: str, where: str) -> Any:
    try:
        return TypeAdapter(schema).validate_python(content, strict=True)
    except pydantic.ValidationError as error:
        there = kind_of(content)
        if there not in ("", kind):
            raise wrong_kind(where, there, kind) from None
        raise PromptError(describe(error, kind, where)) from None


def _as_plain(value: Any) -> Any:
    """Returns mappings as dicts and sequences as lists, as JSON has them."""
    if isinstance(value, Mapping):
        return {name: _as_plain(one) for name, one in value.items()}
    return [_as_plain(one) for one in value] if isinstance(value, list | tuple) else value
