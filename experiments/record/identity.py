"""The identity of a run: config, backbone and images, which decide if two runs are the same.

Directory, checkpoints and results belong to one identity. Results of several runs may share an
average if `figure_fields` agree.
"""

import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from data_pipelines.checks import contents
from data_pipelines.examples import Dataset, Example
from experiments.config.config import FIELDS, Config
from prompt_jax.errors import PromptError

# How a run is watched, and what else is tested: these may change between restarts. The run's
# "preprocessing" says the result of data.stats to data.interpolation and of the checkpoint's files.
FREE_FIELDS = {name for name, field in FIELDS.items() if field.role == "free"}
TESTS = "pictures.tests."
# Unknown for files that are gone, and for earlier runs.
FILES = ("pictures.sizes", "pictures.contents")
# Differences to print first.
NAMING_FIELDS = ("method", "backbone.source", "backbone.hash", "data.name", "protocol", "seed")
SHOWN_DIFFERENCES = 4
SHORT = 16  # characters of a digest, enough to distinguish runs
# Fields that earlier runs lack, with their defaults then.
ADDED = {
    name: [*field.default] if isinstance(field.default, tuple) else field.default
    for name, field in FIELDS.items()
    if field.since
}
# Runs that train together differ in these.
PARALLEL_FIELDS = ("seed", "learning_rate", "variant", "pictures")

# Configs whose results share an average may differ in these.
_VARYING = {name for name, field in FIELDS.items() if field.role != "figures"}
_PATHS = ("root", "dir", "folder", "file", "path")


def as_json(config: ConfigDict | Config) -> dict[str, Any]:
    """Returns a config as JSON holds it: with lists instead of tuples."""
    return json.loads(json.dumps(config.to_dict(), sort_keys=True))


def identify(
    config: dict,
    fingerprint: str,
    images: dict[str, Any] | None,
    start: str = "",
    preprocessing: Mapping[str, Any] | None = None,
    texts: str = "",
    second: str = "",
) -> dict[str, Any]:
    """Returns the identity of a run.

    Args:
        config: as of `as_json`.
        fingerprint: of the backbone.
        images: as of `of_images`; None if the data is missing.
        start: digest of the prompts it starts from, "" if there are none.
        preprocessing: fields that differ from the preprocessing of earlier versions.
        texts: digest of the texts of classes that the method reads, "" if it reads none.
        second: fingerprint of the second backbone, "" if there is none.
    """
    backbone = {"source": config["backbone"], "hash": fingerprint}
    own = {**config, "backbone": backbone, "pictures": images, "init_from": start[:SHORT]}
    if texts:
        own["texts"] = texts[:SHORT]
    if second:
        own["second_backbone"] = second
    return own | ({"preprocessing": dict(preprocessing)} if preprocessing else {})


def of_several(identities: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the identity of runs that train together."""
    lists = {field: [one[field] for one in identities] for field in PARALLEL_FIELDS}
    return identities[0] | lists


def of_images(train: Dataset, tests: Mapping[str, Dataset]) -> dict[str, Any]:
    """Returns hashes of images, labels, classes and templates, which identify the data.

    Args:
        train: with the shots and validation images.
        tests: test sets by key.

    Returns:
        {"train": short hash of the shots and validation images, "tests": {key: short hash},
        "sizes": the same of file sizes, None if files are missing,
        "contents": the same of `contents.identify`}.
    """

    def hashes(hashed: Callable[[Dataset, Sequence[Example]], str | None]) -> dict[str, Any]:
        return {
            "train": hashed(train, (*train.train, *train.val)),
            "tests": {key: hashed(one, one.test) for key, one in tests.items()},
        }

    # Sizes differ between images of the same names, contents also between those of the same size.
    sizes = functools.partial(_hash_files, os.path.getsize)
    return hashes(_hash_list) | {
        "sizes": hashes(sizes),
        "contents": hashes(functools.partial(_hash_files, contents.identify)),
    }


def of_test(images: dict[str, Any], key: str) -> str:
    """Returns the identity of a test set, by which its evaluation is not repeated."""
    return f"{of_test_before(images, key)} {images['contents']['tests'][key]}"


def of_test_before(images: dict[str, Any], key: str) -> str:
    """Returns the identity of a test set in earlier versions."""
    return f"{images['tests'][key]} {images['sizes']['tests'][key]}"


def with_earlier(images: dict[str, Any], tested: Mapping[str, str]) -> dict[str, Any]:
    """Returns `images` with test sets of earlier calls of a run, by key their `of_test`."""

    def known(place: int) -> dict[str, str | None]:
        words = {key: [*one.split(" "), "", ""][place] for key, one in tested.items()}
        return {key: None if word in ("", "None") else word for key, word in words.items()}

    return images | {
        "tests": known(0) | images["tests"],
        **{
            field: images[field] | {"tests": known(place) | images[field]["tests"]}
            for place, field in ((1, "sizes"), (2, "contents"))
        },
    }


def changed(then: Mapping[str, Any], now: Mapping[str, Any], left_out: bool) -> list[str]:
    """Returns the changed parts of a run's data: "train" and keys of test sets.

    Args:
        then: the data_hashes of its results.json.
        now: those of the same config and the present files.
        left_out: whether it left out images. They may be repaired by now, so files are not
            compared.
    """
    then, now = _comparable(then, now)

    def differs(part: Sequence[str]) -> bool:
        files = [(_find(then[one], part), _find(now[one], part)) for one in ("sizes", "contents")]
        others = not left_out and any(a != b and None not in (a, b) for a, b in files)
        return others or _find(then, part) != _find(now, part)

    parts = {"train": ("train",), **{key: ("tests", key) for key in now["tests"]}}
    return [name for name, part in parts.items() if differs(part)]


def _find(images: Any, path: Sequence[str]) -> Any:
    for key in path:
        images = images.get(key) if isinstance(images, Mapping) else None
    return images


def _comparable(*both: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the images of two runs, without file sizes if contents of both are known.

    Contents include sizes, and the size of a directory of frames depends on the file system.
    """
    parts = [("train",), *(("tests", key) for one in both for key in one.get("tests") or {})]
    known = [part for part in parts if all(_find(one, ("contents", *part)) for one in both)]
    found = []
    for one in both:
        sizes = dict(one.get("sizes") or {})
        sizes["tests"] = dict(sizes.get("tests") or {})
        for part in known:
            (sizes["tests"] if len(part) > 1 else sizes).pop(part[-1], None)
        found.append({"contents": {}, **one, "sizes": sizes})
    return found


def of_tests(images: dict[str, Any]) -> str:
    """Returns a short hash of all test sets, which do not depend on seeds."""
    return hashlib.sha256(repr(images["tests"]).encode()).hexdigest()[:16]


def _facts(example: Example) -> tuple:
    # Images keep the hashes of versions without captions: finished runs stay finished.
    return tuple(example[:5]) if example.captions or example.span else tuple(example[:3])


def _hash(start: str, facts: Iterable[Any]) -> str:
    digest = hashlib.sha256(start.encode())
    for fact in facts:
        digest.update(repr(fact).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def _hash_list(dataset: Dataset, examples: Sequence[Example]) -> str:
    return _hash(dataset.template, map(_facts, examples))


def _hash_files(
    fact: Callable[[pathlib.Path], Any], dataset: Dataset, examples: Sequence[Example]
) -> str | None:
    if dataset.folder is None:
        return None
    try:
        return _hash("", (fact(dataset.folder / one.image) for one in examples))
    except (OSError, ValueError):
        return None


def differences(here: dict, there: dict, prefix: str = "") -> list[str]:
    """Returns the differences of two identities, as "field: A here, B there"."""
    found = []
    for key in sorted(set(here) | set(there)):
        path = prefix + key
        a, b = (one.get(key, ADDED.get(path)) for one in (here, there))
        added_later = path.startswith((TESTS, *FILES)) and None in (a, b)
        if path in FREE_FIELDS or added_later or a == b:
            continue
        if path == "pictures" and isinstance(a, list) and isinstance(b, list):
            # Of runs that train together. If `zip` is uneven, their seeds differ, too.
            for one, other in zip(a, b, strict=False):
                found += differences({key: one}, {key: other}, prefix)
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            if path == "pictures":
                a, b = _comparable(a, b)
            found += differences(a, b, path + ".")
        else:
            found.append(f"{path}: {a!r} here, {b!r} there")
    return found


def refuse_other_run(
    folder: pathlib.Path,
    here: dict,
    there: dict,
    finished: bool = False,
    files: Mapping[str, str] | None = None,
) -> None:
    """Raises a PromptError if `folder` holds a run of another config, backbone or data.

    Args:
        folder: of the run that is there.
        here, there: identities of the present run and of that one.
        finished: whether that one is finished.
        files: names to show with digests of texts, by digest.
    """

    def rank(difference):
        field = difference.split(":")[0]
        return NAMING_FIELDS.index(field) if field in NAMING_FIELDS else len(NAMING_FIELDS)

    found = sorted(differences(here, there), key=rank)
    # Another seed or data set implies other images.
    found = [one for one in found if not one.startswith("pictures.")] or found
    if found:
        more = len(found) - SHOWN_DIFFERENCES
        shown = "; ".join(found[:SHOWN_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
        for digest, file in (files or {}).items():
            shown = shown.replace(repr(digest), f"{file} ({digest[:8]})")
        advice = "use another --workdir, or delete that directory if you no longer need it"
        epochs = [one.get("epochs", 0) for one in (there, here)]
        more_epochs = all(isinstance(one, int) for one in epochs) and epochs[0] < epochs[1]
        if finished and more_epochs and len(found) == 1:
            advice = (
                "that one is finished; to train its prompts for more epochs, use "
                f"--config.init_from={folder} and another --workdir"
            )
        what = "another run"
        if all(one.startswith("pictures.") for one in found):
            what = "a run on other images than those of its data set now"
            if list(folder.glob("split*.csv")):
                advice += "; a split*.csv there lists its own, for --config.data.name=csv"
        raise PromptError(f"{folder} holds {what} ({shown}); {advice}")


def refuse_other_results(
    folder: pathlib.Path, here: dict, results: Mapping[str, Any], texts_file: str = ""
) -> None:
    """Raises a PromptError if the results in `folder` are another run's, or lack images.

    Args:
        folder: of the run.
        here: the identity of the present run; if its data is missing, images are not compared.
        results: of its results.json.
        texts_file: the present run's texts of classes, if it reads any.
    """
    images, left_out = results["data_hashes"], len(results["skipped_pictures"])
    if here["pictures"] is None:
        here = here | {"pictures": images}
    if left_out:  # and perhaps repaired since
        images = images | {"sizes": None, "contents": None}
    start = results.get("init_from", {}).get("prompts", "")
    texts = (results.get("texts") or {}).get("digest", "")
    prepared = results.get("preprocessing")
    second = (results.get("second_backbone") or {}).get("hash", "")
    there = identify(
        results["config"], results["backbone_hash"], images, start, prepared, texts, second
    )
    read = [(here, texts_file), (there, (results.get("texts") or {}).get("file", ""))]
    files = {one["texts"]: file for one, file in read if file and "texts" in one}
    refuse_other_run(folder, here, there, finished=True, files=files)
    if left_out and here["data"]["on_bad_image"] == "stop":
        raise PromptError(
            f"{folder} holds a finished run that left out {left_out} unreadable images; delete "
            "it to run again with all of them, or pass --config.data.on_bad_image=skip to keep it"
        )


def figure_fields(
    config: Mapping[str, Any],
    preprocessing: Mapping[str, Any] | None = None,
    texts: Mapping[str, Any] | None = None,
    second: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the fields in which runs of one average must agree, by name.

    Args:
        config: as of `as_json`.
        preprocessing, texts, second: of the run's results.json.
    """
    prepared = {f"preprocessing.{name}": value for name, value in (preprocessing or {}).items()}
    if texts:
        prepared["texts"] = texts["digest"][:SHORT]
    if second:
        prepared["second_backbone"] = second["hash"]
    return prepared | {
        name: value
        for name, value in flat(config)
        if name not in _VARYING and not name.endswith(_PATHS)
        if name not in ADDED or value != ADDED[name]
    }


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the fields of a written config by name: "data.shots" is in a section."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
