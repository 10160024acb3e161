"""``python -m lnclip_df`` is the command ``lnclip-df``."""

from lnclip_df.cli import main

if __name__ == "__main__":
    main()
