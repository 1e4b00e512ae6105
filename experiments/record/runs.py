"""Finished runs: reading their results.json."""

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

# Of videos: trained on all of a data set, and tested on it or on others over their splits.
SUPERVISED, TRANSFER = "supervised", "zero_shot_transfer"
# A finished model tested on something else, by `experiments.evaluate`, which trains nothing.
EVALUATION = "evaluation"
SOURCE_PROTOCOLS = (
    *(name for name, of in protocols.PROTOCOLS.items() if of.tests_others),
    EVALUATION,
)
RETRIEVAL = "retrieval"
# Its directions, captions for videos and videos for captions, and what is said of each.
WAYS = ("t2v", "v2t")
METRICS = ("R@1", "R@5", "R@10", "MnR", "MdR")
# Of captions, where a data set knows its videos' reversals: percent nearer to the video itself.
TOLD_APART = "told apart"
PROTOCOLS = (*(name for name in protocols.PROTOCOLS if name != RETRIEVAL), EVALUATION, RETRIEVAL)

# Said of every figure on the embedded CLIP, or on scenes and videos that are rendered.
STAND_IN = (
    "the embedded CLIP and scenes are a small stand-in: figures on them say how methods learn, "
    "and are not comparable with published ones"
)

SHOWN_DIGEST = 8
# What content of other types makes Python raise, beside ValueError.
WRONG_CONTENT = (TypeError, KeyError, AttributeError, OverflowError)


Ranks = Mapping[str, Mapping[str, Mapping[str, float]]]
RankIntervals = Mapping[str, Mapping[str, Mapping[str, Interval]]]


class Tested(NamedTuple):
    """What of a data set was tested, base and new together; None or "" where not recorded."""

    classes: int | None
    images: int | None
    split_source: str


@dataclass(frozen=True)
class Run:
    """One results.json.

    Attributes:
        path: the file.
        changed: when it was written, seconds; of two equal runs the later counts.
        trained_by: of an evaluation, the protocol of the run whose model it tests; else "".
        shots: training images a class that were asked for; 0 where all there are train.
        shots_there: the fewest and the most that a class had; `shots` twice where not recorded.
        accuracy: half, "test", or tested data set to accuracy, percent.
        zero_shot: the same of zero-shot CLIP.
        per_iteration: the same after each iteration; empty where not recorded.
        top5: the same of the five likeliest classes; empty where not recorded.
        zero_shot_top5: the same of zero-shot CLIP.
        calibration: the same keys to calibration error, percent; empty where not recorded.
        zero_shot_calibration: the same of zero-shot CLIP.
        confusions: the same keys to which classes were taken for which; empty where not recorded.
        config: flat names to values, without what does not change a figure.
        data: facts that tell two versions of a data set apart: its split, classes, test images.
        hashes: "data", or "data of" each tested data set, to a short hash of what is tested, which
            seeds leave alone; "contents of" each, of its files. Empty in older files.
        training: what `training_list.identify` says of what it was drawn from, seeds alike; empty
            in older files, and of what trains nothing.
        drawn: hashes of what was drawn, or of an evaluation of its model; seeds differ in it.
        tested: tested data set to what of it was tested.
        chosen: settings that the run chose, to their values.
        ranks: of retrieval, tested data set to direction to metric to figure; else empty.
        zero_shot_ranks: the same of zero-shot CLIP.
        rank_intervals: the same to 95 % intervals, of R@K; empty where not recorded.
        zero_shot_rank_intervals: the same of zero-shot CLIP.
        trainable: how many numbers train; None where not recorded.
        train_seconds: what training took.
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


def read(folder: pathlib.Path) -> tuple[list[Run], list[str]]:
    """Every run below a folder, and one line for each file that is not what a run writes.

    Raises:
        PromptError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise PromptError(f"no folder {folder}; give the one that holds the runs' folders")
    runs, problems = read_all(sorted(folder.rglob("results.json")))
    if not runs:
        listed = "".join(f"\n  {line}" for line in problems)
        raise PromptError(f"{folder} holds no results.json of a finished run{listed}")
    return runs, problems


def read_all(paths: Iterable[pathlib.Path]) -> tuple[list[Run], list[str]]:
    """The runs of these results.json, and one line for each that is not what a run writes."""
    runs, problems = [], []
    for path in paths:
        try:
            content, damaged = results_file.read(path)
            run = parse(path, content)
        except (OSError, ValueError, *WRONG_CONTENT) as error:
            reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
            problems.append(f"{path} is left out, it is not the result of a run: {reason}")
            continue
        problems += results_file.left_out(path, damaged)
        counts, damaged = confusions.of_run(path.parent, run.accuracy, content.get("pictures"))
        runs.append(replace(run, confusions=counts))
        problems += damaged
    return runs, problems


def parse(path: pathlib.Path, content: Mapping[str, Any]) -> Run:
    """A run from what its results.json holds, checked by `results_file`.

    What stands beside that file is not read. Fields that its protocol needs and that are not there
    make Python raise one of `WRONG_CONTENT`.
    """
    protocol = content["protocol"]
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol={protocol!r}, allowed: {', '.join(PROTOCOLS)}")
    # Before there were several protocols, base and new stood by themselves.
    accuracy = content.get("accuracy") or {key: content[key] for key in ("base", "new")}
    wanted = {"base", "new"} if protocol == "base_to_novel" else {"test"}
    if protocol not in SOURCE_PROTOCOLS and not wanted <= set(accuracy):
        raise ValueError(f"accuracy has {sorted(accuracy)}, expected {sorted(wanted)}")
    zero_shot = {key: value for key, value in content["zero_shot"].items() if key in accuracy}
    text = {key: content[key] for key in ("method", "backbone", "backbone_hash", "dataset")} | {
        key: content.get(key) or "" for key in ("ablation", "variant")
    }
    told = {"features": content["features"]} if content.get("features") else {}
    if content.get("init_from"):
        told["init_from"] = content["init_from"]["prompts"][:SHOWN_DIGEST]
    return Run(
        path=path,
        changed=path.stat().st_mtime,
        protocol=protocol,
        trained_by=_trained_by(content),
        # Earlier versions wrote what the config holds, where nobody asked for it.
        shots=0 if protocol in (SUPERVISED, TRANSFER, RETRIEVAL) else content["shots"],
        shots_there=_shots_there(content),
        seed=content["seed"],
        accuracy=accuracy,
        zero_shot=zero_shot,
        per_iteration=content.get("per_iteration") or {},
        top5=content.get("top5") or {},
        zero_shot_top5=content.get("zero_shot_top5") or {},
        calibration=content.get("calibration_error") or {},
        zero_shot_calibration=content.get("zero_shot_calibration_error") or {},
        confusions={},
        config=_config(content) | told,
        data=_data(content),
        hashes=_hashes(content),
        training=_training(content),
        drawn=_drawn(content),
        tested=_tested(content, list(accuracy)),
        chosen={name: float(value) for name, value in _chosen(content).items()},
        ranks=_ranks(content, "ranks"),
        zero_shot_ranks=_ranks(content, "zero_shot_ranks"),
        rank_intervals=_rank_intervals(content, "rank_intervals"),
        zero_shot_rank_intervals=_rank_intervals(content, "zero_shot_rank_intervals"),
        trainable=content.get("trainable_parameters"),
        train_seconds=float(content.get("train_seconds") or 0),
        **text,
    )


def _trained_by(content: Mapping[str, Any]) -> str:
    return str(content["source"]["protocol"]) if content["protocol"] == EVALUATION else ""


def _config(content: Mapping[str, Any]) -> dict[str, Any]:
    if content["protocol"] != EVALUATION:
        return figure_fields(content["config"], content.get("preprocessing"))
    # What was trained by another config is another model; what is tested, its hashes say.
    trained = {f"trained {name}": value for name, value in content["source"]["config"].items()}
    return trained | content["seen"]


def _chosen(content: Mapping[str, Any]) -> Mapping[str, Any]:
    return (content.get("chosen") or {}).get("values") or {}


def _ranks(content: Mapping[str, Any], field: str) -> Ranks:
    if content["protocol"] != RETRIEVAL and field not in content:
        return {}
    return {
        key: {
            direction: {metric: float(value) for metric, value in metrics.items()}
            for direction, metrics in directions.items()
        }
        for key, directions in content[field].items()
    }


def _rank_intervals(content: Mapping[str, Any], field: str) -> RankIntervals:
    return {
        key: {
            direction: {metric: (float(low), float(high)) for metric, (low, high) in ends.items()}
            for direction, ends in directions.items()
        }
        for key, directions in (content.get(field) or {}).items()
    }


def _shots_there(content: Mapping[str, Any]) -> tuple[int, int]:
    # In files from before it was recorded there is none.
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
    # More targets can be tested later, so one hash of all of them would part equal runs.
    if content["protocol"] in (*SOURCE_PROTOCOLS, RETRIEVAL) and "data_hashes" in content:
        found = {f"data of {key}": one for key, one in content["data_hashes"]["tests"].items()}
    else:
        found = {"data": content["data_hash"]} if content.get("data_hash") else {}
    contents = ((content.get("data_hashes") or {}).get("contents") or {}).get("tests") or {}
    found |= {f"contents of {key}": one for key, one in contents.items() if one}
    return {key: one[:SHOWN_DIGEST] for key, one in found.items()}


def _training(content: Mapping[str, Any]) -> dict[str, str]:
    told = content["source"] if content["protocol"] == EVALUATION else content
    return {key: one[:SHOWN_DIGEST] for key, one in (told.get("training_list") or {}).items()}


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
