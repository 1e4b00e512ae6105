"""Texts of classes that methods read: sentences, pairs of classes, factors, captions of images.

Each kind has one canonical content, whose digest identifies the texts wherever they come from.
docs/texts.md describes the files. Imports no JAX.
"""

import dataclasses
import difflib
import functools
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from prompt_jax.errors import ArgumentError, PromptError, escape, shorten
from prompt_jax.text.class_names import key, spaced

CLASSES, PAIRS, FACTORS, CAPTIONS = "classes", "pairs", "factors", "captions"
KINDS = {
    CLASSES: "sentences or descriptions of each class",
    PAIRS: "texts that tell two classes apart",
    FACTORS: "descriptions of what surrounds an object",
    CAPTIONS: "captions of training images",
}
"""The kinds of texts, with a description for messages."""

MOST_LISTED = 5
CLOSE = 0.7
"""Least similarity of a class's name and one that is shown beside it."""

ADD = "add them, or rename its classes or those of the data set"
PASS = "pass a file with texts of these classes by {}"
"""What to do about classes without texts: in a file that was given, and in a model's."""


@dataclasses.dataclass(frozen=True, eq=False)
class Texts:
    """Immutable texts of one kind; equal if kind and content are.

    Attributes:
        kind: one of `KINDS`.
        content: by kind, with mappings and lists that cannot be changed:
            "classes": {class: (text, …)}.
            "pairs": {"class_names": (class, …), "pairs": ((i, j, (text of i, text of j), …), …)}.
            "factors": {"main": template, "convert_text": object,
            "factors": ((factor, ((value, (description, …)), …)), …)}.
            "captions": {"captions": ((image or "", caption), …), "classes": {class: (text, …)}}.
        digest: SHA-256 of kind and content.
        source: the file, for messages; "" if there is none.
        advice: what to do about classes without texts, with "{}" for the argument `texts`.
    """

    kind: str
    content: Mapping[str, Any]
    digest: str
    source: str = ""
    advice: str = ADD

    def __eq__(self, other: object) -> bool:
        """Returns whether both have the same kind and content."""
        return isinstance(other, Texts) and self.digest == other.digest

    def __hash__(self) -> int:
        """Returns a hash of the digest."""
        return hash(self.digest)

    def __repr__(self) -> str:
        """Shows the kind, the source and the start of the digest."""
        return f"Texts({self.kind}, {self.source or 'given'}, {self.digest[:8]})"

    def of(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """Returns the texts of each class, for the kinds "classes" and "captions".

        Names are matched by `class_names.key`: "_" is a space, and case does not matter.

        Raises:
            PromptError: lists the classes without an entry, with close names.
        """
        found = self.find(names)
        missing = [name for name, texts in zip(names, found, strict=True) if texts is None]
        if missing:
            raise self.missing(missing, self._of_classes(), len(names))
        return [texts for texts in found if texts is not None]

    def find(self, names: Sequence[str]) -> list[tuple[str, ...] | None]:
        """Returns the same as `of`, with None for a class without an entry."""
        classes = {key(name): texts for name, texts in self._of_classes().items()}
        return [classes.get(key(name)) for name in names]

    def missing(self, names: Sequence[str], known: Sequence[str] | Mapping, number: int):
        """Returns the error for classes that have no texts.

        Args:
            names: these classes.
            known: the classes that have texts.
            number: number of all classes that were looked up.
        """
        by_key = {key(name): name for name in known}
        shown = []
        for name in names[:MOST_LISTED]:
            close = difflib.get_close_matches(key(name), list(by_key), n=2, cutoff=CLOSE)
            there = " or ".join(shorten(by_key[one]) for one in close)
            shown.append(f"{shorten(spaced(name))}{f' (there: {there})' if there else ''}")
        more = len(names) - len(shown)
        mistake = (
            f"{self.where} has no texts of {len(names)} of {number} classes: {', '.join(shown)}"
            f"{f' and {more:,} more' if more else ''}"
        )
        return ArgumentError(mistake, self.advice, *["texts"] * self.advice.count("{}"))

    def with_advice(self, advice: str) -> "Texts":
        """Returns the same texts with another `advice`."""
        return dataclasses.replace(self, advice=advice)

    @property
    def where(self) -> str:
        """Returns the source for messages, in one line."""
        return escape(self.source) or "texts"

    @property
    def captions(self) -> tuple[tuple[str, str], ...]:
        """Returns (image, caption) of the kind "captions"; the image is "" if none is named."""
        return self.content["captions"]

    def as_json(self) -> dict[str, Any]:
        """Returns {"kind", "texts"}, the content of texts.json; `from_content` reads it."""
        return {"kind": self.kind, "texts": _plain(self.content)}

    def _of_classes(self):
        if self.kind not in (CLASSES, CAPTIONS):
            raise PromptError(f"{self.where} holds {KINDS[self.kind]}, not texts of each class")
        return self.content if self.kind == CLASSES else self.content["classes"]


def make(kind: str, content: Mapping[str, Any], source: str = "") -> Texts:
    """Returns texts from their canonical content, see `Texts.content`.

    Raises:
        PromptError: two classes have the same key, or there is no class.
    """
    classes: Any = {CLASSES: content, CAPTIONS: content.get("classes", ())}.get(kind, ())
    seen: dict[str, str] = {}
    for name in classes:
        if (one := key(name)) in seen:
            raise PromptError(
                f"{escape(source) or 'texts'}: classes {shorten(seen[one])} and {shorten(name)} "
                "are the same name; keep one"
            )
        seen[one] = name
    plain = _plain(content)
    text = json.dumps([kind, plain], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return Texts(kind, _frozen(plain), hashlib.sha256(text.encode("utf-8")).hexdigest(), source)


def note_empty(texts: Texts, names: Sequence[str]) -> None:
    """Prints which of these classes have an entry without a text, once."""
    if empty := [name for name, own in zip(names, texts.of(names), strict=True) if not own]:
        more = f" (and {len(empty) - 1:,} more)" if len(empty) > 1 else ""
        _note(
            f"{texts.where} has no text of class {shorten(empty[0])}{more}; its name alone is used"
        )


@functools.cache
def _note(words: str) -> None:
    print(f"note: {words}", file=sys.stderr, flush=True)


def check_given(kind: str, texts: Texts | None) -> Texts | None:
    """Returns the texts for a method that reads `kind`; None if it reads none.

    Raises:
        PromptError: the texts are missing or of another kind.
    """
    if not kind:
        return None
    if texts is None:
        raise PromptError(
            f"the method reads {KINDS[kind]}, and there are none: pass a file by texts=… "
            "(--config.texts=… for experiments); docs/texts.md describes the files"
        )
    if texts.kind != kind:
        raise PromptError(
            f"{texts.where} holds {KINDS[texts.kind]}; the method reads {KINDS[kind]} "
            "(docs/texts.md)"
        )
    return texts


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return MappingProxyType({name: _frozen(one) for name, one in value.items()})
    return tuple(_frozen(one) for one in value) if isinstance(value, list | tuple) else value


def stand_in(kind: str, names: Sequence[str]) -> Texts | None:
    """Returns made-up texts for any classes, for plans and measurements; None for the kind ""."""
    shown = [spaced(name) for name in names]
    classes = {
        name: [f"{one} {number}" for number in range(3)]
        for name, one in zip(names, shown, strict=True)
    }
    contents: dict[str, Mapping[str, Any]] = {
        CLASSES: classes,
        PAIRS: {
            "class_names": list(names),
            "pairs": [
                [i, i + 1, [[f"a {shown[i]}, not {shown[i + 1]}.", f"a {shown[i + 1]}."]]]
                for i in range(len(names) - 1)
            ],
        },
        FACTORS: {
            "main": "photo of {}",
            "convert_text": "object",
            "factors": [["place", [["others", [""]], ["indoor", ["indoors", "inside"]]]]],
        },
        CAPTIONS: {"captions": [["", f"a photo of a {one}."] for one in shown], "classes": classes},
    }
    return make(kind, contents[kind], "stand-in texts") if kind else None
