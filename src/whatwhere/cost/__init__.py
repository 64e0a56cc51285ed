"""What a module costs: counted exactly from shapes, and measured."""

from whatwhere.cost.count import Cost, measure
from whatwhere.cost.double import fake_double
from whatwhere.cost.inputs import Input
from whatwhere.cost.latency import Latency, latency

__all__ = ["Cost", "Input", "Latency", "fake_double", "latency", "measure"]
