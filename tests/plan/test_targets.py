"""The names of targets."""

import pytest

from experiments.plan import targets
from prompt_jax.errors import PromptError


@pytest.mark.parametrize(
    ("text", "devices", "shape"),
    [
        ("v5e", 1, (1, 1)),
        ("v5e:4x4", 16, (4, 4)),
        ("v5e-8", 8, (2, 4)),
        ("v5e-256", 256, (16, 16)),
        ("v5p:2x2x1", 4, (2, 2, 1)),
        ("v5p-8", 4, (2, 2, 1)),
        ("v4-16", 8, (2, 2, 2)),
        ("v6e:2x4", 8, (2, 4)),
        ("h100", 1, ()),
        ("h100:8", 8, ()),
        ("a100-40gb:16", 16, ()),
        ("cpu:8", 8, ()),
    ],
)
def test_a_name_gives_the_devices(text, devices, shape):
    found = targets.parse(text)
    assert (found.devices, found.shape, found.text) == (devices, shape, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v5", "unknown target 'v5'.*Available: .*v5e:4x4"),
        ("rtx3090", "unknown target 'rtx3090'.*rtx4090"),
        ("v5e:", "unknown target"),
        ("", "unknown target"),
        ("v5e:4", "has 2 sizes, e.g. v5e:2x2"),
        ("v5p:2x2", "has 3 sizes, e.g. v5p:2x2x1"),
        ("v5e:0x4", "has 2 sizes"),
        ("v5p-6", "unknown target"),
        ("v5e-7", "unknown target"),
        ("h100:9", "1 to 8, or a multiple of 8, e.g. h100:8"),
        ("h100:0", "1 to 8"),
        ("cpu:x", "number of devices"),
    ],
)
def test_an_invalid_name_is_rejected(text, message):
    with pytest.raises(PromptError, match=message):
        targets.parse(text)


def test_every_example_is_a_target():
    assert [targets.parse(text).text for text in targets.EXAMPLES] == list(targets.EXAMPLES)
    assert set(targets.CHIPS) == {targets.parse(text).name for text in targets.EXAMPLES}


@pytest.mark.parametrize(
    ("text", "module"), [("v5e", "libtpu"), ("h100", "jax_plugins.xla_cuda12")]
)
def test_a_missing_compiler_is_named_with_its_command(monkeypatch, text, module):
    monkeypatch.setattr(targets, "_is_installed", lambda name: name != module)
    with pytest.raises(PromptError, match=r"not installed.*pip install.*\[targets\]"):
        targets.check_compiler(targets.parse(text))
    targets.check_compiler(targets.parse("cpu:2"))


def test_gpus_of_several_hosts_share_a_network():
    assert targets.parse("h100:8").link == 450e9
    assert targets.parse("h100:16").link == 50e9
    assert targets.parse("v5e:16x16").link == 200e9


def test_a_card_is_described_in_xla_s_format():
    text = targets.nvidia.CARDS["b200"].describe()
    assert "cuda_compute_capability { major: 10 minor: 0 }" in text
    assert text.count("{") == text.count("}")
