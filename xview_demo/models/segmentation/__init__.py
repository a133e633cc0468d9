"""Segmentation into the eight classes of the design, both views."""
