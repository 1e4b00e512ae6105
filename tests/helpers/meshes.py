"""Trains on one device and on meshes of eight, and compares; run as a process with eight devices.

`python -m tests.helpers.meshes CASE …` prints a line of JSON for each case, see `compare`.
"""

import dataclasses
import functools
import json
import re
import sys
import traceback
from pathlib import Path
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import tiny
from reference import adapt

from prompt_jax import methods
from prompt_jax.clip import CLIP
from prompt_jax.clip.packing import pack_captions, stack
from prompt_jax.clip.vocabulary.captions import tokenize_captions
from prompt_jax.evaluation.evaluate import Evaluator
from prompt_jax.methods.recipe import Recipe
from prompt_jax.text import class_texts
from prompt_jax.training import loop, recipes, train
from prompt_jax.training.sharding import Placement, parse_mesh

STEPS, BATCH, FRAMES, SHOTS = 20, 8, 2, 2
SMALL = 0.1  # the size of initial values; a bias that ends near 0 has no digits of its own
RECIPE = Recipe(learning_rate=0.02)
NAMES = (
    *("kiwi", "sea horse", "pagoda", "a thing with quite a long name", "garfield", "accordion"),
    *("oak", "blue whale", "lamp", "dog", "cat", "tree", "hill", "rock", "car", "tram", "bus"),
)
SETTINGS: dict[str, dict[str, Any]] = {
    "pro_mpt": {"vision_prompts": 2},
    "vilt_clip": {"prompts": 2, "coupling_layer": 1},
    "vop": {"text_prompts": 2, "vision_prompts": 2},
    "promptsrc": {"average_mean": 2.0},
    "fudd": {"ambiguous": 3},
    "a5": {"frames": FRAMES, "temporal_heads": 2, "temporal_blocks": 1},
}

MESHES = ("data:8", "data:4,model:2", "model:8")
BOTH = MESHES[1:2]
# The number of classes is odd; see `meshes.NAMES`.
CASES: dict[str, dict[str, Any]] = {
    "pro_mpt": {"method": "pro_mpt", "on": "images", "meshes": MESHES},
    "cocoop": {"method": "cocoop", "on": "images", "meshes": MESHES},
    "maple": {"method": "maple", "on": "images", "meshes": MESHES},
    "vop": {"method": "vop", "on": "pairs", "meshes": MESHES},
    "vilt_clip": {"method": "vilt_clip", "on": "videos", "meshes": MESHES},
    "cached": {"method": "coop", "on": "features", "meshes": MESHES},
    # Class features that do not change are split, if the mesh divides their number.
    "even": {"method": "pro_mpt", "on": "images", "classes": 8, "meshes": BOTH},
    "keys": {"method": "tip_adapter_f", "on": "features", "meshes": BOTH},
    # Losses with means over classes.
    "kgcoop": {"method": "kgcoop", "on": "features", "meshes": BOTH},
    "promptsrc": {"method": "promptsrc", "on": "images", "meshes": BOTH},
    # Contexts that a router chooses for each image.
    "mocoop": {"method": "mocoop", "on": "features", "meshes": BOTH},
    # Several views of each image, and a loss among the images of a batch.
    "gopro": {"method": "gopro", "on": "images", "among_images": True, "meshes": BOTH},
    # LayerNorms that train in place of the frozen ones, and arrays without weight decay.
    "nola": {"method": "nola", "on": "images", "meshes": BOTH},
    "nola loop": {"method": "nola", "on": "images", "loop": True, "meshes": BOTH},
    "a5": {"method": "a5", "on": "frames", "meshes": BOTH},
    "vilt_clip pairs": {"method": "vilt_clip", "on": "pairs", "meshes": BOTH},
    "own contexts": {
        "method": "coop",
        "on": "features",
        "settings": {"class_specific": True, "name_position": "middle"},
        "meshes": BOTH,
    },
    "mixed": {"method": "vilt_clip", "on": "videos", "mixed": True, "meshes": BOTH},
    "cocoop loop": {"method": "cocoop", "on": "images", "loop": True, "meshes": BOTH},
    "vop loop": {"method": "vop", "on": "pairs", "loop": True, "meshes": BOTH},
    "chunks": {"method": "cocoop", "on": "images", "memory": 2**16, "meshes": BOTH},
    "fewer classes than devices": {
        "method": "coop",
        "on": "features",
        "classes": 3,
        "meshes": MESHES[2:],
    },
}
TOGETHER = {
    f"{name} together": CASES[name] | {"meshes": BOTH, "run": "train_together"}
    for name in ("cached", "pro_mpt", "vop")
}
EVALUATIONS = {
    f"{name} evaluation": CASES[name] | {"meshes": meshes, "run": "evaluate"}
    for name, meshes in {
        "cached": MESHES,
        "pro_mpt": BOTH,
        "vilt_clip": BOTH,
        "own contexts": BOTH,
    }.items()
} | {
    f"{name} evaluation": {"method": name, "on": "features", "meshes": BOTH, "run": "evaluate"}
    for name in ("gda", "description", "fudd", "perception_clip", "caps_adapter")
}
SPLIT = {
    f"{name} split": CASES[name] | {"shard_frozen": True, "meshes": MESHES[:2]}
    for name in ("pro_mpt", "vilt_clip", "cocoop loop")
}


class Program:
    """A method's training on a mesh.

    A case has "method"; "meshes"; "on": "images", "videos", "features", "frames" or "pairs"; and
    may have "run", a function of this class; "classes", their number; "settings"; "memory", bytes
    for the backward pass; "shard_frozen"; "mixed", whether labels are probabilities; "loop", for
    towers of four layers in a loop; "among_images", whether a loss compares the images of a batch.
    """

    def __init__(self, case: dict[str, Any], mesh: str, devices: list[jax.Device]):
        self.placement = Placement(
            parse_mesh(mesh, devices), len(devices) > 1 and case.get("shard_frozen", False)
        )
        self.case, on, name = case, case["on"], case["method"]
        self.classes = case.get("classes", len(NAMES))
        kind = "images" if on in ("images", "features") else "videos"
        sizes, frozen = tiny.CONFIG, tiny.frozen_parameters()
        if case.get("loop"):
            sizes = dataclasses.replace(sizes, image_layers=4, text_layers=4)
            frozen = jax.tree.map(np.asarray, CLIP(sizes).init(jax.random.key(0)))
        clip = CLIP(
            sizes,
            memory=case.get("memory"),
            mesh=self.placement.mesh,
            shard_frozen=self.placement.shard_frozen,
            scan_layers=case.get("loop", False),
        )
        frozen = self.placement.put_frozen(clip.arrange(frozen))
        if on == "pairs":
            self.method, names = methods.retrieve(methods.get_encoders(name)), NAMES[:0]
        else:
            self.method, names = methods.find(name, kind), NAMES[: self.classes]
        self.settings = self.method.Settings(**SETTINGS.get(name, {}) | case.get("settings", {}))
        self.frozen = frozen
        tower = methods.tower_for(self.method, clip, kind)
        texts = class_texts.stand_in(self.method.texts, names)
        made = methods.make_task(self.method, tower, frozen, names, self.settings, texts=texts)
        self.task = self.placement.put_task(made)

    def batch(self, seed: int = 0) -> dict[str, Any]:
        """Returns a host batch."""
        on, rng = self.case["on"], np.random.default_rng(seed)
        size, width = (tiny.CONFIG.image_size,) * 2, tiny.CONFIG.embed_dim
        shapes = {
            "images": (*size, 3),
            "features": (width,),
            "frames": (FRAMES, width),
            "videos": (FRAMES, *size, 3),
            "pairs": (FRAMES, *size, 3),
        }
        views = (len(self.method.views),) if self.method.views else ()
        image = rng.normal(size=(BATCH, *views, *shapes[on])).astype(np.float32)
        label = rng.integers(0, self.classes, BATCH).astype(np.int32)
        if self.case.get("mixed"):
            targets = rng.dirichlet(np.ones(self.classes), BATCH).astype(np.float32)
            return {"image": image, "label": label, "targets": targets}
        if on != "pairs":
            return {"image": image, "label": label}
        slots = methods.get_encoders(self.case["method"]).text_prompts(self.settings)
        texts = [f"{NAMES[n]} and {n * NAMES[-n]}" for n in range(BATCH)]
        tokens = tokenize_captions(texts, slots, tiny.CONFIG.context_length).tokens
        packed = pack_captions(tokens, self.placement.devices)
        return {"image": image, "text": packed, "label": np.arange(BATCH, dtype=np.int32)}

    def start(self, seed: int = 1) -> Any:
        """Returns the initial prompts."""
        prompts = loop.init_prompts(self.method, self.task, seed)
        if not self.method.adaptation:
            return prompts
        number = SHOTS * self.classes
        features = np.random.default_rng(seed).normal(size=(2, number, tiny.CONFIG.embed_dim))
        labels = np.arange(number, dtype=np.int32) % self.classes
        return adapt(self.method, prompts, self.task, features.astype(np.float32), labels)

    def train(self) -> dict[str, Any]:
        """Takes `STEPS` steps; returns losses, prompts and the compiled program's text."""
        prompts = self.start()
        rule = recipes.build_optimizer(RECIPE, self.method, prompts, self.settings, 5)
        state = self.placement.replicate(train.init_state(prompts, rule))
        batch, losses = self.placement.split(self.batch()), []
        # It refuses arrays that are placed otherwise, so this also tests that no step needs another
        # compilation.
        step = train.make_step(self.method, rule).lower(state, self.task, batch).compile()
        for _ in range(STEPS):
            state, metrics = step(state, self.task, batch)
            losses.append(float(metrics["loss"]))
        return {"losses": losses, "prompts": train.result(state), "program": step.as_text()}

    def train_together(self, seeds: tuple[int, ...] = (1, 2)) -> dict[str, Any]:
        """Trains several seeds in one program."""
        prompts = [self.start(seed) for seed in seeds]

        def optimizer(rate):
            return recipes.build_optimizer(RECIPE, self.method, prompts[0], self.settings, 5, rate)

        step = train.make_parallel_step(self.method, optimizer)
        rates = np.full(len(seeds), RECIPE.learning_rate, np.float32)
        states = [train.init_state(one, optimizer(RECIPE.learning_rate)) for one in prompts]
        state = self.placement.replicate(jax.tree.map(lambda *x: np.stack(x), *states))
        batches = [self.batch(seed) for seed in seeds]
        together = {
            key: stack([one[key] for one in batches])
            if key == "text"
            else np.stack([one[key] for one in batches])
            for key in batches[0]
        }
        batch, losses = self.placement.split_runs(together), []
        for _ in range(STEPS):
            state, metrics = step(state, self.task, batch, rates)
            losses.append(np.asarray(metrics["loss"]).tolist())
        return {"losses": losses, "prompts": state.prompts, "compiled": step.count_compiled()}

    def evaluate(self) -> dict[str, Any]:
        """Evaluates the initial prompts on two batches, the second with padding."""
        batches = [self.batch(1), self.batch(2)]
        batches[1]["label"] = np.where(np.arange(BATCH) < 3, batches[1]["label"], -1)
        placed = map(self.placement.split, batches)
        [found] = Evaluator([self.method])([self.start()], [self.task], placed)
        return {
            "images": found.images,
            "accuracy": found.per_iteration,
            "confusion": found.confusion.tolist(),
            "prompts": found.top_classes.probabilities,
        }


@functools.cache
def run_on_one(case: str) -> tuple[dict[str, Any], int]:
    """Runs a case, in JSON, on one device; returns its result and the bytes of the backbone."""
    content = json.loads(case)
    one = Program(content, "", jax.devices()[:1])
    size = sum(x.nbytes for x in jax.tree.leaves(one.frozen))
    return getattr(one, content.get("run", "train"))(), size


def compare(case: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the largest relative differences between each mesh and one device, by name.

    Of a training also: "gathered", the shapes that all-gathers of its step return; "compiled", the
    number of compilations, of seeds together; "weights", the share of the backbone's bytes that a
    device holds.
    """
    run, found = case.get("run", "train"), {}
    alike = {key: value for key, value in case.items() if key not in ("meshes", "shard_frozen")}
    here, size = run_on_one(json.dumps(alike))
    for mesh in case["meshes"]:
        many = Program(case, mesh, jax.devices())
        there = getattr(many, run)()
        leaves = [jax.tree.leaves(each["prompts"]) for each in (here, there)]
        of_mesh = {"prompts": max(map(difference, *leaves), default=0.0)}
        if run == "evaluate":
            equal = (here[key] == there[key] for key in ("images", "accuracy", "confusion"))
            found[mesh] = of_mesh | {"equal": all(equal)}
            continue
        assert all(leaf.is_fully_replicated for leaf in leaves[1])
        shards = [x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(many.frozen)]
        found[mesh] = of_mesh | {
            "losses": difference(here["losses"], there["losses"]),
            "compiled": there.get("compiled"),
            "gathered": gathered(there.get("program", "")),
            "weights": sum(shards) / size,
        }
    return found


def difference(a: Any, b: Any) -> float:
    """Returns the largest difference relative to the largest value of `a`, or to `SMALL`."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.max(np.abs(a - b)) / max(np.max(np.abs(a)), SMALL))


def gathered(program: str) -> list[list[int]]:
    """Returns the shapes that the all-gathers of a compiled program return."""
    lines = re.findall(r"= (.*?) all-gather(?:-start)?\(", program)
    shapes = [shape for line in lines for shape in re.findall(r"\w+\[([\d,]*)\]", line)]
    return [[int(size) for size in shape.split(",") if size] for shape in shapes]


if __name__ == "__main__":
    for text in sys.argv[1:]:
        try:
            found = compare(json.loads(text))
        except Exception:  # the other cases go on
            found = {"error": traceback.format_exc()}
        print(json.dumps(found), flush=True)
