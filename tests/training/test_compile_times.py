"""Before the first step, the device and the expected compile time are printed."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny

import prompt_jax as pj
from prompt_jax.clip import CLIP, VARIANTS
from prompt_jax.training import compile_times

KINDS = {
    "TPU v5 lite": "TPU v5e",
    "TPU v6 lite": "TPU v6e",
    "TPU v5": "TPU v5p",
    "TPU v5p": "TPU v5p",
    "NVIDIA H100 80GB HBM3": "NVIDIA H100 80GB HBM3",
    "cpu": "CPU",
}


def device(kind):
    return SimpleNamespace(platform=kind.split()[0].lower(), device_kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_devices_are_called_by_their_usual_names(kind):
    assert compile_times.device_name(kind) == KINDS[kind]


@pytest.mark.parametrize("name, kind, scan", compile_times.SECONDS)
def test_measured_programs_are_announced_with_their_seconds(name, kind, scan):
    reported = {"TPU v5e": "TPU v5 lite", "H100": "NVIDIA H100 80GB HBM3", "CPU": "cpu"}[kind]
    clip = CLIP(VARIANTS["ViT-B/16"], scan_layers=scan)
    line = compile_times.describe(name, clip, device(reported))
    measured = compile_times.SECONDS[name, kind, scan]
    start, _, rest = line.partition(": about ")
    assert start == f"compiling for {compile_times.device_name(reported)}"
    assert abs(float(rest.split(" s, ")[0]) - measured) <= 2.5 or measured < 5
    assert rest.endswith(" s, less if it was compiled before")


def test_the_line_is_the_promised_one(monkeypatch):
    monkeypatch.setitem(compile_times.SECONDS, ("coop", "TPU v5e", True), 41)
    clip = CLIP(VARIANTS["ViT-B/16"], scan_layers=True)
    line = compile_times.describe("coop", clip, device("TPU v5 lite"))
    assert line.startswith("compiling for TPU v5e: about 40 s")


@pytest.mark.parametrize(
    ("name", "backbone", "kind", "line"),
    [
        ("coop", "ViT-L/14", "TPU v5 lite", "compiling for TPU v5e"),
        ("kgcoop", "ViT-B/16", "TPU v5 lite", "compiling for TPU v5e"),
        ("coop", "ViT-B/16", "NVIDIA GeForce RTX 4090", "compiling for NVIDIA GeForce RTX 4090"),
        ("kgcoop", "ViT-B/16", "cpu", "compiling for CPU"),
    ],
)
def test_missing_measurements_have_no_figure(name, backbone, kind, line):
    assert compile_times.describe(name, CLIP(VARIANTS[backbone]), device(kind)) == line


def test_small_programs_on_a_cpu_are_not_announced():
    assert compile_times.describe("coop", CLIP(tiny.CONFIG), device("cpu")) == ""
    assert compile_times.describe("coop", CLIP(tiny.CONFIG)) == ""
    tpu = compile_times.describe("coop", CLIP(tiny.CONFIG), device("TPU v5 lite"))
    assert tpu == "compiling for TPU v5e"


def test_a_training_announces_its_program_once_before_the_first_step(tmp_path, monkeypatch, capsys):
    asked = []

    def describe(name, clip):
        asked.append((name, clip.config))
        return "compiling for TPU v5e: about 40 s"

    monkeypatch.setattr(compile_times, "describe", describe)
    clip = pj.load(tiny.save_clip(tmp_path / "clip"))
    images = np.zeros((4, 32, 32, 3), np.uint8)
    pj.fit("coop", clip, images, [0, 1, 0, 1], ["ant", "bee"], epochs=1)
    message = capsys.readouterr().err
    assert asked == [("coop", clip.clip.config)]
    assert message.count("compiling for TPU v5e: about 40 s") == 1
    assert message.index("compiling") < message.index("training coop")
