"""Attention gates as modules: shape in, same shape out."""

from whatwhere.gates.bam import BAM
from whatwhere.gates.blended import Blended
from whatwhere.gates.cbam import CBAM
from whatwhere.gates.channel import SE, ChannelGate
from whatwhere.gates.gate import Gate, Maps
from whatwhere.gates.named import NAMED, named
from whatwhere.gates.options import STARTS
from whatwhere.gates.spatial import SpatialGate

__all__ = ["BAM", "CBAM", "NAMED", "SE", "STARTS", "Blended", "ChannelGate", "Gate", "Maps", "SpatialGate", "named"]
