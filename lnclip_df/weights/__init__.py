"""Everything that reads or writes weights. Reading a file runs no code that the file contains."""

from lnclip_df.weights.checkpoint import Checkpoint
from lnclip_df.weights.load import build_detector, load_weights
from lnclip_df.weights.pretrained import load_pretrained
from lnclip_df.weights.read import read_weights
from lnclip_df.weights.save import save_weights

__all__ = ["Checkpoint", "build_detector", "load_pretrained", "load_weights", "read_weights", "save_weights"]
