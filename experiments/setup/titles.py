"""The names that people give their own data sets: what results and folders call them."""

import re

from data_pipelines import datasets
from experiments.config.config import Data
from prompt_jax.errors import PromptError

_TITLE = re.compile(r"\w[\w.-]{0,99}")
# What results call parts of a data set, or many of them.
_TAKEN = ("test", "base", "new", "average")


def called(data: Data, key: str) -> str:
    """What results call a data set, "name" or "name:domain": by its title, "birds:sketch"."""
    name, domain = datasets.split_domain(key)
    if not data.title or name != data.name:
        return key
    return data.title if domain is None else f"{data.title}:{domain}"


def named(data: Data, key: str) -> str:
    """The data set that results call so: `called` the other way round."""
    title = data.title
    if title and (key == title or key.startswith(f"{title}:")):
        return data.name + key[len(title) :]
    return key


def places(data: Data) -> list[tuple[str, str]]:
    """The (title, root) of each data set that `data.title` asks for; one, if no root is in it.

    Raises:
        PromptError: one lacks its root, roots are also in `data.root`, or a title comes twice.
    """
    asked = data.title
    if "=" not in asked:
        return [(asked, data.root)]
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
    if data.root:
        raise PromptError(
            f"config.data.root={data.root} and config.data.title={asked} both say where "
            "data sets lie; leave config.data.root out"
        )
    titles = [title for title, _ in found]
    if twice := next((title for title in titles if titles.count(title) > 1), None):
        raise PromptError(f"config.data.title={asked} has {twice!r} twice; give each its own")
    return found


def check(data: Data) -> None:
    """Refuses a title that could be taken for something else, or for a published data set.

    Raises:
        PromptError: says why, and what a title can be.
    """
    title, name = data.title, data.name
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
