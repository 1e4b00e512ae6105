"""VoP^F+C: VoP^C in the first layers, VoP^F in the last (VoP, section 3.3)."""

from prompt_jax.export.torch_parts.vop_c import VoPC
from prompt_jax.export.torch_parts.vop_f import VoPF


class VoPFC(VoPF, VoPC):
    """A VoP^C whose last layers attend over all frames."""


load = VoPFC.load
