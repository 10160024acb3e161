"""Write the frames of a dataset JSON into the LMDB that DeepfakeBench reads with ``lmdb: True``."""

import argparse
import sys

from lnclip_df.core.errors import LNCLIPError


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("json_file", nargs="+", help="a dataset JSON; several of one family share a database")
    parser.add_argument("--lmdb-dir", default="./datasets/lmdb", help="folder of the databases (%(default)s)")
    parser.add_argument("--data-root", default=".", help="folder that paths beginning with . start from (%(default)s)")
    parser.add_argument("--rgb-dir", default="./datasets/rgb", help="where bare paths start from (%(default)s)")
    arguments = vars(parser.parse_args())

    from lnclip_df.datasets.lmdb import write_lmdb

    try:
        for json_file in arguments.pop("json_file"):
            sys.stdout.write(f"{write_lmdb(json_file, **arguments)}\n")
    except LNCLIPError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
