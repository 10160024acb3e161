"""Dataset JSON to batches: which videos there are, their frames, and what becomes of a frame before the model."""
