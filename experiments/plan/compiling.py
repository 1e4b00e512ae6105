"""Compiles a run's programs for a target, in the process of `worker`."""

import dataclasses
import os
import re
from typing import Any

import jax

from experiments.config.config import Config
from experiments.plan import costs, hlo, programs, targets
from experiments.plan.costs import Costs
from prompt_jax.clip import CLIPConfig

# The TPU's compiler: "Used 20.1G of 15.75G hbm", and others.
_USED = re.compile(r"[Uu]sed ([\d.]+)([KMGT]) of|allocat\w+ ([\d.]+) ?(?:([KMGT])i?B|bytes)")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, None: 1}


@dataclasses.dataclass(frozen=True)
class Question:
    """A program of a run to compile for a target.

    Attributes:
        config: the run's config.
        sizes: architecture of its backbone.
        target: name of the target.
        classes: number of classes.
        program: name of the program; "" asks for the names of all.
    """

    config: Config
    sizes: CLIPConfig
    target: str
    classes: int
    program: str = ""


@dataclasses.dataclass(frozen=True)
class Compiled:
    """The result of compiling a program for a target; bytes are those of one device.

    Attributes:
        held: bytes that the run holds beside the program's own, by `programs.KINDS`.
        temporaries: bytes of intermediate results, and of results that replace no argument.
        seconds: processor time of compilation; `trace_seconds` of JAX's tracing before.
        images: images or videos per run.
        costs: operations, bytes and collectives of one run.
        refused: the compiler's message if the program does not fit in memory.
    """

    held: dict[str, int]
    temporaries: int
    seconds: float
    trace_seconds: float
    images: int
    costs: Costs
    refused: str = ""

    @property
    def bytes(self) -> int:
        """Returns all bytes on a device."""
        return sum(self.held.values()) + self.temporaries


def processor_seconds() -> float:
    """Returns the processor time of this process and its finished subprocesses.

    Unlike the time of the clock, it hardly depends on what else the machine does.
    """
    return sum(os.times()[:4])


def answer(question: Question) -> Any:
    """Returns a program's `Compiled`, or the names of the run's programs."""
    target = targets.parse(question.target)
    devices = target.find_devices()
    run = programs.describe(question.config, question.sizes, target, devices, question.classes)
    named = dict(programs.build(run))
    if not question.program:
        return list(named)
    return compile_for(named[question.program]())


def compile_for(built: programs.Built) -> Compiled:
    """Compiles a program for the devices that its arguments are on."""
    began = processor_seconds()
    lowered = built.function.lower(*built.arguments)
    traced = processor_seconds()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        message = str(error)
        if "RESOURCE_EXHAUSTED" not in message:
            raise
        used = _USED.search(message)
        number, unit = (used[1] or used[3], used[2] or used[4]) if used else ("0", None)
        needed = int(float(number) * _UNITS[unit])
        temporaries = max(0, needed - sum(built.held.values()))
        seconds = processor_seconds() - traced
        first = message.splitlines()[0]
        return Compiled(
            built.held, temporaries, seconds, traced - began, built.images, Costs(), first
        )
    seconds = processor_seconds() - traced
    memory = compiled.memory_analysis()
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Compiled(
        built.held,
        memory.temp_size_in_bytes + max(0, results),
        seconds,
        traced - began,
        built.images,
        costs.count(hlo.parse(compiled.as_text())),
    )
