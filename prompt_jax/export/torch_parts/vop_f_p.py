"""VoP^F+P: prompts of positions in the layers that see each frame by itself."""

from prompt_jax.export.torch_parts.vop_f import VoPF
from prompt_jax.export.torch_parts.vop_p import VoPP


class VoPFP(VoPF, VoPP):
    """VoP^P until the frames come together."""


load = VoPFP.load
