"""Builds the config of a method from the recipe of its record."""

from collections.abc import Callable

from ml_collections import ConfigDict

from experiments.configs import default
from prompt_jax import methods
from prompt_jax.errors import unknown
from prompt_jax.methods.recipe import Recipe


def get_config(method: str, protocol: str = "base_to_novel", kind: str = "images") -> ConfigDict:
    """Returns a method's published settings for a protocol, on embedded data.

    Args:
        method: name of a method, or "module:ATTRIBUTE", which gets the default recipe for images
            and VoP's recipe for videos; "module:ATTRIBUTE:NAME" that of the method NAME.
        protocol: "base_to_novel", "few_shot", …
        kind: "images" or "videos".

    Raises:
        PromptError: the method is unknown or has no recipe for this protocol.
    """
    recipe = find(method, protocol, kind)
    method = _split(method)[0]
    c = default.get_config(method, kind, **recipe.settings)
    c.protocol = protocol
    c.update(recipe.fields())
    c.data.update(recipe.data)
    if "frames" in recipe.data and "frames" in c.settings:
        c.settings.frames = recipe.data["frames"]
    return c


def find(method: str, protocol: str, kind: str) -> Recipe:
    """Returns the recipe that `get_config` uses; see there."""
    method, other = _split(method)
    if other:
        return find(other, protocol, kind).but(settings={})
    if methods.outside.is_outside(method):
        return Recipe() if kind == "images" else methods.RECORDS[kind]["vop"].recipes[protocol]
    if kind == "images":
        methods.get(method)  # raises for unknown names
    records = {name: one for name, one in methods.RECORDS[kind].items() if one.recipe(protocol)}
    if method not in records:
        what = "videos and captions" if protocol == "retrieval" else "classes of videos"
        raise unknown(f"method for {what}", method, records)
    found = records[method].recipe(protocol)
    assert found is not None
    return found


def _split(method: str) -> tuple[str, str]:
    """Returns a method from outside and the method whose recipe it gets, "" if none is named."""
    module, _, rest = method.partition(":")
    attribute, _, other = rest.partition(":")
    return (f"{module}:{attribute}", other) if other else (method, "")


def of(method: str) -> Callable[..., ConfigDict]:
    """Returns the `get_config` function of an image method's config file."""

    def get_own_config(protocol: str = "base_to_novel") -> ConfigDict:
        return get_config(method, protocol)

    return get_own_config
