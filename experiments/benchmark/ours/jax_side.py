"""Builds, compiles and times this library's side of a cell, in a separate process."""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from safetensors.numpy import load_file, save_file

from experiments.benchmark import flops
from experiments.benchmark.cells import EVALUATION_BATCHES, Cell
from experiments.benchmark.handover import first_seconds
from experiments.benchmark.ours import jax_towers, work
from prompt_jax import methods
from prompt_jax.clip import CLIP, VARIANTS, CLIPConfig, Frozen, loading
from prompt_jax.clip.checkpoints.layouts import from_tree, openai_layout, to_tree
from prompt_jax.clip.layers import scans
from prompt_jax.clip.memory import default_budget
from prompt_jax.evaluation import evaluate
from prompt_jax.methods import Task
from prompt_jax.training import optim, train
from prompt_jax.training.sharding import find_devices

# Long enough for an accelerator to reach its full clock rate.
PEAK_SECONDS = 1.0
RATE = 0.002


def load_backbone(name: str, weights: Path) -> tuple[CLIPConfig, Frozen]:
    """Returns sizes and weights of a cell's backbone; saves new weights to `weights`."""
    if name == "embedded":
        config, frozen = loading.load(name)
    else:
        config = VARIANTS[name]
        layout = openai_layout(config.image_layers, config.text_layers)
        if weights.is_file():
            frozen = to_tree(layout, config, load_file(weights))
        else:
            frozen = jax.jit(CLIP(config).init)(jax.random.key(0))
    if not weights.is_file():
        save_file(openai_state(config, frozen), weights)
    return config, jax.tree.map(jnp.asarray, frozen)


def openai_state(config: CLIPConfig, frozen: Frozen) -> dict[str, np.ndarray]:
    """Returns the weights by OpenAI's names."""
    return from_tree(openai_layout(config.image_layers, config.text_layers), frozen)


def adamw(rate: float | jax.Array, trains: Any) -> optax.GradientTransformation:
    """Returns VoP's optimizer, without clipping of the gradient norm."""
    return optim.adamw(rate, trains, weight_decay=0.2, epsilon=1e-6)


def unbounded(arguments: tuple) -> tuple:
    """Returns the arguments with tasks without a memory budget."""

    def unbound(argument):
        if not isinstance(argument, Task):
            return argument
        clip = dataclasses.replace(argument.clip, memory=None)
        return dataclasses.replace(argument, clip=clip)

    return tuple(map(unbound, arguments))


def stack(trees: list[Any]) -> Any:
    """Stacks pytrees of the same structure along a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


class Ours:
    """A compiled cell of this library.

    Attributes:
        facts: "compile_seconds"; "flops", of one run's matrix products, without recomputation due
            to the memory budget; "xla_flops", XLA's count, which counts a loop's body once;
            "first_seconds" of a run.
        handover: inputs of the counterpart.
    """

    def __init__(self, cell: Cell, weights: Path, memory: int | None = None, in_turn: bool = False):
        """Loads and compiles the cell and runs it once.

        Args:
            cell: the cell.
            weights: see `load_backbone`.
            memory: see `CLIP`; None for the default budget.
            in_turn: whether several training runs are separate steps instead of one program.
        """
        config, frozen = load_backbone(cell.backbone, weights)
        self._once: Callable[[], Any]
        # Compilation is timed, so it must not use a cache.
        jax.config.update("jax_enable_compilation_cache", False)
        scan = scans(jax.default_backend()) if cell.layers == "auto" else cell.layers == "scan"
        dtype, memory = jnp.dtype(cell.dtype), memory or default_budget()
        clip = CLIP(config, dtype, memory, scan_layers=scan)
        frozen = clip.arrange(frozen)
        if not in_turn:
            clip = clip.share_memory(cell.runs)
        if cell.tower:
            self._set_up_tower(cell, clip, frozen)
            return
        self._method, self._task, self._prompts, self.handover, batches = work.set_up(
            cell, clip, frozen
        )
        if cell.phase == "train":
            self._set_up_training(batches, in_turn, adamw if cell.frames else optim.sgd)
        else:
            self._set_up_evaluation(batches[0])

    def _set_up_tower(self, cell: Cell, clip: CLIP, frozen: Frozen):
        encode, given, self.handover = jax_towers.set_up(cell, clip)
        began = time.perf_counter()
        compiled = jax.jit(encode).lower(frozen, given).compile()
        seconds = time.perf_counter() - began
        self._once = functools.partial(compiled, frozen, given)
        self.facts = {
            "compile_seconds": seconds,
            "flops": flops.count_products(encode, frozen, given),
            "xla_flops": (compiled.cost_analysis() or {}).get("flops"),
            "first_seconds": first_seconds(self.run),
        }

    def _set_up_training(self, batches: list[dict[str, jax.Array]], in_turn: bool, rule: Callable):
        mask = self._method.trains(self._prompts, self._task.settings)
        optimizer, rate = rule(RATE, mask), jnp.asarray(RATE)
        states = [train.init_state(self._prompts, optimizer) for _ in batches]
        step = train.make_step(self._method, optimizer)
        self._turns: list[tuple] = [(batch,) for batch in batches]
        if len(batches) > 1 and not in_turn:
            step = train.make_parallel_step(self._method, lambda rate: rule(rate, mask))
            self._turns = [(stack(batches), jnp.broadcast_to(rate, len(batches)))]
            states = [stack(states)]
        # Copied, because a step donates its state, and the initial states share arrays.
        self._states = [jax.tree.map(jnp.copy, state) for state in states]
        arguments = (self._states[0], self._task, *self._turns[0])
        began = time.perf_counter()
        self._step = step.lower(*arguments).compile()
        compiled = time.perf_counter() - began
        analysis, memory = self._step.cost_analysis(), self._step.memory_analysis()
        self.facts = {
            "compile_seconds": compiled,
            "flops": len(self._turns)
            * flops.count_products(step.__wrapped__, *unbounded(arguments)),
            "xla_flops": (analysis or {}).get("flops"),
            "xla_temporary_bytes": getattr(memory, "temp_size_in_bytes", None),
        }
        self._once = self._train
        self.facts["first_seconds"] = first_seconds(self.run)

    def _set_up_evaluation(self, batch: dict[str, jax.Array]):
        self._batch = batch
        self._evaluate = evaluate.Evaluator([self._method])
        self._once = self._go_through
        with_compilation, first = self.run(1), first_seconds(self.run)

        def whole(prompts, prepared, task, images):
            seen = methods.encode_input(self._method, task, images)
            return self._method.forward(prompts, prepared, task, seen).logits

        prompts, task = self._prompts, self._task
        prepared = jax.eval_shape(self._method.prepare, prompts, task)
        arguments = (prompts, prepared, task, self._batch["image"])
        once = flops.count_products(self._method.prepare, *unbounded((prompts, task)))
        each = flops.count_products(whole, *unbounded(arguments))
        lowered = jax.jit(whole).lower(*arguments)
        analysis = lowered.cost_analysis() or lowered.compile().cost_analysis()
        self.facts = {
            "compile_seconds": with_compilation - first,
            "flops": once + EVALUATION_BATCHES * each,
            "xla_flops": (analysis or {}).get("flops"),
            "first_seconds": first,
        }

    def _train(self):
        for number, rest in enumerate(self._turns):
            self._states[number], _ = self._step(self._states[number], self._task, *rest)
        return self._states

    def _go_through(self):
        batches = [self._batch] * EVALUATION_BATCHES
        self._evaluate([self._prompts], [self._task], batches)

    def run(self, times: int) -> float:
        """Returns the mean seconds per run over `times` runs."""
        began = time.perf_counter()
        for _ in range(times):
            result = self._once()
        jax.block_until_ready(result)
        return (time.perf_counter() - began) / times

    def device_memory(self) -> int | None:
        """Returns the peak memory of an accelerator in bytes; None on a CPU."""
        statistics = jax.devices()[0].memory_stats()
        return statistics["peak_bytes_in_use"] if statistics else None


def describe_device(dtypes: Sequence[str]) -> dict[str, Any]:
    """Returns the device and the FLOP/s of a large matrix product on it."""
    device = find_devices()[0]
    return {
        "platform": device.platform,
        "name": device.device_kind,
        "peak_flops": {dtype: _measure_peak(dtype, device.platform) for dtype in dtypes},
    }


def _measure_peak(dtype: str, platform: str) -> float:
    size = 2048 if platform == "cpu" else 8192
    left, right = (
        jax.random.normal(jax.random.key(seed), (size, size), jnp.dtype(dtype)) for seed in (0, 1)
    )
    product = jax.jit(jnp.matmul)
    product(left, right).block_until_ready()
    seconds: list[float] = []
    while sum(seconds) < PEAK_SECONDS:
        began = time.perf_counter()
        product(left, right).block_until_ready()
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds)
