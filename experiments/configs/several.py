"""Makes the configs of several methods from one, each with the method's own recipe."""

import dataclasses

from data_pipelines import datasets
from experiments.config.config import Config, read
from experiments.configs import recipes
from prompt_jax.errors import PromptError
from prompt_jax.methods.recipe import Recipe


def configs(config: Config, trained_on: str) -> list[Config]:
    """Returns a config for each of `config.methods`, or the config itself if there are none.

    Fields of the recipe that differ from the recipe of `config.method`, for example by flags, are
    kept for all methods.

    Args:
        config: with the recipe of `config.method`.
        trained_on: a data set to train on, "name" or "name:domain".

    Raises:
        PromptError: a method is unknown, has no recipe for the protocol, or is named twice; or a
            setting is given, which belongs to one method.
    """
    names = [name.strip() for name in config.methods.split(",") if name.strip()]
    if not names:
        return [config]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise PromptError(f"config.methods={config.methods} names {twice} twice; name it once")
    known = datasets.TABLE.get(datasets.split_domain(trained_on)[0])
    kind = known.kind if known else config.data.kind
    usual = read(recipes.get_config(config.method, config.protocol, kind))
    given = {name: config.settings[name] for name in config.settings}
    if changed := [name for name in given if given[name] != usual.settings.get(name)]:
        raise PromptError(
            f"config.settings.{changed[0]}={given[changed[0]]} is of {config.method} alone, and "
            f"config.methods={config.methods} runs several methods; run that one alone"
        )
    return [
        _with_recipe(config, usual, read(recipes.get_config(name, config.protocol, kind)))
        for name in names
    ]


def _with_recipe(config: Config, usual: Config, other: Config) -> Config:
    """Returns `config` with the method and recipe of `other`, but its changes to `usual`'s."""

    def merged(fields, mine, theirs, default):
        found = {name: getattr(mine, name) for name in fields}
        return {
            name: getattr(theirs, name) if value == getattr(default, name) else value
            for name, value in found.items()
        }

    names = [field.name for field in dataclasses.fields(config.data)]
    data = dataclasses.replace(config.data, **merged(names, config.data, other.data, usual.data))
    recipe = merged(Recipe().fields(), config, other, usual)
    settings = other.settings
    return dataclasses.replace(config, method=other.method, settings=settings, data=data, **recipe)
