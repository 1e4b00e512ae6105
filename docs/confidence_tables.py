"""Measures the tables of confidence.md on embedded scenes.

    python docs/confidence_tables.py OUT night gda,tip_adapter,clip_adapter,coop,vpt,zero_shot

Trains each method on 8 shots of 20 classes in OUT/DOMAIN-METHOD, and prints its row of each
table: 800 test images of these classes, 800 of 20 other classes, and 200 of noise.
"""

import pathlib
import sys

import numpy as np

import prompt_jax as pj
from data_pipelines import datasets, sampling
from experiments.configs import recipes
from experiments.run import experiment
from prompt_jax.evaluation import confidence, reliability

CLASSES, SHOTS, SEED = 40, 8, 1
CACHED = {
    "coop": {"cached_views": 1, "epochs": 20},
    "clip_adapter": {"epochs": 20},
}


def train(folder, domain, method):
    """Trains the method with a temperature; returns the model."""
    config = recipes.get_config(method, "base_to_novel")
    config.update({"calibrate": True, "seed": SEED, **CACHED.get(method, {})})
    data = {"domain": domain, "num_classes": CLASSES, "shots": SHOTS, "test_per_class": 10}
    config.data.update({**data, "num_threads": 1})
    experiment.run(config, folder)
    return pj.load(folder)


def separation(known, others):
    """Returns the area under the ROC curve in percent: 50 is chance."""
    order = np.argsort(np.concatenate([known, others]), kind="stable")
    ranks = np.empty(len(order))
    ranks[order] = np.arange(1, len(order) + 1)
    above = ranks[: len(known)].sum() - len(known) * (len(known) + 1) / 2
    return 100 * above / (len(known) * len(others))


def calibration(logits, labels, temperature):
    """Returns the mean confidence and the calibration error in percent."""
    shares = confidence.softmax(logits / temperature)
    right = shares.argmax(axis=-1) == labels
    return 100 * shares.max(axis=-1).mean(), reliability.calibration_error(shares.max(-1), right)


def rows(model, images, labels, new_names, validation):
    """Yields the rows of the tables: calibration, a threshold of 0.5, and the three scores."""
    found = {kind: model.predict(shown, quiet=True) for kind, shown in images.items()}
    among_new = model.predict(images["new"], new_names, quiet=True).logits[-1]
    logits = {kind: one.logits[-1] for kind, one in found.items()}
    right = logits["base"].argmax(axis=-1) == labels["base"]
    cells = [f"{model.temperature:.2f}", f"{100 * right.mean():.1f}"]
    measured = [
        [calibration(*tested, temperature) for temperature in (1.0, model.temperature)]
        for tested in ((logits["base"], labels["base"]), (among_new, labels["new"]))
    ]
    for (before, after), place in ((measured[0], 0), (measured[0], 1), (measured[1], 1)):
        cells.append(f"{before[place]:.1f} → {after[place]:.1f}")
    yield cells
    cells = []
    for temperature in (1.0, model.temperature):
        kept = {
            k: confidence.score(x, temperature, "probability") >= 0.5 for k, x in logits.items()
        }
        shares = [kept["base"].mean(), right[kept["base"]].mean()]
        shares += [kept["new"].mean(), kept["noise"].mean()]
        cells += [f"{100 * share:.0f}" for share in shares]
    yield cells
    cells = []
    held_out = model.predict(validation, quiet=True)
    for kind in confidence.SCORES:
        scores = {name: one.scores(kind) for name, one in found.items()}
        areas = [separation(scores["base"], scores[other]) for other in ("new", "noise")]
        least = np.quantile(held_out.scores(kind), 0.05)  # 95 % of the validation images pass
        passing = [100 * (scores[name] >= least).mean() for name in ("base", "new", "noise")]
        cells += ["; ".join(", ".join(f"{x:.0f}" for x in part) for part in (areas, passing))]
    yield cells


def main(out, domain, names):
    """Prints the rows."""
    data = datasets.load(f"emoji_scenes:{domain}", num_classes=CLASSES, test_per_class=40, size=48)
    base, new = sampling.base_and_new(data)
    drawn, _ = sampling.base_and_new(sampling.few_shot(data, SHOTS, SEED))
    halves = {"base": base, "new": new}
    images = {kind: [one.read(each) for each in one.test] for kind, one in halves.items()}
    labels = {kind: np.array([e.label for e in one.test]) for kind, one in halves.items()}
    noise = np.random.default_rng(0).integers(0, 256, (200, 48, 48, 3), np.uint8)
    images["noise"] = list(noise)
    validation = [drawn.read(each) for each in drawn.val]
    for method in names.split(","):
        model = train(pathlib.Path(out) / f"{domain}-{method}", domain, method)
        for cells in rows(model, images, labels, new.class_names, validation):
            print(f"| `{method}` | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
