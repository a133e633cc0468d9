"""Depth of a panorama, in metres along the ray."""
