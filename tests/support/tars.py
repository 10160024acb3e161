"""Trees of crops turned into tars, as preprocessing writes them."""

import shutil
from pathlib import Path

from lnclip_df.media.crop_files import new_tar


def into_tars(root: Path) -> list[Path]:
    """Replace every video's folders below ``…/frames``, with their landmarks and masks, by a tar; returns the tars."""
    tars = []
    for top in [path for path in root.rglob("frames") if path.is_dir()]:
        for folder in sorted({path.parent for path in top.rglob("*.png")}):
            video = folder.relative_to(top).as_posix()
            with new_tar(folder.with_name(f"{folder.name}.tar"), video) as save:
                for kind in ("frames", "landmarks", "masks"):
                    of_kind = top.parent / kind / video
                    for path in sorted(of_kind.iterdir()) if of_kind.is_dir() else ():
                        save(kind, path.name, path.read_bytes())
                    shutil.rmtree(of_kind, ignore_errors=True)
            tars.append(folder.with_name(f"{folder.name}.tar"))
    return tars
