"""The names that people give their own data sets: what results and folders call them."""

import re

from ml_collections import ConfigDict

from data_pipelines import datasets
from prompt_jax.errors import PromptError

_TITLE = re.compile(r"\w[\w.-]{0,99}")
# What results call parts of a data set, or many of them.
_TAKEN = ("test", "base", "new", "average")


def called(config: ConfigDict, key: str) -> str:
    """What results call a data set, "name" or "name:domain": by its title, "birds:sketch"."""
    name, domain = datasets.split_domain(key)
    if not config.data.title or name != config.data.name:
        return key
    return config.data.title if domain is None else f"{config.data.title}:{domain}"


def named(config: ConfigDict, key: str) -> str:
    """The data set that results call so: `called` the other way round."""
    title = config.data.title
    if title and (key == title or key.startswith(f"{title}:")):
        return config.data.name + key[len(title) :]
    return key


def places(config: ConfigDict) -> list[tuple[str, str]]:
    """The (title, root) of each data set that config.data.title asks for; one, if no root is in it.

    Raises:
        PromptError: one lacks its root, roots are also in config.data.root, or a title comes twice.
    """
    asked = config.data.title
    if "=" not in asked:
        return [(asked, config.data.root)]
    listed = [one.strip() for one in asked.split(",") if one.strip()]
    found = []
    for one in listed:
        title, equals, root = (part.strip() for part in one.partition("="))
        if not (equals and title and root):
            raise PromptError(
                f"config.data.title={asked}: {one!r} is no title with its root, as in "
                "--config.data.title=birds=/data/birds,cars=/data/cars"
            )
        found.append((title, root))
    if config.data.root:
        raise PromptError(
            f"config.data.root={config.data.root} and config.data.title={asked} both say where "
            "data sets lie; leave config.data.root out"
        )
    titles = [title for title, _ in found]
    if twice := next((title for title in titles if titles.count(title) > 1), None):
        raise PromptError(f"config.data.title={asked} has {twice!r} twice; give each its own")
    return found


def check(config: ConfigDict) -> None:
    """Refuses a title that could be taken for something else, or for a published data set.

    Raises:
        PromptError: says why, and what a title can be.
    """
    title, name = config.data.title, config.data.name
    if not title:
        return
    if not datasets.entry(name).is_own:
        raise PromptError(
            f"config.data.title={title}: {name} has its name; titles are for data sets of one's "
            f"own: {', '.join(key for key, entry in datasets.TABLE.items() if entry.is_own)}"
        )
    if title in datasets.TABLE or title in _TAKEN:
        raise PromptError(f"config.data.title={title} means something else; choose another")
    if not _TITLE.fullmatch(title):
        raise PromptError(
            f"config.data.title={title!r} must be a plain name for folders: letters, digits, "
            '"_", "-" and ".", at most 100, and neither "-" nor "." first'
        )
