"""Reports predictions that change over ProMPT's iterations (ProMPT, Figures 6 and 7).

    python -m experiments.iterations RUN [--out DIR]

Counts for every iteration of a finished run the test images that become right or wrong, with mean
probabilities, and draws those that change most. Writes iterations.md and images, by default to the
run directory.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the slow imports below, so that Ctrl-C works during them
    sys.exit(
        command_line.run("experiments.iterations", "start", sys.argv[1:], command_line.RESUMES)
    )

import pathlib
from typing import NamedTuple

import jax
import numpy as np

from data_pipelines.examples import Dataset
from experiments.figures import plots, tables
from experiments.record import workdir
from experiments.run import reopening, testing
from experiments.setup.preparation import Prepared
from prompt_jax.errors import PromptError
from prompt_jax.evaluation.programs import compiled, logits
from prompt_jax.methods import Prompts
from prompt_jax.text.class_names import distinct

SHOWN, CLASSES = 6, 3  # images per figure, classes per image


class Predictions(NamedTuple):
    """The predictions on a test set.

    Attributes:
        probabilities: float32[1 + N, n, K], after each iteration.
        labels: int32[n].
    """

    probabilities: np.ndarray
    labels: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Returns whether predictions are right, bool[1 + N, n]."""
        return np.argmax(self.probabilities, axis=-1) == self.labels

    @property
    def own(self) -> np.ndarray:
        """Returns the probability of the label, float32[1 + N, n]."""
        return np.take_along_axis(self.probabilities, self.labels[None, :, None], axis=-1)[..., 0]


def predict(run: Prepared, prompts: Prompts, key: str) -> Predictions:
    """Returns the predictions of all iterations on a test set."""
    method, task = run.method, run.tests[key][0]
    prepared = compiled(method.prepare)(prompts, task)
    found, labels = [], []
    for batch in testing.test_batches(f"predictions on {key}", run.plan.tests[key], run):
        real = np.asarray(batch["label"]) >= 0
        scores = logits(method)(prompts, prepared, task, batch["image"])
        found.append(np.moveaxis(np.asarray(jax.nn.softmax(scores)), 0, 1)[:, real])
        labels.append(np.asarray(batch["label"])[real])
    return Predictions(np.concatenate(found, axis=1), np.concatenate(labels))


def count(predictions: Predictions) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns headers and a row per iteration."""
    rows: list[tuple[str, ...]] = []
    right, own = predictions.right, predictions.own
    top = np.max(predictions.probabilities, axis=-1)
    for n, (now, sure) in enumerate(zip(right, top, strict=True)):
        before = right[n - 1]
        corrected, lost = now & ~before, before & ~now
        doubt = top[n - 1][corrected]
        rows.append(
            (
                f"p{n}",
                f"{100 * np.mean(now):.1f}",
                str(np.sum(corrected)) if n else "",
                str(np.sum(lost)) if n else "",
                f"{np.mean(own[n]):.2f}",
                f"{np.mean(sure):.2f}",
                f"{np.mean(doubt):.2f}" if n and doubt.size else "",
            )
        )
    headers = ("prediction", "accuracy, %", "corrected", "lost", "p(label)", "p(top-1)",
               "p(top-1) of corrected, before")  # fmt: skip
    return headers, rows


def changed_most(predictions: Predictions, corrected: bool) -> np.ndarray:
    """Returns the images that iterations after the first correct or lose, as indices int[m].

    Images whose label gains or loses most probability come first.
    """
    gain = predictions.own[-1] - predictions.own[1]
    first, last = predictions.right[1], predictions.right[-1]
    chosen = np.flatnonzero(last & ~first if corrected else first & ~last)
    return chosen[np.argsort(-gain[chosen] if corrected else gain[chosen])][:SHOWN]


def draw(
    path: pathlib.Path, dataset: Dataset, predictions: Predictions, places: np.ndarray, title: str
):
    """Draws images with the probabilities of a few classes after every iteration."""
    cells, names = [], distinct(dataset.class_names)
    for place in places.tolist():
        example = dataset.test[place]
        probabilities = predictions.probabilities[:, place]
        likely = np.argsort(-probabilities.max(axis=0))[:CLASSES].tolist()
        shown = dict.fromkeys([example.label, *likely])
        curves = {names[label]: probabilities[:, label].tolist() for label in shown}
        cells.append((dataset.read(example), names[example.label], curves))
    return plots.plot_predictions(path, cells, title)


def start(argv: list[str]) -> None:
    """Parses the arguments, predicts, and writes counts and images."""
    parser = command_line.make_parser("experiments.iterations", __doc__)
    parser.add_argument("run", type=pathlib.Path, help="directory of a finished run")
    parser.add_argument("--out", type=pathlib.Path, help="output directory (RUN)")
    options = parser.parse_args(argv)
    command_line.prepare_jax()
    run = reopening.reopen(options.run)
    if getattr(run.task.settings, "iterations", 0) < 1:
        raise PromptError(f"{options.run}: {run.config.method} has no iterations")
    prompts, out = reopening.trained(run), options.out or options.run
    workdir.make_workdir(out)
    sections = []
    for key, dataset in run.plan.tests.items():
        predictions = predict(run, prompts, key)
        sections.append(tables.heading(key, 2) + tables.markdown(*count(predictions)))
        for corrected, word in ((True, "corrected"), (False, "lost")):
            places = changed_most(predictions, corrected)
            if len(places):
                name = f"{word}-{key.replace(':', '-')}.png"
                title = f"{dataset.name} ({key}): {word} by the iterations after the first"
                draw(out / name, dataset, predictions, places, title)
    text = "# Predictions over iterations\n\n" + "\n".join(sections)
    (out / "iterations.md").write_text(text, encoding="utf-8")
    print(f"{text}\nwritten to {out}")
