"""VoP^F+C: prompts made by the context module in the layers that see each frame by itself."""

from prompt_jax.export.torch_parts.vop_c import VoPC
from prompt_jax.export.torch_parts.vop_f import VoPF


class VoPFC(VoPF, VoPC):
    """VoP^C until the frames come together."""


load = VoPFC.load
