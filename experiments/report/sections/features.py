"""Features of some test images or videos before and after training, by t-SNE."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np

from data_pipelines.examples import Dataset
from experiments.figures import embedding, plots
from experiments.figures.style import styled
from experiments.report import curves
from experiments.report.blocks import Plot, Section, Text
from experiments.report.tower_passes import record_passes
from experiments.run import testing
from experiments.setup.preparation import Prepared
from prompt_jax import methods
from prompt_jax.errors import installing
from prompt_jax.methods import Prompts
from prompt_jax.text.class_names import distinct

CLASSES, EACH = 8, 10  # classes shown, test examples per class
_INKED = ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor")
_DRAWN: dict[Any, Any] = {"font.size": 13} | dict.fromkeys(_INKED, curves.INK)


def section(run: Prepared, prompts: Prompts, key: str) -> Section | None:
    """Returns a figure of both; None where training does not change features of images.

    Args:
        run: a finished run, from `reopening.reopen`.
        prompts: its trained prompts.
        key: of the test set.
    """
    whole = run.plan.tests[key]
    if not run.trainable or not whole.has_classes or len(whole.class_names) < 2:
        return None
    dataset = embedding.choose_classes(whole, CLASSES, EACH)
    both = (_of_videos if dataset.kind == "videos" else _of_images)(run, prompts, key, dataset)
    if both is None or len(dataset.test) < 4:
        return None
    labels = [example.label for example in dataset.test]
    if len(set(labels)) == len(labels):
        return None  # no example has another one of its class
    shares = {
        words: embedding.same_class_nearest(features, labels) for words, features in both.items()
    }
    summary = " ".join(
        f"{words}: {share:.0f} % of {len(labels)} have a nearest neighbor of the same class."
        for words, share in shares.items()
    )
    title = "Features before and after"
    if find_spec("sklearn") is None:
        return Section(title, [Text(f"{summary} To plot them: {installing('tsne')}")])
    panels = {words: embedding.embed(features) for words, features in both.items()}
    with styled(_DRAWN | {"svg.hashsalt": f"{run.folder}{key}"}):
        names = distinct(whole.class_names)
        figure = plots.draw_features(panels, [names[label] for label in labels])
        drawn = Plot(curves.svg(figure), f"t-SNE of {len(labels)} test {dataset.kind}, {key}")
    return Section(title, [Text(summary), drawn])


def _of_videos(
    run: Prepared, prompts: Prompts, key: str, dataset: Dataset
) -> Mapping[str, np.ndarray] | None:
    if run.config.method not in methods.ENCODERS:
        return None  # a method of images, on features that are averaged over frames
    before, after = testing.video_features(run, prompts, key, dataset)
    return {"frozen CLIP": before, run.config.method: after}


def _of_images(
    run: Prepared, prompts: Prompts, key: str, dataset: Dataset
) -> Mapping[str, np.ndarray] | None:
    before, after = [], []
    for batch in testing.test_batches(f"features on {key}", dataset, run):
        real = np.asarray(batch["label"]) >= 0
        plain, prompted = record_passes(run, prompts, key, batch["image"][real])
        if prompted is None:
            return None
        before.append(np.asarray(plain.features))
        after.append(np.asarray(prompted.features))
    return {"frozen CLIP": np.concatenate(before), run.config.method: np.concatenate(after)}
