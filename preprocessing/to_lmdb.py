"""The same as ``lnclip-df lmdb``, where DeepfakeBench has it; --help shows the options."""

import sys

from lnclip_df.cli import app

if __name__ == "__main__":
    app(["lmdb", *sys.argv[1:]])
