"""Tests trained prompts: classification of images or videos, and text-video retrieval."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from data_pipelines.examples import Dataset
from experiments.record.files import confusions, predictions, ranks
from experiments.record.runs import METRICS, TOLD_APART, WAYS
from experiments.setup.preparation import Testable
from prompt_jax import methods
from prompt_jax.cli import hosts, progress
from prompt_jax.clip.vocabulary.captions import tokenize_captions
from prompt_jax.errors import escape
from prompt_jax.evaluation import metrics, reliability, retrieval
from prompt_jax.evaluation.evaluate import Evaluator, TopClasses
from prompt_jax.evaluation.retrieval import Directions
from prompt_jax.methods import Encoders, Prompts, Task
from prompt_jax.text.class_names import distinct


def test(run: Testable, prompts: Prompts, key: str) -> dict[str, Any]:
    """Returns the results of the prompts and of zero-shot CLIP on one test set."""
    dataset, tasks = run.plan.tests[key], run.tests[key]
    batches = test_batches(f"{run.config.method} on {key}", dataset, run)
    judge = search if run.method.objective == "pairs" else classify
    found = judge(run, key, [prompts, {}][: len(tasks)], tasks, batches)
    return found | {"split_source": dataset.split_source}


def test_batches(title: str, data: Dataset, run: Testable) -> Iterator[dict[str, jax.Array]]:
    """Yields batches of a test set on the devices, with a progress bar."""
    batches = run.plan.batches
    with progress.bar(title, batches.test_steps(len(data.test))) as advance:
        for number, batch in enumerate(batches.test(data, data.test), 1):
            yield run.placement.split(batch)
            advance(number, "")


def classify(
    run: Testable,
    key: str,
    prompts: Sequence[Prompts],
    tasks: Sequence[Task],
    batches: Iterator[dict[str, jax.Array]],
) -> dict[str, Any]:
    """Returns accuracies in percent; writes predictions and the confusion matrix."""
    evaluator = Evaluator(run.compared, run.plan.batches.test_views)
    found = evaluator(prompts, tasks, batches, [run.temperature, 1.0][: len(tasks)])
    dataset = run.plan.tests[key]
    names = distinct([escape(name) for name in dataset.class_names])
    if hosts.is_first():
        predictions.write(
            run.folder / predictions.predictions_file(key),
            dataset.test,
            names,
            found[0].top_classes,
        )
        confusions.write(run.folder / confusions.confusion_file(key), names, found[0].confusion)
    own, zero_shot = (_reliability(one.top_classes) for one in (found[0], found[-1]))
    return {
        "accuracy": found[0].final,
        "zero_shot": found[-1].final,
        **own,
        **{f"zero_shot_{field}": value for field, value in zero_shot.items()},
        "class_accuracy": _by_class(names, found[0].confusion),
        "macro_accuracy": found[0].macro,
        "zero_shot_macro_accuracy": found[-1].macro,
        "top5": found[0].top5,
        "zero_shot_top5": found[-1].top5,
        "per_iteration": found[0].per_iteration,
        "classes": len(names),
        "pictures": found[0].images,
    }


def video_features(run: Testable, prompts: Prompts, key: str, data: Dataset) -> list[np.ndarray]:
    """Returns features float32[M, d] of test videos, by frozen CLIP and by the run's video method.

    Args:
        run: the run.
        prompts: trained prompts.
        key: key of the test set.
        data: data set whose `test` holds the videos.
    """
    task, own = run.tests[key][0], methods.get_encoders(run.config.method)
    batches = test_batches(f"{run.config.method} on {key}", data, run)
    compared = [(methods.get_encoders("zero_shot"), {}, task), (own, prompts, task)]
    return retrieval.encode_videos(compared, batches, len(data.test))


def _reliability(found: TopClasses) -> dict[str, Any]:
    """Returns 95 % interval, calibration error and confidence of the last iteration, percent."""
    sure, right = found.probabilities[-1, :, 0], found.classes[-1, :, 0] == found.labels
    return {
        "interval": [*reliability.wilson(100 * float(np.mean(right)), len(right))],
        "calibration_error": reliability.calibration_error(sure, right),
        "confidence": 100 * float(np.mean(sure, dtype=np.float64)),
    }


def _by_class(names: Sequence[str], confusion: np.ndarray) -> list[dict[str, Any]]:
    """Returns examples and accuracy of each tested class, in the order of labels."""
    number, right = confusion.sum(axis=1).tolist(), np.diagonal(confusion).tolist()
    return [
        {"class": name, "examples": n, "accuracy": 100 * hits / n}
        for name, n, hits in zip(names, number, right, strict=True)
        if n
    ]


def search(
    run: Testable,
    key: str,
    prompts: Sequence[Prompts],
    tasks: Sequence[Task],
    batches: Iterator[dict[str, jax.Array]],
) -> dict[str, Any]:
    """Returns retrieval metrics in both directions; "accuracy" is text-to-video R@1."""
    dataset = run.plan.tests[key]
    names = [run.config.method, "zero_shot"][: len(tasks)]
    compared = list(zip(map(methods.get_encoders, names), prompts, tasks, strict=True))
    videos = retrieval.encode_videos(compared, batches, len(dataset.test))
    captions = [caption for example in dataset.test for caption in example.captions]
    owner = np.repeat(np.arange(len(dataset.test)), [len(one.captions) for one in dataset.test])
    found: list[dict[str, dict[str, float]]] = []
    places: list[Directions] = []
    for one, features in zip(compared, videos, strict=True):
        texts, place = _encode_texts(run, one, captions)
        similarities = (texts @ features.T)[place]
        place_of = retrieval.evaluate(similarities, owner)
        found.append({way: _in_words(part) for way, part in zip(WAYS, place_of, strict=True)})
        if dataset.reversals:
            apart = metrics.told_apart(similarities, owner, _reversals(dataset)[owner])
            found[-1][WAYS[0]][TOLD_APART] = apart
        if not places:
            own = similarities  # of the method, not of zero-shot CLIP
        places.append(place_of)
    if hosts.is_first():
        ranks.write(run.folder / ranks.ranks_file(key), _lines(dataset, places))
        predictions.write_retrieval(
            run.folder / predictions.predictions_file(key),
            dataset.test,
            places[0],
            places[-1],
            own,
        )
    return {
        "accuracy": found[0]["t2v"]["R@1"],
        "zero_shot": found[-1]["t2v"]["R@1"],
        "per_iteration": [found[0]["t2v"]["R@1"]],
        "ranks": found[0],
        "zero_shot_ranks": found[-1],
        "rank_intervals": _intervals(places[0], owner),
        "zero_shot_rank_intervals": _intervals(places[-1], owner),
        "classes": 0,
        "pictures": len(dataset.test),
        "captions": len(captions),
    }


def _intervals(ranks: Directions, owner: np.ndarray) -> dict[str, dict[str, Any]]:
    """Returns 95 % intervals of R@K, by direction and metric."""
    asks = dict(zip(WAYS, (owner, np.arange(owner.max() + 1)), strict=True))
    return {
        way: {f"R@{k}": [*reliability.recall(one, asks[way], k)] for k in (1, 5, 10)}
        for way, one in zip(WAYS, ranks, strict=True)
    }


def _reversals(dataset: Dataset) -> np.ndarray:
    """Returns the index of each test video's reversal among the test videos, int[M]."""
    place = {example.image: number for number, example in enumerate(dataset.test)}
    return np.array([place[dataset.reversals[example.image]] for example in dataset.test])


def _in_words(ranks: metrics.Ranks) -> dict[str, float]:
    return dict(zip(METRICS, metrics.summarize(ranks), strict=True))


def _lines(dataset: Dataset, places: Sequence[Directions]) -> Iterator[ranks.Line]:
    """Yields a line per caption, in order, with the ranks of the method and of zero-shot CLIP."""
    middle = [found.text_to_video.middle for found in (places[0], places[-1])]
    named = [(one.image, caption) for one in dataset.test for caption in one.captions]
    for (clip, caption), rank, zero_shot in zip(named, *middle, strict=True):
        yield ranks.Line(clip, caption, rank, zero_shot)


def _encode_texts(
    run: Testable, method: tuple[Encoders, Prompts, Task], captions: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns features float32[M, d] of distinct captions, and the row of each caption, int[N].

    Encodes equal captions once, so that they tie: rounding depends on the place in a batch.
    """
    encoders, _, task = method
    length = task.clip.config.context_length
    tokens = tokenize_captions(captions, encoders.text_prompts(task.settings), length).tokens
    number = {row: place for place, row in enumerate(dict.fromkeys(map(tuple, tokens)))}
    size, devices = run.config.eval_batch_size, run.placement.devices
    batches = map(run.placement.split, retrieval.text_batches(list(number), size, devices))
    features = retrieval.encode_texts(*method, batches, len(number))
    return features, np.array([number[tuple(row)] for row in tokens])
