"""Position inside one aerial tile, and the tile's land cover."""
