"""Reads finished runs from their results.json."""

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from experiments.config import protocols
from experiments.record.files import confusions, results_file
from experiments.record.files.confusions import Confusion
from experiments.record.identity import figure_fields
from prompt_jax.errors import PromptError
from prompt_jax.evaluation.reliability import Interval
from prompt_jax.storage.local_paths import shorten_path

# Protocols of videos: train on all of a data set, test on it or on the splits of others.
SUPERVISED, TRANSFER = "supervised", "zero_shot_transfer"
# Tests a finished model on other data, without training, see `experiments.evaluate`.
EVALUATION = "evaluation"
SOURCE_PROTOCOLS = (
    *(name for name, of in protocols.PROTOCOLS.items() if of.tests_others),
    EVALUATION,
)
RETRIEVAL = "retrieval"
# Test sets by protocol, unless it tests other data sets.
TESTS = {name: of.tests for name, of in protocols.PROTOCOLS.items() if not of.tests_others}
# Protocols that train on all examples, not on shots.
ON_ALL = tuple(name for name, of in protocols.PROTOCOLS.items() if not of.draws_shots)
# Its directions, text-to-video and video-to-text, and the metrics of each.
WAYS = ("t2v", "v2t")
METRICS = ("R@1", "R@5", "R@10", "MnR", "MdR")
# Percent of captions that are more similar to their video than to its reversal.
TOLD_APART = "told apart"
PROTOCOLS = (*(name for name in protocols.PROTOCOLS if name != RETRIEVAL), EVALUATION, RETRIEVAL)

# Remark on results with the embedded CLIP, or on rendered scenes and videos.
STAND_IN = (
    "the embedded CLIP and scenes are a small stand-in: results on them show how methods learn, "
    "and are not comparable with published ones"
)

SHOWN_DIGEST = 8
# Raised by content of unexpected types, beside ValueError.
WRONG_CONTENT = (TypeError, KeyError, AttributeError, OverflowError)


Ranks = Mapping[str, Mapping[str, Mapping[str, float]]]
RankIntervals = Mapping[str, Mapping[str, Mapping[str, Interval]]]


class Tested(NamedTuple):
    """The tested part of a data set, base and new together; None or "" if not recorded."""

    classes: int | None
    images: int | None
    split_source: str


@dataclass(frozen=True)
class Run:
    """The content of one results.json; what it does not record is empty.

    Attributes:
        path: the file.
        changed: modification time, seconds; of two equal runs the later counts.
        trained_by: of an evaluation, the protocol that trained the model; else "".
        kind: "images" or "videos"; "" if not recorded.
        shots: requested training images per class; 0 if all images are used.
        shots_there: the fewest and the most that a class had; `shots` twice if not recorded.
        accuracy: "base", "new", "test", or a data set, to accuracy, percent.
        zero_shot: the same of zero-shot CLIP.
        per_iteration: the same after each iteration.
        top5: top-5 accuracy, percent.
        zero_shot_top5: the same of zero-shot CLIP.
        calibration: expected calibration error, percent.
        zero_shot_calibration: the same of zero-shot CLIP.
        macro: mean over the accuracies of the classes, percent, where these have different numbers
            of test images.
        zero_shot_macro: the same of zero-shot CLIP.
        confusions: the confusion matrices.
        config: flat names to values, without fields that do not change results.
        data: facts that distinguish versions of a data set: its split, classes, test images.
        hashes: "data", or "data of" each test set, to a short hash of the test set, the same for
            all seeds; "contents of" each, of its files.
        training: hashes of the list that is drawn from, see `training_list.identify`.
        drawn: hashes of the drawn images, or of an evaluated model; seeds differ.
        tested: data set to its tested part.
        chosen: settings that the run chose, to their values.
        ranks: of retrieval, test set to direction to metric to value.
        zero_shot_ranks: the same of zero-shot CLIP.
        rank_intervals: the same to 95 % intervals, of R@K.
        zero_shot_rank_intervals: the same of zero-shot CLIP.
        trainable: number of trained parameters; None if not recorded.
        train_seconds: duration of training, of all runs that were trained together.
        together: how many were.
    """

    path: pathlib.Path
    changed: float
    method: str
    protocol: str
    trained_by: str
    ablation: str
    variant: str
    backbone: str
    backbone_hash: str
    dataset: str
    kind: str
    shots: int
    shots_there: tuple[int, int]
    seed: int
    accuracy: Mapping[str, float]
    zero_shot: Mapping[str, float]
    per_iteration: Mapping[str, Sequence[float]]
    top5: Mapping[str, float]
    zero_shot_top5: Mapping[str, float]
    calibration: Mapping[str, float]
    zero_shot_calibration: Mapping[str, float]
    macro: Mapping[str, float]
    zero_shot_macro: Mapping[str, float]
    confusions: Mapping[str, Confusion]
    config: Mapping[str, Any]
    data: Mapping[str, Any]
    hashes: Mapping[str, str]
    training: Mapping[str, str]
    drawn: Mapping[str, str]
    tested: Mapping[str, Tested]
    chosen: Mapping[str, float]
    ranks: Ranks
    zero_shot_ranks: Ranks
    rank_intervals: RankIntervals
    zero_shot_rank_intervals: RankIntervals
    trainable: int | None
    train_seconds: float
    together: int

    @property
    def own_seconds(self) -> float:
        """Its share of the duration of training."""
        return self.train_seconds / self.together


def read(folder: pathlib.Path) -> tuple[list[Run], list[str]]:
    """Reads every run below a directory, and returns a line for each invalid file.

    Raises:
        PromptError: there is no such directory, or no run in it.
    """
    if not folder.is_dir():
        raise PromptError(f"{folder} is not a directory; pass one that contains run directories")
    runs, problems = read_all(sorted(folder.rglob("results.json")))
    if not runs:
        listed = "".join(f"\n  {line}" for line in problems)
        raise PromptError(f"{folder} holds no results.json of a finished run{listed}")
    return runs, problems


def read_all(paths: Iterable[pathlib.Path]) -> tuple[list[Run], list[str]]:
    """Reads runs from these results.json, and returns a line for each invalid file."""
    runs, problems = [], []
    for path in paths:
        try:
            content, damaged = results_file.read(path)
            run = parse(path, content)
        except (OSError, ValueError, *WRONG_CONTENT) as error:
            reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
            problems.append(f"{path} is left out, because it is not the result of a run: {reason}")
            continue
        problems += results_file.left_out(path, damaged)
        counts, damaged = confusions.of_run(path.parent, run.accuracy, content.get("pictures"))
        runs.append(replace(run, confusions=counts))
        problems += damaged
    return runs, problems


def backbone_title(results: Mapping[str, Any]) -> str:
    """Returns the backbone's name in tables: the given title, or of a path its last part."""
    given = results["config"].get("backbone_title")
    return given if isinstance(given, str) and given else shorten_path(results["backbone"])


def parse(path: pathlib.Path, content: Mapping[str, Any]) -> Run:
    """Makes a run of the content of its results.json, which `results_file` has checked.

    No other file is read. Missing fields of its protocol raise one of `WRONG_CONTENT`.
    """
    protocol = content["protocol"]
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol={protocol!r}, allowed: {', '.join(PROTOCOLS)}")
    # Before there were several protocols, base and new were fields of their own.
    accuracy = content.get("accuracy") or {key: content[key] for key in ("base", "new")}
    wanted = set(TESTS.get(protocol, ()))
    if not wanted <= set(accuracy):
        raise ValueError(f"accuracy has {sorted(accuracy)}, expected {sorted(wanted)}")
    zero_shot = {key: value for key, value in content["zero_shot"].items() if key in accuracy}
    text = {key: content[key] for key in ("method", "backbone_hash", "dataset")} | {
        key: content.get(key) or "" for key in ("ablation", "variant", "kind")
    }
    recorded = {"features": content["features"]} if content.get("features") else {}
    if content.get("init_from"):
        recorded["init_from"] = content["init_from"]["prompts"][:SHOWN_DIGEST]
    return Run(
        path=path,
        backbone=backbone_title(content),
        changed=path.stat().st_mtime,
        protocol=protocol,
        trained_by=_trained_by(content),
        # Earlier versions wrote the default of the config.
        shots=0 if protocol in ON_ALL else content["shots"],
        shots_there=_shots_there(content),
        seed=content["seed"],
        accuracy=accuracy,
        zero_shot=zero_shot,
        per_iteration=content.get("per_iteration") or {},
        top5=content.get("top5") or {},
        zero_shot_top5=content.get("zero_shot_top5") or {},
        calibration=content.get("calibration_error") or {},
        zero_shot_calibration=content.get("zero_shot_calibration_error") or {},
        macro=unbalanced(content, "macro_accuracy"),
        zero_shot_macro=unbalanced(content, "zero_shot_macro_accuracy"),
        confusions={},
        config=_config(content) | recorded,
        data=_data(content),
        hashes=_hashes(content),
        training=_training(content),
        drawn=_drawn(content),
        tested=_tested(content, list(accuracy)),
        chosen={name: float(value) for name, value in _chosen(content).items()},
        ranks=_ranks(content, "ranks"),
        zero_shot_ranks=_ranks(content, "zero_shot_ranks"),
        rank_intervals=content.get("rank_intervals") or {},
        zero_shot_rank_intervals=content.get("zero_shot_rank_intervals") or {},
        trainable=content.get("trainable_parameters"),
        train_seconds=float(content.get("train_seconds") or 0),
        together=content.get("trained_together") or 1,
        **text,
    )


def _trained_by(content: Mapping[str, Any]) -> str:
    return str(content["source"]["protocol"]) if content["protocol"] == EVALUATION else ""


def _config(content: Mapping[str, Any]) -> dict[str, Any]:
    if content["protocol"] != EVALUATION:
        names = ("preprocessing", "texts", "second_backbone")
        return figure_fields(content["config"], *(content.get(name) for name in names))
    # Another training config is another model; the test data is identified by its hashes.
    trained = {f"trained {name}": value for name, value in content["source"]["config"].items()}
    return trained | content["seen"]


def _chosen(content: Mapping[str, Any]) -> Mapping[str, Any]:
    return (content.get("chosen") or {}).get("values") or {}


def _ranks(content: Mapping[str, Any], field: str) -> Ranks:
    return content[field] if content["protocol"] == RETRIEVAL else content.get(field) or {}


def _shots_there(content: Mapping[str, Any]) -> tuple[int, int]:
    # Earlier versions did not record it.
    least, most = content.get("shots_per_class") or (content["shots"], content["shots"])
    if least > most:
        raise ValueError(f"shots_per_class={[least, most]} is not the fewest and the most")
    return least, most


def _data(content: Mapping[str, Any]) -> dict[str, Any]:
    facts = {"split_source": content.get("split_source") or ""}
    facts |= {f"classes of {key}": n for key, n in (content.get("classes") or {}).items()}
    for key, n in (content.get("pictures") or {}).items():
        if key.startswith("test_"):
            facts[f"images of {key.removeprefix('test_')}"] = n
    return facts


def _hashes(content: Mapping[str, Any]) -> dict[str, str]:
    # More targets can be tested later, so one hash of all would separate equal runs.
    if content["protocol"] in (*SOURCE_PROTOCOLS, RETRIEVAL) and "data_hashes" in content:
        found = {f"data of {key}": one for key, one in content["data_hashes"]["tests"].items()}
    else:
        found = {"data": content["data_hash"]} if content.get("data_hash") else {}
    contents = ((content.get("data_hashes") or {}).get("contents") or {}).get("tests") or {}
    found |= {f"contents of {key}": one for key, one in contents.items() if one}
    return {key: one[:SHOWN_DIGEST] for key, one in found.items()}


def _training(content: Mapping[str, Any]) -> dict[str, str]:
    recorded = content["source"] if content["protocol"] == EVALUATION else content
    return {key: one[:SHOWN_DIGEST] for key, one in (recorded.get("training_list") or {}).items()}


def _drawn(content: Mapping[str, Any]) -> dict[str, str]:
    if content["protocol"] == EVALUATION:
        prompts = content["source"].get("prompts")
        return {"model": prompts} if prompts else {}
    hashes = content.get("data_hashes") or {}
    found = {"list": hashes.get("train"), "contents": (hashes.get("contents") or {}).get("train")}
    return {key: one for key, one in found.items() if one}


def _tested(content: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Tested]:
    dataset, classes = content["dataset"], content.get("classes") or {}
    images, sources = content.get("pictures") or {}, content.get("split_sources") or {}
    sources = {dataset: content.get("split_source") or ""} | sources
    transfers = content["protocol"] in SOURCE_PROTOCOLS
    parts = {key: [key] for key in keys} if transfers else {dataset: keys}
    return {
        name: Tested(
            _sum(classes.get(key) for key in halves),
            _sum(images.get(f"test_{key}") for key in halves),
            sources.get(name, ""),
        )
        for name, halves in parts.items()
    }


def _sum(values: Iterable[int | None]) -> int | None:
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def unbalanced(content: Mapping[str, Any], field: str) -> dict[str, float]:
    """Returns a figure of the test sets whose classes have different numbers of images."""
    classes = content.get("class_accuracy") or {}
    return {
        key: value
        for key, value in (content.get(field) or {}).items()
        if len({one["examples"] for one in classes.get(key, ())}) > 1
    }
