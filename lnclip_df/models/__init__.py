"""The detector: its input, backbones, sphere geometry and learning rate schedule."""
