"""The procedural world: biome → town (vector plan) → surface (rasters) → render (views)."""

from .world import SPLITS, AerialBatch, GroundBatch, Site, World, split_of

__all__ = ["SPLITS", "AerialBatch", "GroundBatch", "Site", "World", "split_of"]
