"""Floating-point operations of a program's matrix products, loops counted as often as they run."""

import math
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.core import Jaxpr


def count_products(function, *args: Any) -> int:
    """Operations (a multiplication and an addition are two) of all matrix products.

    XLA's own count (`compiled.cost_analysis()`) takes a loop's body once, however often it runs.

    Args:
        function: anything JAX traces; gradients inside it are counted as they are.
        args: arrays or their shapes.
    """
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: Jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            total += _product(equation)
            continue
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        total += times * sum(_count(inner) for inner in _inner(equation.params))
    return total


def _product(equation) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left, result = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    return 2 * math.prod(result) * math.prod(left[axis] for axis in contracted)


def _inner(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in params.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            # A closed one holds another, until JAX 0.12 made the two one.
            inner = getattr(each, "jaxpr", each)
            if isinstance(inner, Jaxpr):
                yield inner
