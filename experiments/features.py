"""Plots test videos' features before and after training by t-SNE (ViLT-CLIP, Figure 3).

    python -m experiments.features RUN [RUN …] [--test KEY] [--classes 10] [--out FILE.png]

RUN is the directory of a finished run on videos. "Before" is frozen CLIP without prompts, with the
same pooling of frames. Several runs on the same videos are drawn side by side. Each panel shows
the percentage of videos whose nearest neighbor has the same class.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the slow imports below, so that Ctrl-C works during them
    sys.exit(command_line.run("experiments.features", "start", sys.argv[1:]))

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_pipelines.examples import Example
from experiments.figures import plots
from experiments.figures.embedding import choose_classes, embed, same_class_nearest
from experiments.run import reopening, testing
from experiments.setup import building
from experiments.setup.preparation import Prepared
from prompt_jax import methods
from prompt_jax.cli.commands import whole
from prompt_jax.errors import PromptError, unknown


class Features(NamedTuple):
    """Features of test videos.

    Attributes:
        label: name of the run.
        videos: the n videos, in order.
        before: float32[n, d], features of frozen CLIP without prompts.
        after: float32[n, d], features of the run.
    """

    label: str
    videos: Sequence[Example]
    before: np.ndarray
    after: np.ndarray


def encode(
    folder: pathlib.Path,
    key: str = "",
    classes: int = 10,
    backbone: building.Backbone | None = None,
) -> tuple[Features, Prepared]:
    """Encodes test videos of some classes; returns their features and the run.

    Args:
        folder: directory of a finished run.
        key: key of the test set in results.json; by default the first one.
        classes: number of classes, evenly spread over the names.
        backbone: backbone of the run, if it is already loaded.

    Raises:
        PromptError: the run does not exist or has no trained prompts, its backbone or videos have
            changed, or its test set does not hold videos with classes.
    """
    run = open_run(folder, backbone)
    key = key or next(iter(run.plan.tests))
    if key not in run.plan.tests:
        raise unknown(f"test set of {folder}:", key, run.plan.tests)
    dataset = choose_classes(run.plan.tests[key], classes)
    before, after = testing.video_features(run, reopening.trained(run), key, dataset)
    label = f"{run.config.method} {run.config.variant}".strip()
    return Features(label, dataset.test, before, after), run


def open_run(folder: pathlib.Path, backbone: building.Backbone | None = None) -> Prepared:
    """Opens a finished run of a video method.

    Raises:
        PromptError: see `encode`.
    """
    run = reopening.reopen(folder, backbone)
    method, plan = run.config.method, run.plan
    if plan.train.kind != "videos" or not plan.train.has_classes:
        what = "images" if plan.train.kind != "videos" else "videos without classes"
        raise PromptError(f"{folder} was tested on {what}; pass a run on videos with classes")
    methods.get_encoders(method)  # raises for image methods
    if not run.trainable:
        raise PromptError(
            f"{method} has no trained prompts: its features are the same before and after"
        )
    return run


def draw(path: pathlib.Path, found: Sequence[Features], title: str) -> list[pathlib.Path]:
    """Draws the features of frozen CLIP and of each run, as PNG and SVG."""
    labels = [clip.label for clip in found[0].videos]
    panels = {}
    for words, features in [("frozen CLIP", found[0].before), *((f.label, f.after) for f in found)]:
        share = same_class_nearest(features, labels)
        print(f"{words}: the nearest neighbor has the same class in {share:.1f} %")
        panels[f"{words}\nnearest neighbor of the same class: {share:.0f} %"] = embed(features)
    return plots.plot_features(path, panels, [clip.name for clip in found[0].videos], title)


def start(argv: list[str]) -> None:
    """Parses the arguments, encodes and draws.

    Raises:
        PromptError: see `encode`; or the runs have different videos, or the file cannot be written.
    """
    parser = command_line.make_parser("experiments.features", __doc__)
    parser.add_argument("runs", metavar="RUN", type=pathlib.Path, nargs="+", help="a run directory")
    parser.add_argument("--test", default="", help="key of the test set (the first)")
    parser.add_argument("--classes", type=whole(), default=10, help="how many, evenly spread (10)")
    parser.add_argument("--out", type=pathlib.Path, help="PNG file (features.png in the first RUN)")
    options = parser.parse_args(argv)
    command_line.prepare_jax()
    found: list[Features] = []
    backbone, dataset = None, ""
    for folder in options.runs:
        features, run = encode(folder, options.test, options.classes, backbone)
        if found and features.videos != found[0].videos:
            raise PromptError(f"{folder} and {options.runs[0]} are not tested on the same videos")
        if found and not np.allclose(features.before, found[0].before, atol=1e-4):
            raise PromptError(f"{folder} and {options.runs[0]} differ in frames or pooling")
        found.append(features)
        dataset = run.plan.tests[options.test or next(iter(run.plan.tests))].name
    path = options.out or options.runs[0] / "features.png"
    title = f"t-SNE of {len(found[0].videos)} test videos of {dataset}"
    try:
        paths = draw(path, found, title)
    except OSError as error:
        raise PromptError(f"--out={path} cannot be written: {error.strerror}") from error
    print(f"written: {', '.join(map(str, paths))}")
