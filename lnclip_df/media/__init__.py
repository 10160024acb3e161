"""Videos and pictures as RGB frames, and the recipe that a face crop carries in its PNG."""
