"""Runs a sweep: data sets, variants, shots and seeds of one config, each in its own directory."""

import itertools
import pathlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ml_collections import ConfigDict

from data_pipelines.errors import DataError
from experiments.config.config import FIELDS, Config, change, read
from experiments.configs import several
from experiments.configs.video import retrieval
from experiments.record import workdir
from experiments.run import experiment, parallel
from experiments.setup import building, loading, protocols, titles
from prompt_jax import methods
from prompt_jax.cli import hosts
from prompt_jax.errors import PromptError

# The default data sets of configs.
DEFAULT_NAMES = (FIELDS["data.name"].default, retrieval.get_config().data.name)
Runs = dict[str, Config]
"""The config of each run by its directory, relative to the sweep's."""


def is_sweep(config: Config) -> bool:
    """Returns whether the config defines several runs."""
    lists = (config.seeds, config.learning_rates, config.data.shots_list, config.variants)
    more = (config.methods, config.seeds_of_own_data, _names(config))
    return any(lists) or any(more) or "=" in config.data.title


def _names(config: Config) -> list[str]:
    """Returns the data sets to train on; targets are not among them."""
    return [] if config.protocol_spec.tests_others else protocols.split_names(config.data.names)


def expand(config: ConfigDict | Config) -> Runs:
    """Returns all runs of the config, in order.

    Raises:
        PromptError: a field of the config or of a variant is unknown or has an invalid value.
    """
    config = read(config)
    _check_names(config)
    runs: Runs = {}
    shots_list = config.data.shots_list or (config.data.shots,)
    rates = config.learning_rates or (config.learning_rate,)
    names = _names(config) or [config.data.key]
    for own, place, name, (label, changes), shots, rate, seed in itertools.product(
        several.configs(config, names[0]),
        titles.titles_and_roots(config.data),
        names,
        config.variants or ((config.variant, ()),),
        shots_list,
        rates,
        config.seeds or dict.fromkeys((*config.seeds_of_own_data, config.seed)),
    ):
        if seed not in _seeds(config, name):
            continue
        one = _single(own, place, name, label, shots, seed)
        one = _choose_epochs(_vary(one, label, changes))
        if config.learning_rates:
            of_rate = f"{label} rate={rate:g}".strip()
            one = replace(one, learning_rate=float(rate), variant=of_rate)
        runs[_folder(one)] = one
    return runs


def _seeds(config: Config, name: str) -> tuple[int, ...]:
    """Returns the seeds of a data set: several of own data, whose shots no list defines."""
    if config.seeds:
        return config.seeds
    own = protocols.draws_by_seed(config.data, name) and config.seed == FIELDS["seed"].default
    return (own and config.seeds_of_own_data) or (config.seed,)


def _check_names(config: Config) -> None:
    name, names = config.data.name, _names(config)
    if names and name not in ("", *DEFAULT_NAMES, *names):
        source = config.data.key
        # Either of the two may come from the config file.
        several = f"--config.data.name= --config.data.names={config.data.names}"
        listed = f"only --config.data.name={names[0]}" if len(names) == 1 else several
        raise PromptError(
            f"config.data.name={name} and config.data.names={config.data.names} are both set; "
            f"to train on {source}, pass only --config.data.names={source}; to train on "
            f"{config.data.names}, pass {listed}"
        )


def _single(
    config: Config, place: tuple[str, str], name: str, label: str, shots: int, seed: int
) -> Config:
    """Returns the config of one run, without fields that define several."""
    source, _, domain = name.partition(":")
    title, root = place
    data = replace(
        config.data,
        name=source,
        domain=domain,
        names="" if _names(config) else config.data.names,
        title=title,
        root=root,
        shots=shots,
        shots_list=(),
    )
    return replace(
        config,
        data=data,
        seed=seed,
        variant=label,
        methods="",
        seeds=(),
        seeds_of_own_data=(),
        variants=(),
        learning_rates=(),
    )


def _vary(config: Config, label: str, changes: Iterable[tuple[str, Any]]) -> Config:
    try:
        return change(config, dict(changes))
    except PromptError as error:
        raise PromptError(f"config.variants: {label!r} cannot be applied: {error}") from error


def _choose_epochs(config: Config) -> Config:
    epochs, by_shots = config.epochs, config.epochs_by_shots
    if not epochs and by_shots:
        fitting = (epochs for most, epochs in by_shots if config.data.shots <= most)
        epochs = next(fitting, by_shots[-1][1])
    return replace(config, epochs=epochs, epochs_by_shots=())


def _folder(config: Config, with_protocol: bool = True) -> str:
    """Returns "caltech101/pro_mpt/few_shot-16shots-seed1"; a variant's label follows the method.

    Earlier versions left the protocol out.
    """
    method = f"{config.method}_{config.variant}" if config.variant else config.method
    shots = f"{config.data.shots}shots-" if config.protocol_spec.draws_shots else ""
    source = titles.title_of(config.data, config.data.key)
    protocol = f"{config.protocol}-" if with_protocol else ""
    parts = (source, method, f"{protocol}{shots}seed{config.seed}")
    return "/".join(part.replace("/", "_").replace(":", "_").replace(" ", "") for part in parts)


def _groups(runs: Runs, parallel_seeds: bool) -> list[Runs]:
    """Returns groups of one run, or of runs that differ only in seed and learning rate."""
    groups: dict[Any, Runs] = {}
    for name, one in runs.items():
        key = name
        if parallel_seeds:
            key = repr(replace(one, seed=0, learning_rate=0.0, variant=""))
        groups.setdefault(key, {})[name] = one
    return list(groups.values())


class SomeFailedError(PromptError):
    """Some runs of a sweep failed, after others finished."""


def run(config: ConfigDict | Config, folder: pathlib.Path) -> list[dict[str, Any]]:
    """Runs all runs of the config; skips finished ones.

    A failed run is reported and does not stop the others. Of runs whose method trains nothing, and
    which differ only in shots and seed, the first is run, with a note.

    Raises:
        SomeFailedError: some runs failed, raised after all others.
        PromptError: the config, or its texts of classes, are invalid; or all runs failed.
    """
    runs = {name: building.check(one) for name, one in expand(config).items()}
    runs, notes = without_repetition(runs)
    print(*notes, sep="\n", end="\n" * bool(notes))
    runs = {_place(folder, name, one): one for name, one in runs.items()}
    _check_methods(runs.values())
    groups = _groups(runs, config.parallel_seeds)
    results: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    done = 0
    for group in groups:
        done += len(group)
        print(f"[{done}/{len(runs)}] {', '.join(group)}")
        before = set(failed.values())
        try:
            if len(group) > 1:
                found, wrong = parallel.run({folder / name: one for name, one in group.items()})
                results += found
                failed |= {name: wrong[folder / name] for name in group if folder / name in wrong}
            else:
                results += [experiment.run(one, folder / name) for name, one in group.items()]
        except (PromptError, DataError) as error:
            if hosts.count() > 1:
                raise  # it may have failed on this host only, and the others wait for it
            failed |= dict.fromkeys(group, str(error))
        if done < len(runs):  # otherwise the error at the end follows at once
            _print_failures({name: failed[name] for name in group if name in failed}, before)
    if failed:
        raise _failure(failed, list(runs), folder)
    return results


def without_repetition(runs: Runs) -> tuple[Runs, list[str]]:
    """Returns the runs with distinct outcomes, and a note on each method that trains nothing."""
    first: dict[str, str] = {}
    same: dict[str, list[str]] = {}
    for name, one in runs.items():
        key = name
        if one.method in methods.RECORDS[one.data.kind] and not _trains(one):
            data = replace(one.data, shots=0)
            key = repr(replace(one, data=data, seed=0, epochs=0, learning_rate=0.0, variant=""))
            same.setdefault(one.method, []).append(name)
        first.setdefault(key, name)
    kept = {name: runs[name] for name in first.values()}
    notes = []
    for method, names in same.items():
        left = [name for name in names if name in kept]
        if len(left) < len(names):
            notes.append(
                f"{method} trains nothing, so its results do not depend on shots and seeds: "
                f"{len(left)} of {len(names)} runs, {', '.join(left)}"
            )
    return kept, notes


def _trains(config: Config) -> bool:
    record = methods.RECORDS[config.data.kind][config.method]
    return record.sees_in_training != "nothing" or config.calibrate or bool(config.variant)


def _place(folder: pathlib.Path, name: str, config: Config) -> str:
    """Returns the run's directory below `folder`; if an earlier version began it, that one's."""
    earlier = _folder(config, with_protocol=False)
    begun = not (folder / name).exists() and workdir.protocol_of(folder / earlier)
    return earlier if begun == config.protocol else name


def _check_methods(runs: Iterable[Config]) -> None:
    """Builds each method and reads the texts of classes that it needs, each file once."""
    read_before = set()
    for one in runs:
        method, _ = building.build_method(one)
        key = one.method, one.texts, one.data.name, one.data.domain
        if key not in read_before:
            loading.read_texts(one, method)
        read_before.add(key)


def _print_failures(failed: Mapping[str, str], before: Collection[str]) -> None:
    """Prints the runs that failed, and reasons that were not printed before."""
    for name, reason in failed.items():
        why = "for the same reason" if reason in before else f"{reason.splitlines()[0]}"
        print(f"failed: {name}: {why}")


def _failure(failed: Mapping[str, str], names: Sequence[str], folder: pathlib.Path) -> PromptError:
    """Returns the error of failed runs, with each reason once."""
    if len(names) == 1:
        return PromptError(failed[names[0]])
    alike: dict[str, list[str]] = {}
    for name, reason in failed.items():  # a reason may name the directory of its run
        alike.setdefault(reason.replace(str(folder / name), str(folder / "RUN")), []).append(name)
    listed = "".join(
        f"\n  {', '.join(those)}: {reason if len(those) > 1 else failed[those[0]]}"
        for reason, those in alike.items()
    )
    which = SomeFailedError if len(failed) < len(names) else PromptError
    return which(
        f"{len(failed)} of {len(names)} runs failed; once the cause is removed, run again to "
        f"repeat only those:{listed}"
    )
