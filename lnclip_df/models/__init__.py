"""The detector: backbone, sphere geometry, learning rate schedule."""
