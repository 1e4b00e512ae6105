"""The benchmark's form for accelerators, at tiny sizes on the CPU."""

import pytest

from experiments import machines

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
