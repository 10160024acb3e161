"""Everything that reads or writes weights; nothing here runs what a file holds beside tensors."""

from lnclip_df.weights.load import load_weights
from lnclip_df.weights.pretrained import load_pretrained
from lnclip_df.weights.read import read_state_dict
from lnclip_df.weights.restore import build_detector
from lnclip_df.weights.save import save_weights

__all__ = ["build_detector", "load_pretrained", "load_weights", "read_state_dict", "save_weights"]
