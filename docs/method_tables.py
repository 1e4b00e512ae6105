"""Writes the README's tables of methods from the methods' records.

    python docs/method_tables.py

Each table stands between two comments, `<!-- methods of images -->` and `<!-- end -->`.
"""

import re
from pathlib import Path

from prompt_jax import methods

README = Path(__file__).parents[1] / "README.md"
HEADERS = {
    "text": "prompts in the text",
    "images": "in the images",
    "both": "in both",
    "features": "on frozen features",
    "weights": "fine-tuning and adapters",
}


def table(kind: str) -> list[str]:
    """Returns the lines of the table of "images" or "videos".

    A row for each test input that predictions depend on, a column for each place of the trainable
    parameters.
    """
    records = methods.RECORDS[kind].values()
    places = [place for place in HEADERS if any(one.tunes == place for one in records)]
    lines = [
        ("a prediction depends on", *(HEADERS[place] for place in places)),
        ("---",) * (1 + len(places)),
    ]
    for seen in dict.fromkeys(one.at_test() for one in records):
        cells = [
            " ".join(_named(one) for one in records if one.at_test() == seen and one.tunes == place)
            for place in places
        ]
        lines.append((seen, *cells))
    return [f"| {' | '.join(line)} |" for line in lines]


def _named(record: methods.Record) -> str:
    """Returns the name, with the settings that make predictions depend on one image alone."""
    return f"`{record.name}`" + f" (one image with `{record.alone}`)" * bool(record.alone)


def rewrite(text: str) -> str:
    """Returns a page with its tables of methods renewed."""

    def renewed(found: re.Match[str]) -> str:
        indent, kind = found["indent"], found["kind"]
        lines = [f"<!-- methods of {kind} -->", *table(kind), "<!-- end -->"]
        return "".join(f"{indent}{line}\n" for line in lines)

    pattern = r"^(?P<indent> *)<!-- methods of (?P<kind>images|videos) -->\n(?s:.*?)<!-- end -->\n"
    return re.sub(pattern, renewed, text, flags=re.MULTILINE)


if __name__ == "__main__":
    README.write_text(rewrite(README.read_text(encoding="utf-8")), encoding="utf-8")
