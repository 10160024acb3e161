"""Cut aligned faces out of a video or a folder of videos: the same as ``lnclip-df preprocess SRC OUT``."""

import argparse
import sys

from lnclip_df.errors import LNCLIPError


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="a video (mp4 avi mov mkv webm), or a folder of them")
    parser.add_argument("out", help="output folder: frames/, landmarks/, records/")
    parser.add_argument("--frames", type=int, default=32, help="evenly spaced frames a video (%(default)s)")
    parser.add_argument("--size", type=int, default=256, help="side of a crop in pixels (%(default)s)")
    parser.add_argument("--scale", type=float, default=1.3, help="enlargement beyond the template (%(default)s)")
    parser.add_argument("--workers", type=int, help="processes (the number of cores)")
    arguments = parser.parse_args()

    from lnclip_df.preprocessing import preprocess

    try:
        summary = preprocess(**vars(arguments))
    except LNCLIPError as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(f"{summary}\n")


if __name__ == "__main__":
    main()
