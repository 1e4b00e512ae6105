"""The benchmark for accelerators, at tiny sizes on the CPU."""

import json
import re
from dataclasses import asdict

import numpy as np
import pytest
from reference import BATCH, CLASSES, CONFIG, FROZEN, TINY
from rows import BY_FIGURES, arrays

from experiments import machines
from experiments.benchmark import __main__ as command
from experiments.benchmark import cells, checks, measure, records, report
from experiments.benchmark.cells import Cell
from experiments.benchmark.handover import Figures, compare
from prompt_jax.errors import PromptError

KINDS = {
    "NVIDIA H200": "H200",
    "NVIDIA H100 80GB HBM3": "H100",
    "NVIDIA H100 PCIe": "H100 PCIe",
    "NVIDIA A100-SXM4-40GB": "A100 40GB",
    "NVIDIA GeForce RTX 4090": "RTX 4090",
    "NVIDIA GeForce RTX 4090 Laptop GPU": None,
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": "RTX PRO 6000",
    "NVIDIA L40S": "L40S",
    "TPU v5 lite": "TPU v5e",
    "TPU v6 lite": "TPU v6e",
    "cpu": None,
}


@pytest.mark.parametrize("kind", KINDS)
def test_cards_are_found_by_the_name_that_jax_reports(kind):
    found = machines.find(kind)
    assert (found and found.name) == KINDS[kind]


def test_every_card_has_its_data_sheet():
    assert len({each.name for each in machines.MACHINES}) == len(machines.MACHINES)
    for each in machines.MACHINES:
        assert each.source and each.peak and each.bandwidth > 1e11
        assert each.peak.get("bfloat16", 1e15) > each.peak.get("tf32", 0)


def make_record(tmp_path, **changed):
    """Writes a record with a measured cell of each side to a file."""
    cells = [entry(Cell("coop", "embedded", 3)), entry(Cell("coop", "embedded", 6), theirs=False)]
    record = {
        "device": {
            "platform": "gpu", "name": "NVIDIA H200", "cores": 16, "load": 0.1,
            "peak_flops": {"float32": 1e11}, "data_sheet": asdict(machines.BY_NAME["H200"]),
        },
        "versions": {"jax": "0"},
        "commit": "abc",
        "code": "123",
        "date": "2026-01-01",
        "options": {"memory": None},
        "parity": [{"method": "coop", "ours": {"bfloat16": {"logits": 0.1, "cosine": 0.999}}}],
        "attention": ATTENTION,
        "cells": cells,
        "left_out": [],
        "finished": True,
        **changed,
    }  # fmt: skip
    file = tmp_path / "benchmark.json"
    file.write_text(json.dumps(record))
    return record, file


ATTENTION = [
    {
        "tower": "image tower",
        "form": "cudnn",
        "shape": {"batch": 256, "tokens": 201, "heads": 12},
        "forward": {"seconds": 1e-3, "bytes": 2**20, "flops_per_second": 3e14},
        "backward": {"seconds": 3e-3, "bytes": 2**21, "flops_per_second": 2e14},
        "difference": 0.01,
    },
    {"tower": "text tower", "form": "cudnn", "reason": "not here",
     "shape": {"batch": 1000, "tokens": 32, "heads": 8}},
]  # fmt: skip


def entry(cell, theirs=True):
    side = {"seconds": [1.0], "seconds_in_row": [1.0], "memory_bytes": 2**30}
    found = {"ours": side | {"flops": 1e9, "compile_seconds": 1.0}}
    if theirs:
        found["counterpart"] = side | {"compile_seconds": 9.0, "eager_seconds": 2.0}
    return measure.summarize(cell, found, 1e11)


def fresh(record):
    return {**record, "cells": [], "left_out": [], "parity": [], "attention": [], "new": True}


def test_measured_cells_are_not_measured_again(tmp_path):
    skipped = [
        {"cell": asdict(Cell("coop", "embedded", number)), "side": "both", "reason": reason,
         "failed": failed}
        for number, reason, failed in (
            (7, "does not fit in memory", False), (8, "no time left: --minutes=1", False),
            (9, "RuntimeError", True),
        )
    ]  # fmt: skip
    record, file = make_record(tmp_path, left_out=skipped)
    found = records.resume(file, fresh(record), counterpart=False)
    assert found["new"] and found["cells"] == record["cells"]
    assert found["parity"] == record["parity"] and found["attention"] == ATTENTION
    done = [k for k in range(3, 10) if records.is_done(found, Cell("coop", "embedded", k))]
    assert done == [3, 6, 7]
    # With PyTorch, cells measured without it are measured again.
    found = records.resume(file, fresh(record), counterpart=True)
    assert [each["K"] for each in found["cells"]] == [3] and found["parity"] == []
    assert records.resume(tmp_path / "no.json", fresh(record), True) == fresh(record)


def test_a_side_skipped_for_its_size_is_not_tried_again(tmp_path):
    reason = {"cell": asdict(Cell("coop", "embedded", 6)), "side": "counterpart",
              "reason": "does not fit in memory", "failed": False}  # fmt: skip
    record, file = make_record(tmp_path, left_out=[reason])
    assert len(records.resume(file, fresh(record), counterpart=True)["cells"]) == 2


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("code", "456", "another code (123, here 456)"),
        ("versions", {"jax": "1"}, "another versions (jax 0, here jax 1)"),
        ("options", {"memory": 10**9}, "another memory budget (None, here 1000000000)"),
        ("device", {"name": "L4", "cores": 1}, "another device (NVIDIA H200, 16 cores, here L4"),
    ],
)
def test_a_record_of_other_conditions_is_not_resumed(field, value, message, tmp_path):
    record, file = make_record(tmp_path)
    before = file.read_bytes()
    with pytest.raises(PromptError, match=re.escape(message)):
        records.resume(file, {**record, field: value}, counterpart=True)
    assert file.read_bytes() == before


def test_a_call_measures_missing_cells(tmp_path, monkeypatch, capsys):
    record, file = make_record(tmp_path)
    asked = []
    monkeypatch.setattr(measure, "_ask", lambda *_: record["device"])
    monkeypatch.setattr(measure, "cores", lambda: 16)
    monkeypatch.setattr(measure, "measure_cell", lambda cell, *_: asked.append(cell))
    for name in ("code_hash", "versions", "git_commit"):
        where = records if name == "code_hash" else measure
        field = {"code_hash": "code", "git_commit": "commit"}.get(name, name)
        monkeypatch.setattr(where, name, lambda field=field: record[field])
    chosen = [Cell("coop", "embedded", number) for number in (3, 4)]
    measure.measure_all(chosen, measure.Options(counterpart=False), file)
    assert asked == chosen[1:]
    assert f"{file} has 1 of 2 cells; measuring the others" in capsys.readouterr().out


def test_the_section_is_written_between_the_markers_of_the_page(tmp_path):
    _, file = make_record(tmp_path)
    page = tmp_path / "page.md"
    for _ in range(2):  # the second call replaces the first section
        page.write_text(f"# Page\n\n## GPU\n\n{report.BEGIN}\nold\n{report.END}\n\n## Next\n")
        command.main(["--draw", str(file), f"--page={page}"])
    text = page.read_text()
    assert text.startswith(f"# Page\n\n## GPU\n\n{report.BEGIN}\n\nNVIDIA H200 (gpu), 16 cores")
    assert text.endswith(f"\n{report.END}\n\n## Next\n") and "old" not in text
    assert "Commit abc, 2026-01-01" in text and "jax 0" in text
    assert "TFLOP/s: 989.4 in bfloat16, 494.7 in tf32" in text and machines.H200 in text
    assert "### Parity" in text and "| 0.2, 0.996" in text
    assert re.search(r"image tower, 256 × 201, 12 heads +\| +cudnn +\| +1 +\| +300 ", text)
    assert re.search(r"text tower, 1000 × 32, 8 heads +\| +cudnn +\| +– ", text)
    assert re.search(r"\| +4 \(2\) +\| +1 +\|", text)  # PyTorch with and without compilation
    assert "torch.compile" in text
    assert "- attention, cudnn, text tower: not here\n" in text


@pytest.mark.parametrize("text", ["no markers", f"{report.END}\n{report.BEGIN}\n"])
def test_a_page_without_the_markers_is_rejected(text, tmp_path):
    _, file = make_record(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(PromptError, match=r"page\.md needs the lines <!-- begin"):
        command.main(["--draw", str(file), f"--page={page}"])
    assert page.read_text() == text


def test_the_documentation_has_the_markers():
    text = (records.ROOT / command.PAGE).read_text()
    assert text.index(report.BEGIN) < text.index(report.END)


def test_a_precision_beyond_its_bound_is_reported(tmp_path):
    record, _ = make_record(tmp_path)
    assert not [*checks.beyond_bounds(record)]
    record["parity"][0]["ours"] |= {"tf32": {"logits": 0.03, "cosine": 1.0}}
    assert [*checks.beyond_bounds(record)] == [
        "coop in tf32: logits differ by 0.03 (at most 0.025), cosine of the gradients 1.0000 (at "
        "least 0.999)"
    ]
    record["parity"][0]["ours"] = {"bfloat16": {"logits": float("nan"), "cosine": 1.0}}
    assert [*checks.beyond_bounds(record)]
    record["parity"] = [{"method": "coop", "reason": "no time left"}]
    assert not [*checks.beyond_bounds(record)]
    record["parity"] = [{"method": "coop", "reason": "RuntimeError: no device"}]
    assert [*checks.beyond_bounds(record)] == ["coop: RuntimeError: no device"]


def test_gradients_are_compared_together():
    expected = Figures(np.ones((1, 2)), {"a": np.array([3.0]), "b": np.array([4.0])})
    found = compare(expected, Figures(np.array([[1.0, 1.5]]), {"a": np.array([3.0])}))
    assert found == {"logits": 0.5, "cosine": pytest.approx(0.6)}


def test_the_small_form_has_towers_and_growth():
    small = cells.gpu(small=True)
    assert {cell.method for cell in small} >= set(cells.TOWERS)
    assert all(cell.backbone == "embedded" for cell in small)
    with pytest.raises(PromptError, match="--small needs --gpu"):
        command.main(["--small"])
    with pytest.raises(PromptError, match="method=image_tower needs phase=evaluate"):
        Cell("image_tower", "embedded", 1)


def test_forms_of_attention_agree_and_a_missing_one_is_reported():
    from experiments.benchmark.ours import jax_attention

    rows = jax_attention.measure(small=True)
    assert [(row["tower"], row["form"]) for row in rows] == [
        (tower, form) for tower in ("image tower", "text tower") for form in jax_attention.FORMS
    ]
    for row in rows:
        if row["form"] == "cudnn":
            assert "reason" in row
        else:
            assert row["difference"] < 0.05 and row["backward"]["seconds"] > 0


@pytest.mark.slow
def test_the_small_form_measures_everything_and_resumes(tmp_path):
    words = ["--gpu", "--small", "--ours-only", "--repeats=1", f"--workdir={tmp_path}"]
    command.main(words)
    file = tmp_path / "benchmark.json"
    record = json.loads(file.read_text())
    assert record["finished"] and not record["left_out"]
    assert [each["method"] for each in record["cells"]] == [*cells.TOWERS, "coop", "coop"]
    assert [row["method"] for row in record["parity"]] == ["coop"]
    for row in record["parity"]:
        assert row["ours"]["float32"]["logits"] <= 1e-5
        assert 0 < row["ours"]["bfloat16"]["logits"] <= checks.BOUNDS["bfloat16"][0]
    record["cells"].pop()
    file.write_text(json.dumps(record))
    command.main(words)
    again = json.loads(file.read_text())
    assert again["cells"][:3] == record["cells"] and len(again["cells"]) == 4
    assert again["parity"] == record["parity"] and again["attention"] == record["attention"]


# torch's own warning while it traces
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_compiled_blocks_give_the_same_features_and_gradients(torch):
    """Uses the compiler's graphs only, which need no C++ compiler."""
    from experiments.benchmark.counterparts import torch_methods, torch_towers
    from experiments.benchmark.ours import jax_side, work

    row = BY_FIGURES["coop"]
    handover = work.hand_over("coop", TINY, row.settings, arrays(row, "param"), CLASSES)
    module = torch_methods.build(handover, jax_side.openai_state(CONFIG, FROZEN))
    images = torch.tensor(np.asarray(BATCH["image"])).permute(0, 3, 1, 2)

    def run():
        module.zero_grad()
        logits = module(images)
        logits.sum().backward()
        return logits.detach(), module.prompts["context"].grad.clone()

    expected = run()
    torch_towers.compile_blocks(module, backend="aot_eager")
    for found, before in zip(run(), expected, strict=True):
        torch.testing.assert_close(found, before, rtol=1e-4, atol=1e-4)
    with torch_towers.uncompiled(module):
        assert module.clip.visual.transformer.resblocks[0]._compiled_call_impl is None
    assert module.clip.visual.transformer.resblocks[0]._compiled_call_impl is not None


@pytest.mark.parametrize("name", cells.TOWERS)
def test_the_bare_towers_do_the_same_work_on_both_sides(name, torch):
    from experiments.benchmark.counterparts import torch_methods
    from experiments.benchmark.ours import jax_side, jax_towers

    cell = Cell(name, "embedded", 1, batch=3, phase="evaluate")
    encode, given, handover = jax_towers.set_up(cell, TINY)
    module = torch_methods.build(handover, jax_side.openai_state(CONFIG, FROZEN))
    expected = np.asarray(encode(FROZEN, given))
    images = None if name == "text_tower" else torch.tensor(np.asarray(given)).movedim(-1, -3)
    assert expected.shape == (3, CONFIG.embed_dim) and cell.images == 3
    np.testing.assert_allclose(module(images).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture
def counterpart(torch, tmp_path, monkeypatch):
    """Builds the PyTorch side of CoOp on the tiny CLIP with the given compiler."""
    from safetensors.numpy import save_file

    from experiments.benchmark.counterparts import torch_side, torch_towers
    from experiments.benchmark.ours import jax_side, work

    row = BY_FIGURES["coop"]
    handover = work.hand_over("coop", TINY, row.settings, arrays(row, "param"), CLASSES)
    save_file(jax_side.openai_state(CONFIG, FROZEN), tmp_path / "clip.safetensors")
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)

    def build(compiler):
        monkeypatch.setattr(
            torch_side, "compile_blocks", lambda m: torch_towers.compile_blocks(m, compiler)
        )
        cell = Cell("coop", "embedded", len(CLASSES), 2)
        return torch_side.Counterpart(cell, tmp_path / "clip.safetensors", handover, "cpu")

    return build


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_on_an_accelerator_pytorch_is_measured_with_and_without_compilation(counterpart):
    side = counterpart("aot_eager")
    assert side.facts.keys() == {"first_seconds"}  # on a CPU
    facts = side._start(compiled=True)
    assert facts.keys() == {"first_seconds", "compile_seconds", "eager_seconds"}
    assert side._module.clip.transformer.resblocks[0]._compiled_call_impl is not None


def test_a_failing_compiler_is_reported_and_pytorch_runs_without(counterpart):
    def compiler(graph, inputs):
        raise RuntimeError("Triton is missing\nand more")

    side = counterpart(compiler)
    facts = side._start(compiled=True)
    assert facts["first_seconds"] > 0 and "Triton is missing" in facts["not_compiled"]
    assert side._module.clip.visual.transformer.resblocks[0]._compiled_call_impl is None


def test_a_loop_over_layers_is_the_same_work_and_a_cell_of_its_own(tmp_path):
    from experiments.benchmark.ours import jax_parity

    cell, file = Cell("coop", "embedded", 3, 2), tmp_path / "clip.safetensors"
    expected, _ = jax_parity.run(cell, file, "float32", "highest", scan=False)
    found, _ = jax_parity.run(cell, file, "float32", "highest", scan=True)
    compared = compare(expected, found)
    assert compared["logits"] <= 1e-4 and compared["cosine"] >= 0.99999
    assert str(Cell("coop", "embedded", 3, layers="scan")).endswith("float32 scan")
    earlier = asdict(cell)
    del earlier["layers"]
    assert records.cell_of(earlier) == cell
