"""Reads texts of classes from JSON files in the published layouts; see docs/texts.md.

Every layout becomes the canonical content of its kind (`class_texts.Texts.content`). No code of a
file runs: tables published as Python code are parsed (`text_tables`).
"""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import pydantic
from pydantic import ConfigDict, Field, TypeAdapter

from prompt_jax.errors import PromptError, escape, unknown
from prompt_jax.storage.files import describe_invalid, read_json
from prompt_jax.storage.schemas import STRICT
from prompt_jax.text import class_texts, embedded, text_tables
from prompt_jax.text.class_texts import CAPTIONS, CLASSES, FACTORS, KINDS, PAIRS, Texts

MOST_BYTES = 256 * 2**20
"""Of a file: texts of all pairs of a few thousand classes."""

MOST_CLASSES = 100_000
MOST_TEXTS = 10_000  # of a class, a pair or a value
MOST_PAIRS = 2_000_000
MOST_IMAGES = 5_000_000
EMBEDDED = "embedded"
_PAIRS_END, _NAMES_END = "_prompt_pairs.json", "_class_names.json"
_OF_FOLDER = "captions.json"  # of each class

_Text = Annotated[str, Field(max_length=10_000)]
_Name = Annotated[str, Field(min_length=1, max_length=10_000)]
_Texts = Annotated[list[_Text], Field(max_length=MOST_TEXTS)]
_Classes = Annotated[dict[_Name, _Texts | _Text], Field(min_length=1, max_length=MOST_CLASSES)]
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


_Listed = Annotated[list[_Text | _Captioned], Field(min_length=1, max_length=MOST_IMAGES)]
_ByImage = Annotated[dict[_Name, _Text], Field(min_length=1, max_length=MOST_IMAGES)]


class _Captions(pydantic.BaseModel):
    model_config = STRICT
    captions: _Listed | _ByImage
    classes: _Classes | None = None


def resolve(texts: Any, kind: str) -> Texts:
    """Returns texts of a kind from a path, "embedded", a mapping or `Texts`.

    Raises:
        PromptError: see `read` and `from_content`.
    """
    if isinstance(texts, Texts):
        return texts
    if isinstance(texts, str | os.PathLike):
        return read(texts, kind)
    if isinstance(texts, Mapping | Sequence):
        return from_content(texts, kind)
    raise PromptError(
        f"texts={texts!r} is of type {type(texts).__name__}; pass a path, 'embedded', or the "
        "content of a file"
    )


def read(path: str | os.PathLike, kind: str) -> Texts:
    """Reads texts of a kind from a file.

    Args:
        path: a JSON file; "embedded" for the texts of the embedded data sets; for "factors" and
            "classes" also a table published as Python code, FILE.py or FILE.py:VARIABLE; for
            "classes" also CSV; for "captions" also a directory with captions.json in the directory
            of each class; or several files, separated by commas.
        kind: one of `KINDS`.

    Raises:
        PromptError: it cannot be read, or has no layout of this kind.
    """
    source = os.fspath(path)
    _check_kind(kind)
    if source == EMBEDDED:
        return class_texts.make(kind, _parse(embedded.content(kind), kind, EMBEDDED), EMBEDDED)
    files = [source] if os.path.exists(source) else source.split(",")
    contents = [_read(pathlib.Path(file.strip()).expanduser(), kind) for file in files]
    return class_texts.make(kind, _join(contents, kind, source), source)


def from_content(content: Any, kind: str, source: str = "") -> Texts:
    """Returns texts of a kind from the content of a file.

    Raises:
        PromptError: it has no layout of this kind.
    """
    _check_kind(kind)
    return class_texts.make(kind, _parse(content, kind, source or "texts"), source)


def _check_kind(kind):
    if kind not in KINDS:
        raise unknown("kind of texts", kind, KINDS)


def _read(path: pathlib.Path, kind: str) -> Any:
    """Returns the canonical content of a file."""
    if path.is_dir() and kind == CAPTIONS:
        return _read_folder(path)
    stem, _, variable = str(path).partition(".py:")
    if variable or path.suffix == ".py":
        file = pathlib.Path(f"{stem}.py") if variable else path
        table = text_tables.read(file)
        content = _factors_of(table, file) if kind == FACTORS else _choose(table, file, variable)
        return _parse(content, kind, str(path))
    if path.suffix == ".csv" and kind == CLASSES:
        return _parse(text_tables.read_csv(path), kind, str(path))
    content = _read_json(path)
    if kind == PAIRS and path.name.endswith(_PAIRS_END):
        names = path.with_name(path.name.removesuffix(_PAIRS_END) + _NAMES_END)
        if not names.is_file():
            raise PromptError(f"{path} needs its class names beside it, {names.name}")
        content = {"class_names": _read_json(names), "prompt_pairs": content}
    return _parse(content, kind, str(path))


def _read_json(path: pathlib.Path) -> Any:
    try:
        return read_json(path, MOST_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PromptError(f"texts {path} cannot be read: {escape(str(reason))}") from None


def _read_folder(folder: pathlib.Path) -> Any:
    """Returns captions of all images of a directory with a directory of each class."""
    files = sorted(folder.glob(f"*/{_OF_FOLDER}"))
    if not files:
        raise PromptError(f"{folder} has no {_OF_FOLDER} in the directories of its classes")
    rows: list[Any] = []
    for file in files:
        content = _parse(_read_json(file), CAPTIONS, str(file))
        rows += [
            [f"{file.parent.name}/{pathlib.PurePath(image).name}", caption]
            for image, caption in content["captions"]
        ]
    return {"captions": rows, "classes": {}}


def _parse(content: Any, kind: str, where: str) -> Any:
    """Returns the canonical content, from any layout of this kind."""
    if isinstance(content, Mapping) and set(content) == {"kind", "texts"}:
        there = content["kind"]
        if isinstance(there, str) and there in KINDS:
            if there != kind:
                raise PromptError(f"{where} holds {KINDS[there]}, not {KINDS[kind]}")
            content = _published(kind, content["texts"])
    return _LAYOUTS[kind](content, where)


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
    classes = _checked(_Classes, content, where)
    return {name: [texts] if isinstance(texts, str) else texts for name, texts in classes.items()}


def _parse_pairs(content: Any, where: str) -> Any:
    named = _checked(_NamedPairs, content, where)
    number = len(named.class_names)
    pairs: dict[tuple[int, int], list[list[str]]] = {}
    for name, pair in named.prompt_pairs.items():
        i, j = pair.classes
        if max(i, j) >= number or i == j:
            raise PromptError(
                f"{where}: pair {name[:40]!r} is of classes {i} and {j}; there are {number} class "
                f"names, so both must be different numbers from 0 to {number - 1}"
            )
        texts = [one.prompt_pair if i < j else one.prompt_pair[::-1] for one in pair.prompt_pairs]
        pairs.setdefault((min(i, j), max(i, j)), []).extend(texts)
    return {
        "class_names": named.class_names,
        "pairs": [[i, j, texts] for (i, j), texts in sorted(pairs.items())],
    }


def _parse_factors(content: Any, where: str) -> Any:
    found = _checked(_Factors, content, where)
    factors = [
        [factor, list(map(list, values.items()))] for factor, values in found.factors.items()
    ]
    return {"main": found.main, "convert_text": found.convert_text, "factors": factors}


def _parse_captions(content: Any, where: str) -> Any:
    if not (isinstance(content, Mapping) and "captions" in content):
        lists = isinstance(content, Mapping) and list(map(type, content.values()))
        if lists and set(lists) <= {list, tuple}:
            return {"captions": [], "classes": _parse_classes(content, where)}
        content = {"captions": content}
    found = _checked(_Captions, content, where)
    rows: Any = found.captions
    if isinstance(rows, dict):
        rows = list(rows.items())
    else:
        rows = [
            ("", row) if isinstance(row, str) else (row.image_path, row.caption) for row in rows
        ]
    classes = _parse_classes(found.classes, where) if found.classes else {}
    return {"captions": list(map(list, rows)), "classes": classes}


_LAYOUTS: dict[str, Callable[[Any, str], Any]] = {
    CLASSES: _parse_classes,
    PAIRS: _parse_pairs,
    FACTORS: _parse_factors,
    CAPTIONS: _parse_captions,
}


def _choose(table: Mapping[str, Any], path: pathlib.Path, variable: str) -> Any:
    """Returns the variable of a Python file that holds texts of classes."""
    if variable:
        if variable not in table:
            raise unknown(f"variable of {path}:", variable, table)
        return table[variable]
    lists = [
        name
        for name, value in table.items()
        if isinstance(value, dict) and value and all(isinstance(v, list) for v in value.values())
    ]
    if len(lists) != 1:
        raise PromptError(
            f"{path} has {len(lists)} variables with lists of texts by class"
            f"{': ' + ', '.join(lists[:5]) if lists else ''}; name one as {path}:NAME"
        )
    return table[lists[0]]


def _factors_of(table: Mapping[str, Any], path: pathlib.Path) -> Any:
    """Returns factors from a table published as Python code: NAME_factor_templates."""
    named = [name for name in table if name.endswith("factor_templates")]
    if len(named) != 1:
        raise PromptError(f"{path} must define one table, NAME_factor_templates")
    main = table.get(named[0].replace("factor_templates", "main_template"))
    texts = main if isinstance(main, list) else [main] if main else []
    return {"factors": table[named[0]]} | ({"main": texts[0]} if len(texts) == 1 else {})


def _join(contents: Sequence[Any], kind: str, source: str) -> Any:
    """Returns the content of several files; no class and no pair may occur twice."""
    if len(contents) == 1:
        return contents[0]
    if kind not in (CLASSES, CAPTIONS):
        raise PromptError(f"texts={source}: {KINDS[kind]} are read from one file")
    classes: dict[str, Any] = {}
    captions: list[Any] = []
    for content in contents:
        own = content if kind == CLASSES else content["classes"]
        if both := sorted(set(classes) & set(own)):
            raise PromptError(f"texts={source}: class {both[0]!r} is in two files")
        classes |= own
        captions += [] if kind == CLASSES else content["captions"]
    return classes if kind == CLASSES else {"captions": captions, "classes": classes}


def _checked(schema: Any, content: Any, where: str) -> Any:
    try:
        return TypeAdapter(schema).validate_python(_as_plain(content), strict=True)
    except pydantic.ValidationError as error:
        raise PromptError(
            f"{where}: {describe_invalid(error)}; docs/texts.md has the layouts"
        ) from None


def _as_plain(value: Any) -> Any:
    """Returns mappings as dicts and sequences as lists, as JSON has them."""
    if isinstance(value, Mapping):
        return {name: _as_plain(one) for name, one in value.items()}
    return [_as_plain(one) for one in value] if isinstance(value, list | tuple) else value
