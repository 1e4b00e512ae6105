"""Rows of arrays that are read or summed by index, where a mesh does not divide their number."""

import json
import os

import tiny

# Prints gradients of an array of which a loss reads rows, and sums of rows, for both.
PROGRAM = """
import json
import jax, jax.numpy as jnp, numpy as np
from prompt_jax.mesh import DATA, MODEL, constrain, parse_mesh, sum_rows, take_rows
from prompt_jax.training.sharding import Placement

rng, found = np.random.default_rng(0), []
array, images = (rng.normal(size=(n, 16)).astype(np.float32) for n in (17, 8))
for mesh in (parse_mesh("", jax.devices()[:1]), parse_mesh("data:4,model:2", jax.devices())):
    def loss(array, rows, images):
        logits = constrain(mesh, images @ take_rows(mesh, array, rows).T, DATA, MODEL)
        return -jnp.mean(jax.nn.log_softmax(logits))

    def add(array, rows):
        return sum_rows(jnp.exp(constrain(mesh, array, MODEL, None)), rows // 3, 6)

    placement, rows = Placement(mesh), np.arange(17, dtype=np.int32)
    array, rows = placement.replicate((array, rows))
    run = jax.jit(jax.grad(loss), out_shardings=placement.replicated)
    gradient, sums = run(array, rows, placement.split(images)), jax.jit(add)(array, rows)
    found.append([np.asarray(each).ravel().tolist() for each in (gradient, sums)])
    array, rows = np.asarray(array), np.asarray(rows)
print(json.dumps(found))
"""


def test_rows_are_read_and_summed_as_on_one_device():
    flags = f"--xla_force_host_platform_device_count=8 {os.environ['XLA_FLAGS']}"
    process = tiny.command("-c", PROGRAM, XLA_FLAGS=flags)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    for one, many in zip(*json.loads(output), strict=True):
        largest = max(map(abs, one))
        assert all(abs(a - b) <= 1e-5 * largest for a, b in zip(one, many, strict=True))
