"""Builds and times the PyTorch side of a cell, in a separate process."""

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from experiments.benchmark.cells import EVALUATION_BATCHES, Cell
from experiments.benchmark.counterparts.torch_methods import build
from experiments.benchmark.counterparts.torch_towers import compile_blocks, uncompiled
from experiments.benchmark.handover import (
    SIDE_SHARE,
    Handover,
    cores,
    feature_batch,
    first_seconds,
    image_batch,
)


def make_optimizer(cell: Cell, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Returns an optimizer of the kind that the method was published with."""
    if cell.frames:
        return torch.optim.AdamW(parameters, lr=0.001, weight_decay=0.2, eps=1e-6)
    return torch.optim.SGD(parameters, lr=0.002, momentum=0.9, weight_decay=5e-4)


class Counterpart:
    """A cell in PyTorch, on an accelerator compiled by `torch.compile`.

    Attributes:
        facts: "first_seconds" of a run. If it is compiled, also "compile_seconds" and
            "eager_seconds", of a run without compilation; or "not_compiled", the reason why it
            could not be.
    """

    def __init__(self, cell: Cell, weights: Path, handover: Handover, platform: str):
        """Loads the cell and runs it once.

        Args:
            cell: the cell.
            weights: safetensors file by OpenAI's names.
            handover: inputs from this library.
            platform: JAX's name of the device, "cpu" or "gpu".
        """
        torch.set_num_threads(cores())
        # Full float32 on a GPU, not TF32, as in this library; no effect on a CPU.
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        self._device = torch.device("cpu" if platform == "cpu" else "cuda")
        if self._device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(SIDE_SHARE)
        self._dtype = getattr(torch, cell.dtype)
        self._module = build(handover, load_file(weights), self._device)
        images, labels = image_batch(cell, handover.sizes["image_size"])
        tensor = torch.from_numpy(np.moveaxis(images, -1, -3).copy())
        self._logits: Any = self._module
        if cell.part == "text":
            tensor = torch.from_numpy(feature_batch(cell, handover.sizes["embed_dim"]))
            self._logits = self._module.text_logits
        self._images = tensor.to(self._device)
        self._labels = torch.from_numpy(labels).long().to(self._device)
        self._stack = contextlib.ExitStack()
        self._once = self._encode if cell.tower else self._go_through
        if cell.phase == "train":
            self._optimizer = make_optimizer(cell, self._module.prompts.parameters())
            self._once = self._train
        else:
            self._module.eval()
        self.facts = self._start(compiled=platform != "cpu")

    def _start(self, compiled: bool) -> dict[str, Any]:
        if not compiled:
            return {"first_seconds": first_seconds(self.run)}
        compile_blocks(self._module)
        try:
            with_compilation, first = self.run(1), first_seconds(self.run)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:  # of different kinds; Triton may be missing
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            self._stack.enter_context(uncompiled(self._module))
            return {"first_seconds": first_seconds(self.run), "not_compiled": reason}
        facts = {"first_seconds": first, "compile_seconds": with_compilation - first}
        # Larger, so it may not fit in the memory.
        with contextlib.suppress(torch.cuda.OutOfMemoryError), uncompiled(self._module):
            facts["eager_seconds"] = first_seconds(self.run)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return facts

    def _autocast(self):
        if self._dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, self._dtype)

    def _train(self):
        self._optimizer.zero_grad()
        with self._autocast():
            loss = self._module.loss(self._logits(self._images), self._labels)
        loss.backward()
        self._optimizer.step()

    def _encode(self):
        with self._autocast():
            self._module(self._images)

    @torch.no_grad()
    def _go_through(self):
        hits = 0
        for _ in range(EVALUATION_BATCHES):
            with self._autocast():
                logits = self._logits(self._images)
            hits += int((logits[-1].argmax(dim=-1) == self._labels).sum())

    def run(self, times: int) -> float:
        """Returns the mean seconds per run over `times` runs."""
        self._wait()
        began = time.perf_counter()
        for _ in range(times):
            self._once()
        self._wait()
        return (time.perf_counter() - began) / times

    def _wait(self):
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def device_memory(self) -> int | None:
        """Returns the peak memory of an accelerator in bytes; None on a CPU."""
        return torch.cuda.max_memory_allocated() if self._device.type == "cuda" else None
