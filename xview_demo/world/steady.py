"""Sines, bearings and lengths of the plan that are the same on every processor.

A processor's vector unit decides which code numpy takes a sine from, and the last bits differ. That alone is
harmless, but where two ends meet exactly, or a length is a whole number of steps, one bit decides whether there is a
street. So the plan's angles go through here: values are kept to the precision of a float32, which all of that code
agrees on, and everything built from them is addition, multiplication, division and square root, which IEEE 754 fixes.
"""

import numpy as np
from numpy.typing import ArrayLike


def _kept(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.asarray(values, np.float32), np.float64)


def sin(angle: ArrayLike) -> np.ndarray:
    """Sines (…) of angles (…) in radians."""
    return _kept(np.sin(np.asarray(angle, float)))


def cos(angle: ArrayLike) -> np.ndarray:
    """Cosines (…) of angles (…) in radians."""
    return _kept(np.cos(np.asarray(angle, float)))


def bearing(angle: ArrayLike) -> np.ndarray:
    """Unit vectors (…, 2) along angles (…) in radians, counter-clockwise from east."""
    return np.stack([cos(angle), sin(angle)], -1)


def atan2(y: ArrayLike, x: ArrayLike) -> np.ndarray:
    """Angles (…) in radians, −π to π."""
    return _kept(np.arctan2(np.asarray(y, float), np.asarray(x, float)))


def power(base: ArrayLike, exponent: float) -> np.ndarray:
    """Powers (…) of positive numbers (…)."""
    return _kept(np.power(np.asarray(base, float), exponent))


def length(vectors: ArrayLike) -> np.ndarray:
    """Lengths (…) of vectors (…, 2)."""
    vectors = np.asarray(vectors, float)
    return np.sqrt(vectors[..., 0] * vectors[..., 0] + vectors[..., 1] * vectors[..., 1])


def dot(vectors: ArrayLike, direction: ArrayLike) -> np.ndarray:
    """Scalar products (…) of vectors (…, 2) with one direction (2,)."""
    vectors, direction = np.asarray(vectors, float), np.asarray(direction, float)
    return vectors[..., 0] * direction[0] + vectors[..., 1] * direction[1]
