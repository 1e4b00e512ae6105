"""Operations, bytes and collectives of compiled programs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmark.flops import count_products
from experiments.plan import costs, hlo


def counted(function, *arguments):
    text = jax.jit(function).lower(*arguments).compile().as_text()
    return costs.count(hlo.parse(text))


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


def scanned(weights, x):
    def layer(x, weight):
        return jnp.tanh(x @ weight), None

    return jax.lax.scan(layer, x, weights)[0].sum()


FUNCTIONS = {
    "product": (lambda a, b: a @ b, shape(8, 16), shape(16, 32)),
    "batched": (
        functools.partial(jnp.einsum, "bqhd,bshd->bhqs"), shape(2, 5, 3, 8), shape(2, 7, 3, 8)
    ),
    "scan": (scanned, shape(12, 64, 64), shape(32, 64)),
    "gradient of a scan": (jax.grad(scanned), shape(12, 64, 64), shape(32, 64)),
    "nested": (
        lambda w, x: jax.lax.map(lambda each: scanned(w, each), x), shape(3, 16, 16),
        shape(5, 4, 16),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operations_equal_those_of_the_traced_program(name):
    function, *arguments = FUNCTIONS[name]
    found = counted(function, *arguments)
    assert sum(found.flops.values()) == count_products(function, *arguments)
    assert set(found.flops) == {"f32 default"} and not found.unknown_loops


def test_a_convolution_counts_its_patches():
    images, kernel = shape(2, 32, 32, 3), shape(16, 16, 3, 8)
    axes = ("NHWC", "HWIO", "NHWC")
    found = counted(
        lambda x, w: jax.lax.conv_general_dilated(x, w, (16, 16), "VALID", dimension_numbers=axes),
        images,
        kernel,
    )
    assert sum(found.flops.values()) == 2 * 2 * 4 * (16 * 16 * 3) * 8


def test_bytes_equal_those_of_arguments_and_results():
    found = counted(lambda x: 2 * x + 1, shape(1000, 1000))
    assert found.bytes == 2 * 4 * 1000 * 1000


def test_a_layer_of_stacked_weights_counts_once_per_iteration():
    layers, width = 16, 128
    found = counted(scanned, shape(layers, width, width), shape(4, width))
    weights = 4 * layers * width * width
    assert weights < found.bytes < 6 * weights  # 16 times if each iteration read all layers


PROGRAM = """
HloModule jit_step, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}

%body (state: (s32[], f32[8,64]{1,0:T(8,128)})) -> (s32[], f32[8,64]{1,0:T(8,128)}) {
  %state = (s32[]{:T(128)}, f32[8,64]{1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%state), index=0
  %value = f32[8,64]{1,0:T(8,128)} get-tuple-element(%state), index=1
  %one = s32[]{:T(128)} constant(1)
  %next = s32[]{:T(128)} add(%i, %one)
  %all-reduce.1 = f32[8,64]{1,0:T(8,128)} all-reduce(%value), channel_id=1, """ + (
    """replica_groups={{0,1},{2,3}}, use_global_device_ids=true, to_apply=%add, """
    """metadata={op_name="jit(step)/while(a)/x=%y" stack_frame_id=3}
  ROOT %tuple = (s32[]{:T(128)}, f32[8,64]{1,0:T(8,128)}) tuple(%next, %all-reduce.1)
}

%cond (state.1: (s32[], f32[8,64])) -> pred[] {
  %state.1 = (s32[]{:T(128)}, f32[8,64]{1,0:T(8,128)}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%state.1), index=0
  %most = s32[]{:T(128)} constant(5)
  ROOT %less = pred[]{:T(512)} compare(%i.1, %most), direction=LT
}

ENTRY %main (a: bf16[7,8,64,93], b: bf16[7,8,93,76], start: (s32[], f32[8,64])) -> f32[8,64] {
  %a = bf16[7,8,64,93]{3,2,1,0:T(8,128)(2,1)} parameter(0)
  %b = bf16[7,8,93,76]{3,2,1,0:T(8,128)(2,1)S(1)} parameter(1)
  %start = (s32[]{:T(128)}, f32[8,64]{1,0:T(8,128)}) parameter(2)
  %product = f32[7,8,64,76]{3,2,1,0:T(8,128)} convolution(%a, %b), """
    """window={size=7x8 stride=6x7 lhs_dilate=7x8}, dim_labels=01bf_01io->01bf
  %loop = (s32[]{:T(128)}, f32[8,64]{1,0:T(8,128)}) while(%start), condition=%cond, body=%body
  %gathered = f32[32,64]{1,0} all-gather(%value.1), dimensions={0}, """
    """replica_groups=mesh['axis_0'=4,'axis_1'=2] {'axis_0'}
  ROOT %value.1 = f32[8,64]{1,0:T(8,128)} get-tuple-element(%loop), index=1
}
"""
)


def test_the_text_of_a_tpu_program_is_parsed():
    program = hlo.parse(PROGRAM)
    assert program.entry == "main" and set(program.computations) == {"add", "body", "cond", "main"}
    found = costs.count(program)
    # A product with two batch axes, which a TPU computes as a convolution with a dilated input.
    assert found.flops == {"bf16": 2 * 7 * 8 * 64 * 93 * 76}
    assert found.counts == {"all-reduce": 5, "all-gather": 1}
    reduced, gathered = 5 * 8 * 64 * 4, 32 * 64 * 4
    assert found.collectives == {("all-reduce", 2): reduced, ("all-gather", 4): gathered}
    # The second operand is in on-chip memory; the loop's counter is four bytes.
    moved = 7 * 8 * 64 * 93 * 2 + 7 * 8 * 64 * 76 * 4
    assert found.bytes == pytest.approx(moved, abs=100)


NESTED = """
HloModule jit_step

%inner (stack: bf16[12,8,4], layer: s32[]) -> bf16[8,4] {
  %stack = bf16[12,8,4]{2,1,0} parameter(0)
  %layer = s32[] parameter(1)
  %zero = s32[] constant(0)
  %slice = bf16[1,8,4]{2,1,0} dynamic-slice(%stack, %layer, %zero, %zero)
  ROOT %weights = bf16[8,4]{1,0} bitcast(%slice)
}

%outer (stack.1: bf16[12,8,4], layer.1: s32[]) -> bf16[8,4] {
  %stack.1 = bf16[12,8,4]{2,1,0} parameter(0)
  %layer.1 = s32[] parameter(1)
  %own = bf16[8,4]{1,0} fusion(%stack.1, %layer.1), kind=kLoop, calls=%inner
  ROOT %negative = bf16[8,4]{1,0} negate(%own)
}

ENTRY %main (a: bf16[12,8,4], n: s32[]) -> bf16[8,4] {
  %a = bf16[12,8,4]{2,1,0} parameter(0)
  %n = s32[] parameter(1)
  ROOT %result = bf16[8,4]{1,0} fusion(%a, %n), kind=kOutput, calls=%outer
}
"""


def test_a_slice_inside_of_nested_fusions_counts_alone():
    found = costs.count(hlo.parse(NESTED))
    assert found.bytes == pytest.approx(2 * 2 * 8 * 4, abs=8)  # read and written; the index is 4


def test_a_loop_with_an_unknown_number_of_iterations_counts_once():
    unknown = PROGRAM.replace("%most = s32[]{:T(128)} constant(5)", "%most = s32[] parameter(1)")
    found = costs.count(hlo.parse(unknown))
    assert found.unknown_loops == 1 and found.counts["all-reduce"] == 1


def test_a_product_of_an_nvidia_library_is_counted():
    text = """
ENTRY %main (a: f32[32,512], b: f32[512,256]) -> f32[32,256] {
  %a = f32[32,512]{1,0} parameter(0)
  %b = f32[512,256]{1,0} parameter(1)
  %both = (f32[32,256]{1,0}, s8[33554432]{0}) custom-call(%a, %b), """ + (
        """custom_call_target="__cublas$lt$matmul", backend_config={"gemm_backend_config":{"""
        """"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"""
        """"rhs_contracting_dimensions":["0"],"lhs_batch_dimensions":[]},"""
        """"precision_config":{"operand_precision":["HIGHEST","HIGHEST"]}}}
  ROOT %c = f32[32,256]{1,0} get-tuple-element(%both), index=0
}
"""
    )
    found = costs.count(hlo.parse(text))
    assert found.flops == {"f32": 2 * 32 * 512 * 256}
    assert found.bytes == 4 * (32 * 512 + 512 * 256 + 32 * 256)  # without the workspace


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ("replica_groups={{0,1,2,3}}", 4),
        ("replica_groups=[2,8]<=[16]", 8),
        ("replica_groups=mesh['a'=4,'b'=2] {'a','b'}", 8),
        ("replica_groups=mesh['a'=2,'b'=4], device_ids=([2,4]T(1,0)) {'b'}, x=1", 4),
        ("channel_id=1", 1),
    ],
)
def test_the_devices_of_a_collective_are_counted(attributes, size):
    assert costs.group_size(attributes) == size


def test_collectives_of_a_compiled_program():
    devices = np.array(jax.devices())
    mesh = jax.sharding.Mesh(devices, ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    x = jax.ShapeDtypeStruct((8 * len(devices),), jnp.float32, sharding=sharding)
    found = counted(jnp.sum, x)
    assert found.counts.total() == (len(devices) > 1)
