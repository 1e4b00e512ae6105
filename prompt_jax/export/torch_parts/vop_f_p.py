"""VoP^F+P: VoP^P in the first layers, VoP^F in the last (VoP, section 3.3)."""

from prompt_jax.export.torch_parts.vop_f import VoPF
from prompt_jax.export.torch_parts.vop_p import VoPP


class VoPFP(VoPF, VoPP):
    """A VoP^P whose last layers attend over all frames."""


load = VoPFP.load
