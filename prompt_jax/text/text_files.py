"""Reads texts of classes from JSON files in the published layouts; see docs/texts.md.

Every layout becomes the canonical content of its kind (`class_texts.Texts.content`). No code of a
file runs: tables published as Python code are parsed (`text_tables`).
"""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from prompt_jax.errors import PromptError, escape, shorten, unknown
from prompt_jax.storage.files import parse_json, read_bytes
from prompt_jax.text import class_texts, embedded, text_layouts, text_tables
from prompt_jax.text.class_texts import CAPTIONS, CLASSES, FACTORS, KINDS, PAIRS, Texts

MOST_BYTES = 256 * 2**20
"""Of a file: texts of all pairs of a few thousand classes."""

EMBEDDED = "embedded"
_PAIRS_END, _NAMES_END = "_prompt_pairs.json", "_class_names.json"
_OF_FOLDER = "captions.json"  # of each class
_TEMPLATES = "factor_templates"
_OTHER_FORMATS = {".py": ("Python code", (CLASSES, FACTORS)), ".csv": ("a CSV file", (CLASSES,))}


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
        return class_texts.make(
            kind, text_layouts.parse(embedded.content(kind), kind, EMBEDDED), EMBEDDED
        )
    files = [source] if os.path.exists(source) else source.split(",")
    contents = [_read(pathlib.Path(file.strip()).expanduser(), kind) for file in files]
    return class_texts.make(kind, _join(contents, kind, source), source)


def from_content(content: Any, kind: str, source: str = "") -> Texts:
    """Returns texts of a kind from the content of a file.

    Raises:
        PromptError: it has no layout of this kind.
    """
    _check_kind(kind)
    return class_texts.make(
        kind, text_layouts.parse(content, kind, escape(source) or "texts"), source
    )


def _check_kind(kind):
    if kind not in KINDS:
        raise unknown("kind of texts", kind, KINDS)


def _read(path: pathlib.Path, kind: str) -> Any:
    """Returns the canonical content of a file."""
    if path.is_dir() and kind == CAPTIONS:
        return _read_folder(path)
    where = escape(str(path))
    stem, _, variable = str(path).partition(".py:")
    suffix = ".py" if variable else path.suffix
    form, kinds = _OTHER_FORMATS.get(suffix, ("", ()))
    if form and kind not in kinds:
        raise PromptError(f"{where} is {form}; {KINDS[kind]} are read from JSON (docs/texts.md)")
    if suffix == ".py":
        file = pathlib.Path(f"{stem}.py") if variable else path
        table = text_tables.read(file)
        content = _factors_of(table, file) if kind == FACTORS else _choose(table, file, variable)
        return text_layouts.parse(content, kind, where)
    if suffix == ".csv":
        return text_layouts.parse(text_tables.read_csv(path), kind, where)
    content = _read_json(path)
    if kind == PAIRS and path.name.endswith(_PAIRS_END):
        names = path.with_name(path.name.removesuffix(_PAIRS_END) + _NAMES_END)
        if not names.is_file():
            raise PromptError(f"{where} needs its class names beside it, {escape(names.name)}")
        content = {"class_names": _read_json(names), "prompt_pairs": content}
    return text_layouts.parse(content, kind, where)


def _read_json(path: pathlib.Path) -> Any:
    text = ""
    try:
        text = read_bytes(path, MOST_BYTES).decode("utf-8-sig")
        return parse_json(text)
    except UnicodeEncodeError:  # half of a surrogate pair; the schema says where
        return json.loads(text)
    except (OSError, ValueError) as error:
        raise text_tables.explain(path, error, "JSON") from None


def _read_folder(folder: pathlib.Path) -> Any:
    """Returns captions of all images of a directory with a directory of each class."""
    files = sorted(folder.glob(f"*/{_OF_FOLDER}"))
    if not files:
        raise PromptError(
            f"{escape(str(folder))} has no {_OF_FOLDER} in the directories of its classes"
        )
    rows: list[Any] = []
    for file in files:
        content = text_layouts.parse(_read_json(file), CAPTIONS, escape(str(file)))
        rows += [
            [f"{file.parent.name}/{pathlib.PurePath(image).name}", caption]
            for image, caption in content["captions"]
        ]
    return {"captions": rows, "classes": {}}


def _choose(table: Mapping[str, Any], path: pathlib.Path, variable: str) -> Any:
    """Returns the variable of a Python file that holds texts of classes."""
    where = escape(str(path))
    lists = [
        name
        for name, value in table.items()
        if isinstance(value, dict) and value and all(isinstance(v, list) for v in value.values())
    ]
    if variable in table:
        return table[variable]
    if any(name.endswith(_TEMPLATES) for name in table):
        raise text_layouts.wrong_kind(where, FACTORS, CLASSES)
    if not lists:
        raise PromptError(
            f"no variable of {where} is a literal dict of lists of texts; only literal values are "
            "read, the file is never run (docs/texts.md)"
        )
    if variable:
        raise unknown(f"variable of {where}:", variable, table)
    if len(lists) > 1:
        raise PromptError(
            f"{where} has {len(lists)} variables with lists of texts by class: "
            f"{', '.join(lists[:5])}; name one as {where}:NAME"
        )
    return table[lists[0]]


def _factors_of(table: Mapping[str, Any], path: pathlib.Path) -> Any:
    """Returns factors from a table published as Python code: NAME_factor_templates."""
    where = escape(str(path))
    named = [name for name in table if name.endswith(_TEMPLATES)]
    if len(named) != 1:
        raise PromptError(
            f"{where} must have one variable NAME_{_TEMPLATES} with a literal value, and has "
            f"{len(named)}; the file is never run (docs/texts.md)"
        )
    main = table.get(named[0].replace(_TEMPLATES, "main_template"))
    texts = main if isinstance(main, list) else [main] if main else []
    return {"factors": table[named[0]]} | ({"main": texts[0]} if len(texts) == 1 else {})


def _join(contents: Sequence[Any], kind: str, source: str) -> Any:
    """Returns the content of several files; no class and no pair may occur twice."""
    if len(contents) == 1:
        return contents[0]
    if kind not in (CLASSES, CAPTIONS):
        raise PromptError(f"texts={escape(source)}: {KINDS[kind]} are read from one file")
    classes: dict[str, Any] = {}
    captions: list[Any] = []
    for content in contents:
        own = content if kind == CLASSES else content["classes"]
        if both := sorted(set(classes) & set(own)):
            raise PromptError(f"texts={escape(source)}: class {shorten(both[0])} is in two files")
        classes |= own
        captions += [] if kind == CLASSES else content["captions"]
    return classes if kind == CLASSES else {"captions": captions, "classes": classes}
