"""Texts of the embedded scenes and videos, made by rule from what each emoji is.

facts.json holds Unicode's name, keywords, group and subgroup of the emoji of each class, and the
phrases of each action; README.md says where they are from. The rules use nothing else: no image is
looked at. Imports no JAX.
"""

import functools
import itertools
import json
from collections import Counter
from collections.abc import Mapping
from importlib import resources
from typing import Any

from prompt_jax.text.class_texts import CAPTIONS, CLASSES, FACTORS, PAIRS

SENTENCES = (
    "a photo of a {name}, which belongs to {topic}.",
    "a {name}, a thing of {topic}.",
    "a photo of a {name}, as in {group}.",
    "a {name}, known for {one}.",
    "a photo of a {name}, which goes with {two}.",
    "a {name}, which goes with {one} and {two}.",
    "a photo of a {name} for {three}.",
    "a {name} with {two} and {three}.",
)
"""Of each class. All begin with "a", so that they also read well after "cat, which is"."""

TOPICS = {
    "face-costume": "costumes",
    "body-parts": "the body",
    "animal-mammal": "mammals",
    "animal-bird": "birds",
    "animal-amphibian": "amphibians",
    "animal-reptile": "reptiles",
    "animal-marine": "sea animals",
    "animal-bug": "bugs",
    "plant-flower": "flowers",
    "plant-other": "plants",
    "food-fruit": "fruit",
    "food-vegetable": "vegetables",
    "food-prepared": "meals",
    "food-asian": "Asian food",
    "food-marine": "seafood",
    "food-sweet": "sweets",
    "drink": "drinks",
    "place-map": "maps",
    "place-geographic": "landscapes",
    "place-building": "buildings",
    "place-other": "places",
    "transport-ground": "traffic on land",
    "transport-water": "traffic on water",
    "transport-air": "traffic in the air",
    "hotel": "hotels",
    "time": "time",
    "sky & weather": "sky and weather",
    "event": "celebrations",
    "award-medal": "awards",
    "sport": "sport",
    "game": "games and toys",
    "clothing": "clothing",
    "sound": "sound",
    "musical-instrument": "musical instruments",
    "phone": "telephones",
    "computer": "computers",
    "light & video": "light and video",
    "book-paper": "books and paper",
    "writing": "writing",
    "office": "the office",
    "lock": "locks",
    "tool": "tools",
    "science": "science",
    "household": "the household",
}
"""Unicode's subgroups in words."""

MAIN = "a photo of a {}"
BACKGROUNDS = (
    *("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown"),
    *("gray", "white", "black"),
)
STYLES = {
    "plain": [""],
    "sketch": ["a pencil sketch", "drawn with dark lines"],
    "silhouette": ["a silhouette", "a dark shape against the light"],
    "night": ["at night", "in the dark"],
    "mosaic": ["a mosaic", "made of tiles"],
}

_UNLIKE = 2  # words that a text of a pair names


@functools.cache
def facts() -> Mapping[str, Any]:
    """Returns the content of facts.json."""
    file = resources.files(__name__).joinpath("facts.json")
    return json.loads(file.read_text(encoding="utf-8"))


def content(kind: str) -> Any:
    """Returns the texts of a kind in the layout of a file, see docs/texts.md.

    Args:
        kind: one of `class_texts.KINDS`. "captions" has no captions, which depend on the images,
            but the sentences of the classes.
    """
    made = {CLASSES: sentences, PAIRS: pairs, FACTORS: factors, CAPTIONS: sentences}
    return made[kind]()


def sentences() -> dict[str, list[str]]:
    """Returns as many sentences of every class as `SENTENCES` has, and one of every action."""
    found = {name: _describe(name, one) for name, one in facts()["classes"].items()}
    for name, phrases in facts()["actions"].items():
        words = ", ".join(phrases).replace("a {other}", "another thing")
        found[name] = [f"a video of a thing {words}."]
    return found


@functools.cache
def words_of(name: str) -> tuple[str, ...]:
    """Returns Unicode's name of a class's emoji, if it differs, and keywords, the rarest first."""
    one = facts()["classes"][name]
    known = Counter(word for each in facts()["classes"].values() for word in each["keywords"])
    words = sorted(one["keywords"], key=lambda word: (known[word], word))
    singular = [word for word in words if word.removesuffix("s") not in words or word[-1] != "s"]
    return (*[one["name"]] * (one["name"] != name), *singular)


def _describe(name: str, one: Mapping[str, Any]) -> list[str]:
    topic, group = TOPICS[one["subgroup"]], one["group"].replace("&", "and")
    # Classes with few words repeat theirs, those with one also name their topic.
    words = words_of(name)
    words = tuple(itertools.islice(itertools.cycle(words if words[1:] else (*words, topic)), 3))
    named = dict(zip(("one", "two", "three"), words, strict=True))
    return [text.format(name=name, topic=topic, group=group, **named) for text in SENTENCES]


def pairs() -> dict[str, Any]:
    """Returns what tells two classes apart: topics that differ, and words of only one of them.

    A pair that nothing tells apart is left out.
    """
    classes: Mapping[str, Any] = facts()["classes"]
    names = list(classes)
    found = {}
    for i, j in itertools.combinations(range(len(names)), 2):
        differences = [_difference(names[one], names[other]) for one, other in ((i, j), (j, i))]
        texts = [
            f"a photo of a {names[one]}{difference and f', which {difference}'}."
            for one, difference in zip((i, j), differences, strict=True)
        ]
        if any(differences):
            found[f"{i}_{j}"] = {"classes": [i, j], "prompt_pairs": [{"prompt_pair": texts}]}
    return {"class_names": names, "prompt_pairs": found}


def _difference(name: str, other: str) -> str:
    """Returns the topic of a class, if the other's differs, and words that are its own, or ""."""
    topic, different = (TOPICS[facts()["classes"][one]["subgroup"]] for one in (name, other))
    own = [word for word in words_of(name) if word not in words_of(other)][:_UNLIKE]
    phrases = [f"belongs to {topic}"] if topic != different else []
    phrases += [f"goes with {' and '.join(own)}"] if own else []
    return " and ".join(phrases)


def factors() -> dict[str, Any]:
    """Returns the backgrounds and drawing styles of scenes."""
    backgrounds = {color: [f"on a {color} background"] for color in BACKGROUNDS}
    return {
        "main": MAIN,
        "convert_text": "thing",
        "factors": {"background": backgrounds, "style": STYLES},
    }
