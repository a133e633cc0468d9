"""Matching: a ground view and an aerial tile become descriptors that can be compared."""
