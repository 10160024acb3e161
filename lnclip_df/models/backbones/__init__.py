"""Vision backbones, one file each."""
