"""Synthesis: a ground view becomes an aerial view."""
