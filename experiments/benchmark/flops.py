"""Counts floating-point operations of a program's matrix products, including loop iterations."""

import math
from typing import Any

import jax
from jax.extend.core import Jaxpr

from prompt_jax.clip.memory import inner_programs


def count_products(function, *args: Any) -> int:
    """Returns the operations of all matrix products; a multiply-add is two operations.

    Unlike XLA's count (`compiled.cost_analysis()`), counts every iteration of a loop.

    Args:
        function: a function that JAX can trace; gradients inside it are included.
        args: its arguments, arrays or shapes.
    """
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: Jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            total += _product(equation)
            continue
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        total += times * sum(_count(inner) for inner in inner_programs(equation.params))
    return total


def _product(equation) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left, result = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    return 2 * math.prod(result) * math.prod(left[axis] for axis in contracted)
