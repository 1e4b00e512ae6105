"""Titles: names of user data sets in results and directories."""

import re

from data_pipelines import datasets
from experiments.config.data import Data
from prompt_jax.errors import PromptError

_TITLE = re.compile(r"\w[\w.-]{0,99}")
# Names with another meaning in results.
_TAKEN = ("test", "base", "new", "average")


def title_of(data: Data, key: str) -> str:
    """Returns the name in results of a data set, "name" or "name:domain", e.g. "birds:sketch"."""
    name, domain = datasets.split_domain(key)
    if not data.title or name != data.name:
        return key
    return data.title if domain is None else f"{data.title}:{domain}"


def key_of(data: Data, key: str) -> str:
    """Returns the data set that has this name in results; inverts `title_of`."""
    title = data.title
    if title and (key == title or key.startswith(f"{title}:")):
        return data.name + key[len(title) :]
    return key


def titles_and_roots(data: Data) -> list[tuple[str, str]]:
    """Returns (title, root) of each data set in `data.title`.

    Raises:
        PromptError: a root is missing, `data.root` is set too, or a title is repeated.
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
                f"config.data.title={asked}: {one!r} is not TITLE=ROOT, as in "
                "--config.data.title=birds=/data/birds,cars=/data/cars"
            )
        found.append((title, root))
    if data.root:
        raise PromptError(
            f"config.data.root={data.root} and config.data.title={asked} are both set; "
            "omit config.data.root"
        )
    titles = [title for title, _ in found]
    if twice := next((title for title in titles if titles.count(title) > 1), None):
        raise PromptError(
            f"config.data.title={asked} has {twice!r} twice; give each data set a different title"
        )
    return found


def check(data: Data) -> None:
    """Checks `data.title`.

    Raises:
        PromptError: the title is reserved or malformed, or the data set is a published one.
    """
    title, name = data.title, data.name
    if not title:
        return
    if not datasets.entry(name).is_own:
        raise PromptError(
            f"config.data.title={title}: {name} is a published data set; titles are for your own "
            f"data: {', '.join(key for key, entry in datasets.TABLE.items() if entry.is_own)}"
        )
    if title in datasets.TABLE or title in _TAKEN:
        raise PromptError(f"config.data.title={title} is reserved; choose another")
    if not _TITLE.fullmatch(title):
        raise PromptError(
            f"config.data.title={title!r} must be a plain directory name: letters, digits, "
            '"_", "-" and ".", at most 100 characters, not starting with "-" or "."'
        )
