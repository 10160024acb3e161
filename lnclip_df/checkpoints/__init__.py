"""Everything that reads or writes weights; nothing here runs what a file holds beside tensors."""

from lnclip_df.checkpoints.load import load_weights
from lnclip_df.checkpoints.pretrained import load_pretrained
from lnclip_df.checkpoints.read import read_state_dict
from lnclip_df.checkpoints.save import save_weights

__all__ = ["load_pretrained", "load_weights", "read_state_dict", "save_weights"]
