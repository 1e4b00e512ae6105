"""Many runs from one config: data sets, variants, shots and seeds, each in a folder of its own."""

import itertools
import pathlib
from typing import Any

from ml_collections import ConfigDict

from data_pipelines.errors import DataError
from experiments.configs import default
from experiments.configs.video import retrieval
from experiments.record.runs import SOURCE_PROTOCOLS
from experiments.run import experiment, parallel
from experiments.setup import building, protocols, titles
from prompt_jax.errors import PromptError

# What configs train on until a data set is named.
DEFAULT_NAMES = (default.get_config().data.name, retrieval.get_config().data.name)
Runs = dict[str, ConfigDict]
"""The folder of each run, below the sweep's, and its config."""


def is_sweep(config: ConfigDict) -> bool:
    """Whether the config asks for more than one run."""
    several = (config.seeds, config.learning_rates, config.data.shots_list, config.variants)
    return any(several) or bool(_names(config)) or "=" in config.data.title


def _names(config):
    """Data sets to train on, one after another; targets are none."""
    if config.protocol in SOURCE_PROTOCOLS:
        return []
    return protocols.split_names(config.data.names)


def expand(config: ConfigDict) -> Runs:
    """Every run that the config asks for, in the order in which they run.

    Raises:
        PromptError: a field does not exist or holds what it may not, also one that a variant names.
    """
    building.check_fields(config)
    _check_lists(config)
    runs: Runs = {}
    names = _names(config) or [protocols.source_key(config)]
    for place, name in itertools.product(titles.places(config), names):
        for label, changes in config.variants or ((config.variant, ()),):
            for shots in config.data.shots_list or (config.data.shots,):
                for rate in config.learning_rates or (config.learning_rate,):
                    for seed in config.seeds or (config.seed,):
                        one = single(config, name, label, changes, shots, seed)
                        one.data.title, one.data.root = place
                        if config.learning_rates:
                            one.learning_rate = float(rate)
                            one.variant = f"{label} rate={rate:g}".strip()
                        runs[_folder(one)] = one
    return runs


def _check_lists(config: ConfigDict) -> None:
    for field, values, kind in (
        ("seeds", config.seeds, int),
        ("data.shots_list", config.data.shots_list, int),
        ("learning_rates", config.learning_rates, (int, float)),
    ):
        wrong = [value for value in values if not isinstance(value, kind) or value is True]
        if wrong:
            what = "whole numbers, e.g. 1,2,3" if kind is int else "numbers, e.g. 0.002,0.004"
            raise PromptError(f"config.{field} has {wrong[0]!r}; it must be {what}")
    for pair in config.epochs_by_shots:
        match pair:
            case [int(most), int(epochs)] if most > 0 and epochs > 0:
                continue
        raise PromptError(
            f"config.epochs_by_shots has {pair!r}; each must be (most shots, epochs), e.g. (2, 50)"
        )
    for variant in config.variants:
        match variant:
            case [str(), [*changes]] if all(_is_change(change) for change in changes):
                continue
        raise PromptError(
            f"config.variants has {variant!r}; each must be (label, ((field, value), …)), e.g. "
            '("N=1", (("settings.iterations", 1),))'
        )
    name, names = config.data.name, _names(config)
    if names and name not in ("", *DEFAULT_NAMES, *names):
        source = protocols.source_key(config)
        # Which of the two the config file says, and which its user, is not known here.
        several = f"an empty --config.data.name= beside --config.data.names={config.data.names}"
        listed = f"--config.data.name={names[0]} alone" if len(names) == 1 else several
        raise PromptError(
            f"config.data.name={name} and config.data.names={config.data.names} both say what to "
            f"train on; for {source} say --config.data.names={source} alone, for "
            f"{config.data.names} say {listed}"
        )


def _is_change(change: Any) -> bool:
    return isinstance(change, list | tuple) and len(change) == 2 and isinstance(change[0], str)


def single(
    config: ConfigDict, name: str, label: str, changes: Any, shots: int, seed: int
) -> ConfigDict:
    """The config of one run: nothing in it asks for several."""
    one = config.copy_and_resolve_references()
    one.data.name, _, one.data.domain = name.partition(":")
    one.variant, one.data.shots, one.seed = label, shots, seed
    one.variants, one.seeds, one.data.shots_list, one.learning_rates = (), (), (), ()
    if _names(config):
        one.data.names = ""
    one.lock()  # so that an unknown field is refused
    try:
        one.update_from_flattened_dict(dict(changes))
    except (KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise PromptError(f"config.variants: {label!r} cannot be applied: {reason}") from error
    if not one.epochs and one.epochs_by_shots:
        enough = [epochs for most, epochs in one.epochs_by_shots if shots <= most]
        one.epochs = enough[0] if enough else one.epochs_by_shots[-1][1]
    one.epochs_by_shots = ()
    return one


def _folder(config: ConfigDict) -> str:
    """ "caltech101/pro_mpt/16shots-seed1"; a variant's label follows the method."""
    method = f"{config.method}_{config.variant}" if config.variant else config.method
    shots = f"{config.data.shots}shots-" if protocols.draws_shots(config) else ""
    source = titles.called(config, protocols.source_key(config))
    parts = (source, method, f"{shots}seed{config.seed}")
    return "/".join(part.replace("/", "_").replace(":", "_").replace(" ", "") for part in parts)


def _groups(runs: Runs, parallel_seeds: bool) -> list[Runs]:
    """The runs one by one, or those together that differ in seed and learning rate alone."""
    groups: dict[Any, Runs] = {}
    for name, one in runs.items():
        key = name
        if parallel_seeds:
            shared = one.copy_and_resolve_references()
            shared.seed, shared.learning_rate, shared.variant = 0, 0.0, ""
            key = shared.to_json(sort_keys=True)
        groups.setdefault(key, {})[name] = one
    return list(groups.values())


def run(config: ConfigDict, folder: pathlib.Path) -> list[dict[str, Any]]:
    """Runs all of them; those that are finished already are not run again.

    A run that fails is said and does not stop the others.

    Raises:
        PromptError: some runs failed, after all others are done; or the config is wrong.
    """
    runs = expand(config)
    for one in runs.values():
        building.check(one)
        building.build_method(one)
    results: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    done = 0
    for group in _groups(runs, config.parallel_seeds):
        done += len(group)
        print(f"[{done}/{len(runs)}] {', '.join(group)}")
        try:
            if len(group) > 1:
                found, wrong = parallel.run({folder / name: one for name, one in group.items()})
                results += found
                for name in group:
                    if reason := wrong.get(folder / name):
                        failed[name] = reason
                        print(f"failed: {name}: {reason.splitlines()[0]}")
            else:
                results += [experiment.run(one, folder / name) for name, one in group.items()]
        except (PromptError, DataError) as error:
            failed |= dict.fromkeys(group, str(error))
            print(f"failed: {str(error).splitlines()[0]}")
    if failed:
        listed = "".join(f"\n  {name}: {reason}" for name, reason in failed.items())
        raise PromptError(
            f"{len(failed)} of {len(runs)} runs failed; run again to repeat only those:{listed}"
        )
    return results
