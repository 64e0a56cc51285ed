"""Figures for print: what the gates did, in the form that their papers show it, and what the numbers say of it."""

from whatwhere.explain.figures.cam_grid import cam_grid
from whatwhere.explain.figures.depth import depth
from whatwhere.explain.figures.drawing import overlay, save
from whatwhere.explain.figures.hierarchy import Passed, hierarchy
from whatwhere.explain.figures.profiles import profiles

__all__ = ["Passed", "cam_grid", "depth", "hierarchy", "overlay", "profiles", "save"]
