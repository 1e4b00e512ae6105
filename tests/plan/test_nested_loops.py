"""Loops over layers inside of other loops, or of several runs together, do not copy weights."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from reference import CLASSES
from test_layers import FROZEN, LAYERS, SCAN, SIZE, STACK, UNROLLED

from prompt_jax import methods
from prompt_jax.clip.layers import STACKED
from prompt_jax.clip.memory import inner_programs
from prompt_jax.training.train import loss_and_output

BATCH = {"image": jnp.zeros((3, SIZE, SIZE, 3)), "label": jnp.arange(3)}
KERNELS = {x.shape[1:] for x in jax.tree.leaves(STACK["text"][STACKED]) if x.ndim == 3}


def equations(program, kind: str) -> Iterator:
    """Yields all equations of a kind, also those inside of loops."""
    for equation in program.eqns:
        if equation.primitive.name == kind:
            yield equation
        for each in inner_programs(equation.params):
            yield from equations(each, kind)


def test_no_loop_copies_the_weights():
    method = methods.get("pro_mpt")  # its iterations are a loop around those over layers
    task = methods.make_task(method, SCAN, STACK, CLASSES, method.Settings(vision_prompts=2))
    prompts = method.init(jax.random.key(1), task)
    gradient = jax.grad(lambda prompts, task: loss_and_output(method, prompts, task, BATCH)[0])
    loops = [*equations(jax.make_jaxpr(gradient)(prompts, task).jaxpr, "scan")]
    results = [x.aval.shape for loop in loops for x in loop.outvars]
    assert len(results) > 20 and not [shape for shape in results if shape[1:] in KERNELS]


def test_runs_together_select_the_weights_of_a_layer_once():
    method = methods.get("coop")
    task = methods.make_task(method, SCAN, STACK, CLASSES, method.Settings())
    prompts = jax.vmap(lambda rng: method.init(rng, task))(jax.random.split(jax.random.key(1), 5))

    def together(prompts, task):
        return jax.vmap(lambda one: loss_and_output(method, one, task, BATCH)[0])(prompts)

    program = jax.make_jaxpr(together)(prompts, task).jaxpr
    selected = [x.aval.shape for one in equations(program, "dynamic_slice") for x in one.outvars]
    assert {shape[1:] for shape in selected} >= KERNELS
    # Weights of its own for each run would be gathered by as many layer numbers.
    gathered = [x.aval.shape for one in equations(program, "gather") for x in one.outvars]
    assert not [shape for shape in gathered if shape[0] == 5 and shape[-2:] in KERNELS]


def test_the_keys_and_values_of_the_first_token_are_kept_as_a_loop_takes_them():
    method = methods.get("coop")
    unrolled, looped = (
        methods.make_task(method, clip, frozen, CLASSES, method.Settings())
        for clip, frozen in ((UNROLLED, FROZEN), (SCAN, STACK))
    )
    assert [x.shape[0] for x in jax.tree.leaves(looped.names.sos)] == [LAYERS, LAYERS]
    for one, two in zip(unrolled.sos, looped.sos, strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), one, two)
