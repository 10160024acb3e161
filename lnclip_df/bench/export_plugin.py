"""Write LNCLIP-DF as files of their own for a pull request to DeepfakeBench."""

from importlib.resources import files
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import write_text

FILES = ("lnclip_detector.py", "lnclip.yaml", "README.md")


def export_plugin(out) -> list[Path]:
    """Write the detector in one file without lnclip-df, its YAML, and a note with the row for DeepfakeBench's README.

    Args:
        out: a folder, absent or without files of these names.

    Returns:
        The three files.

    Raises:
        LNCLIPError: a file is there already with another content, or the folder cannot be written.
    """
    out, source = Path(out), files("lnclip_df.bench") / "upstream"
    texts = {out / name: (source / name).read_text(encoding="utf-8") for name in FILES}
    for path, text in texts.items():
        if path.exists() and (not path.is_file() or path.read_bytes() != text.encode()):
            raise LNCLIPError(f"{path} exists with another content; move it away, or name another folder")
    for path, text in texts.items():
        write_text(path, text)
    return list(texts)
