"""The table of data sets, and loading one by its name."""

import inspect
from pathlib import Path
from typing import Any

from data_pipelines.coop_layout import CoopLayout
from data_pipelines.emoji_scenes import EmojiScenes
from data_pipelines.errors import unknown
from data_pipelines.examples import Dataset

# A new data set is one line here. A new format is one file with a class that has `template`
# and `load(name, root, **options) -> Dataset`.
TABLE: dict[str, CoopLayout | EmojiScenes] = {
    "caltech101": CoopLayout(
        "caltech-101", "101_ObjectCategories", "split_zhou_Caltech101.json", "a photo of a {}."
    ),
    "oxford_pets": CoopLayout(
        "oxford_pets", "images", "split_zhou_OxfordPets.json", "a photo of a {}, a type of pet."
    ),
    "stanford_cars": CoopLayout(
        "stanford_cars", ".", "split_zhou_StanfordCars.json", "a photo of a {}."
    ),
    "flowers102": CoopLayout(
        "oxford_flowers",
        "jpg",
        "split_zhou_OxfordFlowers.json",
        "a photo of a {}, a type of flower.",
    ),
    "food101": CoopLayout(
        "food-101", "images", "split_zhou_Food101.json", "a photo of {}, a type of food."
    ),
    "sun397": CoopLayout("sun397", "SUN397", "split_zhou_SUN397.json", "a photo of a {}."),
    "dtd": CoopLayout("dtd", "images", "split_zhou_DescribableTextures.json", "{} texture."),
    "eurosat": CoopLayout(
        "eurosat", "2750", "split_zhou_EuroSAT.json", "a centered satellite photo of {}."
    ),
    "ucf101": CoopLayout(
        "ucf101",
        "UCF-101-midframes",
        "split_zhou_UCF101.json",
        "a photo of a person doing {}.",
    ),
    "emoji_scenes": EmojiScenes("a photo of a {}."),
}


def load(name: str, root: str | Path | None = None, **options: Any) -> Dataset:
    """Load the lists of a data set; pictures are read later, one by one.

    Args:
        name: a key of `TABLE`.
        root: the folder that holds the data set's folder, or that folder itself; not needed by
            the embedded data set.
        **options: what the data set's own `load` takes, e.g. `domain` for "emoji_scenes".

    Returns:
        The data set.

    Raises:
        DataError: an unknown name or option, or data that is missing or malformed.
    """
    if name not in TABLE:
        raise unknown("data set", name, TABLE)
    source = TABLE[name]
    allowed = [key for key in inspect.signature(source.load).parameters if key != "name"]
    for option in options:
        if option not in allowed:
            raise unknown(f"option of the data set {name}:", option, allowed)
    return source.load(name, root, **options)
