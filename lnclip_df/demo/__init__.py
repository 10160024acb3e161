"""The embedded example: synthetic videos, and a run through everything on them."""
