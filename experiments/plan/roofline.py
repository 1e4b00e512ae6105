"""Estimates the time of a program from a device's peak rates."""

from typing import NamedTuple

from experiments.plan.costs import Costs
from experiments.plan.targets import Chip

ASSUMPTIONS = (
    "An estimate: products at the data sheet's peak, main memory at its full bandwidth, the longer "
    "of the two counts; then the collectives, at a link's full rate and not overlapped. Data "
    "loading and starting kernels take no time. Real steps take longer."
)


class Estimate(NamedTuple):
    """Seconds of one run of a program, by what takes them."""

    products: float
    memory: float
    collectives: float

    @property
    def seconds(self) -> float:
        """Returns the seconds of one run."""
        return max(self.products, self.memory) + self.collectives

    @property
    def bound(self) -> str:
        """Returns what takes the most time."""
        return max(self._fields, key=lambda name: getattr(self, name))


def estimate(costs: Costs, chip: Chip) -> Estimate | None:
    """Returns the roofline's estimate; None for a chip whose peak rates are not known."""
    if not chip.peaks:
        return None
    products = sum(number / chip.peaks[kind] for kind, number in costs.flops.items())
    sent = sum(_sent(kind, size) * moved for (kind, size), moved in costs.collectives.items())
    return Estimate(products, costs.bytes / chip.bandwidth, sent / chip.link)


def _sent(kind: str, size: int) -> float:
    """Returns the bytes that a device sends per byte of a collective's array, in a ring."""
    share = (size - 1) / size
    return 2 * share if kind == "all-reduce" else 1.0 if kind == "collective-permute" else share
