"""The compilers of accelerators accept every method's programs, without the accelerators."""

import dataclasses
from collections.abc import Iterator

import pytest
from video_rows import frames_of

from experiments.config.config import Config, read
from experiments.configs import recipes
from experiments.configs.video import few_shot, retrieval
from experiments.plan import targets, worker
from experiments.plan.compiling import Compiled, Question
from experiments.plan.costs import COLLECTIVES
from prompt_jax import methods
from prompt_jax.clip import VARIANTS, CLIPConfig
from prompt_jax.errors import PromptError

SIZES = CLIPConfig(
    image_size=32,
    patch_size=16,
    image_width=64,
    image_layers=2,
    image_heads=2,
    image_mlp=128,
    text_width=64,
    text_layers=2,
    text_heads=2,
    text_mlp=128,
    embed_dim=32,
)
CLASSES, BATCH = 12, 8
CLASS_FEATURES = 4 * CLASSES * SIZES.embed_dim  # bytes; an image has eight times as many
COMPARED = {
    "gopro": 2 * 4 * BATCH * SIZES.embed_dim,
    "ez_clip": 2 * 4 * BATCH * CLASSES + 3 * CLASS_FEATURES,
}
"""Bytes of what a loss compares within a batch: features of two views; or logits and their
gradient, from which the columns of the batch's labels are taken, and the features of each class's
three texts, which are averaged."""
SECONDS = 600.0
QUICK = ("coop", "cocoop", "pro_mpt", "vilt_clip", "vop_f_c")
METHODS = [
    pytest.param(kind, name, marks=() if name in QUICK else pytest.mark.slow)
    for kind in methods.RECORDS
    for name in methods.RECORDS[kind]
]
MOVING = set(COLLECTIVES) - {"all-reduce", "reduce-scatter"}


def config_of(name: str, kind: str) -> Config:
    """Returns a method's config for tiny batches on a mesh of two by two devices."""
    record = methods.RECORDS[kind][name]
    if kind == "images":
        c = recipes.get_config(
            name, "base_to_novel" if record.recipe("base_to_novel") else "few_shot"
        )
    else:
        c = (few_shot if record.recipe("few_shot") else retrieval).get_config(name)
        if "frames" in c.settings:
            c.settings.frames = 2
        c.data.frames = frames_of(record.method, record.method.Settings(**c.settings), 2)
    c.batch_size = c.eval_batch_size = BATCH
    c.dtype = "bfloat16"
    c.mesh = "data:2,model:2"
    return dataclasses.replace(read(c), epochs=1, epochs_by_shots=())


def starting(text: str) -> worker.Compiler:
    """Returns the compiler of a target; skips the test if it is not installed."""
    target = targets.parse(text)
    try:
        targets.check_compiler(target)
    except PromptError as missing:
        pytest.skip(str(missing))
    return worker.Compiler(target, SECONDS)


@pytest.fixture(scope="module")
def tpu() -> Iterator[worker.Compiler]:
    with starting("v5e:2x2") as compiler:
        yield compiler


def compile_first(compiler: worker.Compiler, question: Question) -> Compiled:
    """Compiles the run's first program: its training step, if it trains."""
    name = compiler.ask(question)[0]
    return compiler.ask(dataclasses.replace(question, program=name))


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_a_tpus_compiler_accepts_every_method_on_a_mesh(tpu, kind, name):
    config = config_of(name, kind)
    found = compile_first(tpu, Question(config, SIZES, "v5e:2x2", CLASSES))
    assert not found.refused
    assert 0 < found.bytes < 2**30
    if found.held["optimizer"]:
        assert found.costs.counts["all-reduce"]  # the gradients of the devices are summed
        # Devices exchange logits and partial sums, but neither images nor features of all classes.
        moved = {kind: n for (kind, _), n in found.costs.collectives.items() if kind in MOVING}
        most = CLASS_FEATURES + COMPARED.get(name, 0)
        if kind == "videos" and methods.get_encoders(name).captioning:
            # Captions are on other devices than their videos, whose frame features they read.
            most += 4 * BATCH * config.data.frames * SIZES.embed_dim
        assert sum(moved.values()) < most, moved


def test_nvidias_compiler_accepts_a_training_step():
    config = dataclasses.replace(config_of("coop", "images"), mesh="")
    with starting("h100") as compiler:
        try:
            found = compile_first(compiler, Question(config, SIZES, "h100", CLASSES))
        except PromptError as too_old:
            assert "install a newer one" in str(too_old)
            pytest.skip(str(too_old))
    assert found.costs.flops["bf16"] and not found.costs.counts


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coop", "vpt"])  # pro_mpt takes minutes; docs/machines.md has it
def test_a_tpus_compiler_accepts_vit_b_16(tpu, name):
    config = dataclasses.replace(config_of(name, "images"), batch_size=32)
    found = compile_first(tpu, Question(config, VARIANTS["ViT-B/16"], "v5e:2x2", 100))
    parameters = 149_620_737  # the matrices have two bytes each, all others four
    assert not found.refused and 2 < found.held["weights"] / parameters < 2.5
    assert found.bytes < tpu_memory()


def tpu_memory() -> float:
    """Returns the usable bytes of a TPU v5e."""
    return targets.parse("v5e").memory
