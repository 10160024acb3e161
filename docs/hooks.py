"""mkdocs: a file that a page links to outside docs/ becomes a page of the site; on GitHub the same link leads to it."""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File, InclusionLevel

_TARGET = re.compile(r"(?<=\]\()\.\./[^)#\s]+")
_LANGUAGES = {".py": "python", ".yaml": "yaml"}


def on_files(files, config):
    """Add a page for every file of the repository that a page links to."""
    root = Path(config.config_file_path).parent
    pages = list(files.documentation_pages())
    for path in sorted({_path(page, target) for page in pages for target in _TARGET.findall(page.content_string)}):
        if _outside(path) and (root / path).is_file():  # mkdocs names the page whose link leads nowhere
            content = _as_page(path, (root / path).read_text(encoding="utf-8"))
            files.append(File.generated(config, _uri(path), content=content, inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turn a page's links out of docs/ into links to those pages."""

    def moved(match):
        path = _path(page.file, match[0])
        start = posixpath.dirname(page.file.src_uri) or "."
        return posixpath.relpath(_uri(path), start) if _outside(path) else match[0]

    return markdown if page.file.generated_by else _TARGET.sub(moved, markdown)


def _path(page, target):
    """The file, from the repository's root, that a link of a page in docs/ leads to."""
    return posixpath.normpath(posixpath.join("docs", posixpath.dirname(page.src_uri), target))


def _outside(path):
    return not path.startswith("docs/")


def _uri(path):
    return path if path.endswith(".md") else f"{path}.md"


def _as_page(path, text):
    if path.endswith(".md"):
        return text
    return f"# {path}\n\n````{_LANGUAGES.get(Path(path).suffix, '')}\n{text}````\n"
