"""Writes what is known of the embedded classes and actions, from Unicode's files.

    python -m data_pipelines.scenes.facts --annotations annotations.json --emoji-test emoji-test.txt
        [--check]

Writes prompt_jax/text/embedded/facts.json: of each class the name, keywords, group and subgroup of
its emoji, and of each action its phrases. --check writes nothing and fails if the file differs.
Both files are Unicode's: cldr-annotations-full/annotations/en/annotations.json of the npm package
cldr-annotations-full, and /usr/share/unicode/emoji/emoji-test.txt of Debian's unicode-data; the
README beside the result has their versions.
"""

import argparse
import json
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from data_pipelines.errors import DataError
from data_pipelines.scenes.actions import ACTIONS
from data_pipelines.scenes.classes import CLASSES, EMOJI

RESULT = pathlib.Path(__file__).parents[2] / "prompt_jax" / "text" / "embedded" / "facts.json"

# Flags share them; they say nothing about how a rainbow looks.
_LEFT_OUT = frozenset(
    (
        *("gay", "genderqueer", "glbt", "glbtq", "lesbian", "lgbt", "lgbtq", "lgbtqia"),
        *("pride", "queer", "trans", "transgender"),
    )
)
_LINE = re.compile(r"(?P<codes>[0-9A-F ]+?)\s*;\s*fully-qualified\s")
_VARIATION = "\ufe0f"  # asks for the colored form; not in `EMOJI`


def collect(
    annotations: Mapping[str, Any], emoji_test: Sequence[str], names: Sequence[str] = CLASSES
) -> dict[str, Any]:
    """Returns the facts of classes and of all actions.

    Args:
        annotations: the content of annotations.json.
        emoji_test: the lines of emoji-test.txt.
        names: of the classes.

    Raises:
        DataError: one of the files lacks an emoji.
    """
    groups = read_groups(emoji_test)
    found = annotations["annotations"]["annotations"]
    classes = {}
    for name in names:
        emoji = EMOJI[name]
        if emoji not in found or emoji not in groups:
            where = "emoji-test.txt" if emoji in found else "annotations.json"
            raise DataError(f"{where} has no {emoji}, the emoji of {name!r}; use a later version")
        group, subgroup = groups[emoji]
        [title], words = found[emoji]["tts"], found[emoji]["default"]
        keywords = [word for word in map(str.lower, words) if _says_more(word, name)]
        classes[name] = {
            "name": title.lower(),
            "group": group.lower(),
            "subgroup": subgroup,
            "keywords": list(dict.fromkeys(keywords)),
        }
    actions = {name: list(action.phrases) for name, action in ACTIONS.items()}
    return {"classes": classes, "actions": actions}


def read_groups(lines: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Returns the group and subgroup of each emoji, from the lines of emoji-test.txt."""
    found, group, subgroup = {}, "", ""
    for line in lines:
        if line.startswith("# group:"):
            group = line.partition(":")[2].strip()
        elif line.startswith("# subgroup:"):
            subgroup = line.partition(":")[2].strip()
        elif match := _LINE.match(line):
            emoji = "".join(chr(int(code, 16)) for code in match["codes"].split())
            found[emoji.replace(_VARIATION, "")] = group, subgroup
    return found


def _says_more(word: str, name: str) -> bool:
    """Returns whether a keyword says more than the class name does."""
    known = {name, *name.split()}
    forms = {form for one in known for form in (one, one + "s", one + "es", one.removesuffix("s"))}
    return len(word) > 1 and word not in forms and word not in _LEFT_OUT


def as_text(facts: Mapping[str, Any]) -> str:
    """Returns the text of facts.json: a line for each class and action."""
    parts = []
    for part, entries in facts.items():
        lines = [
            f"{json.dumps(name)}: {json.dumps(one, ensure_ascii=False)}"
            for name, one in entries.items()
        ]
        parts.append(f"{json.dumps(part)}: {{\n" + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def start(argv: Sequence[str]) -> int:
    """Parses the arguments and writes or checks the file."""
    parser = argparse.ArgumentParser("data_pipelines.scenes.facts", description=__doc__)
    parser.add_argument("--annotations", type=pathlib.Path, required=True)
    parser.add_argument("--emoji-test", type=pathlib.Path, required=True)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args(argv)
    try:
        annotations = json.loads(options.annotations.read_text(encoding="utf-8"))
        lines = options.emoji_test.read_text(encoding="utf-8").splitlines()
        text = as_text(collect(annotations, lines))
    except (OSError, ValueError, KeyError) as error:
        print(f"{options.annotations} and {options.emoji_test} do not give the facts: {error!r}")
        return 2
    if not options.check:
        RESULT.write_text(text, encoding="utf-8")
    elif RESULT.read_text(encoding="utf-8") != text:
        print(f"{RESULT} differs; write it again without --check")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(start(sys.argv[1:]))
