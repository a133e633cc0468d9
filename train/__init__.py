"""Training: one short loop (`engine`), one file per family with its method, and the recipes that name them."""
