"""Writes the tables of methods in README.md and docs/methods.md from the methods' records.

    python docs/method_tables.py

Each table stands between two comments: `<!-- methods of images -->`, `<!-- methods of videos -->`
or, for the short one of both, `<!-- methods -->`, and `<!-- end -->`.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from prompt_jax import methods
from prompt_jax.methods.record import NEEDS_TEXTS

DOCS = Path(__file__).parent
PAGES = (DOCS.parent / "README.md", DOCS / "methods.md")
_CONFIGS = DOCS.parent / "experiments" / "configs"
CONFIGS = {"images": _CONFIGS / "images", "videos": _CONFIGS / "video"}
PLACES = {
    "text": "prompts in the text",
    "images": "prompts in the images",
    "both": "prompts in both",
    "features": "on frozen features",
    "weights": "weights, adapters",
}
"""The place of the trainable parameters, by `Record.tunes`."""

MARKS = {"a batch": "ᵇ", NEEDS_TEXTS: "ᵗ", "no labels": "ᵘ"}
"""Marks of the short table: sees at test a batch or texts, in training no labels."""


def table(kind: str) -> list[str]:
    """Returns the lines of the table of "images" or "videos", a method per row, oldest first."""
    rows = [
        (
            one.title,
            f"`{config(one)}`",
            one.paper,
            _trained(one),
            one.at_test() + f" (one image with `{one.alone}`)" * bool(one.alone),
        )
        for one in methods.RECORDS[kind].values()
    ]
    return list(_lines(("method", "config", "paper", "trained", "sees at test"), rows))


def short_table() -> list[str]:
    """Returns the lines of the table of all names, a row per place of the trained parameters."""
    rows = [
        (
            header,
            *(
                " ".join(_marked(one) for one in records.values() if one.tunes == place)
                for records in methods.RECORDS.values()
            ),
        )
        for place, header in PLACES.items()
    ]
    return list(_lines(("trained", *methods.RECORDS), rows))


def config(record: methods.Record) -> str:
    """Returns a method's shortest config, in its directory: `coop.py`, `method.py:fudd`."""
    if record.kind == "videos" or record.sees_in_training == "no labels":
        return f"{record.own_protocol}.py:{record.name}"
    own = f"{record.name}.py"
    return own if (CONFIGS["images"] / own).is_file() else f"method.py:{record.name}"


def _trained(record: methods.Record) -> str:
    if record.sees_in_training == "nothing":
        return "nothing"
    return PLACES[record.tunes] + ", without labels" * (record.sees_in_training == "no labels")


def _marked(record: methods.Record) -> str:
    facts = (*record.at_test().split(", "), record.sees_in_training)
    return f"`{record.name}`" + "".join(MARKS.get(fact, "") for fact in facts)


def _lines(headers: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterable[str]:
    for row in (headers, ("---",) * len(headers), *rows):
        yield f"| {' | '.join(row)} |"


def rewrite(text: str) -> str:
    """Returns a page with its tables of methods renewed."""

    def renewed(found: re.Match[str]) -> str:
        kind = found["kind"]
        lines = table(kind) if kind else short_table()
        return "\n".join((found["begin"], *lines, "<!-- end -->\n"))

    pattern = (
        r"^(?P<begin><!-- methods(?: of (?P<kind>images|videos))? -->)\n(?s:.*?)<!-- end -->\n"
    )
    return re.sub(pattern, renewed, text, flags=re.MULTILINE)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(rewrite(page.read_text(encoding="utf-8")), encoding="utf-8")
