"""Place recognition from photograph to photograph: retrieval features and GeoWarp's learned homographies."""
