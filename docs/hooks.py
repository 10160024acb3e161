"""mkdocs: files that pages link to outside docs/ become pages of the site, and schemas become tables.

On GitHub the same links lead to the files, and the line ``SCHEMA`` is not shown.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File, InclusionLevel

_TARGET = re.compile(r"(?<=\]\()\.\./[^)#\s]+")
SCHEMA = "<!-- the tables of lnclip_df.datasets.schema.Dataset -->"
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
    """Turn a page's links out of docs/ into links to those pages, and the line ``SCHEMA`` into tables."""

    def moved(match):
        path = _path(page.file, match[0])
        start = posixpath.dirname(page.file.src_uri) or "."
        return posixpath.relpath(_uri(path), start) if _outside(path) else match[0]

    if SCHEMA in markdown:
        markdown = markdown.replace(SCHEMA, schema_tables())
    return markdown if page.file.generated_by else _TARGET.sub(moved, markdown)


def schema_tables():
    """Every key of a dataset's YAML as Markdown: a table for the dataset, and one for each of its parts."""
    from lnclip_df.datasets.schema import Dataset

    whole = Dataset.model_json_schema()
    parts = {"Dataset": whole, **whole["$defs"]}
    return "\n".join(_table(name, part) for name, part in parts.items())


def _table(name, part):
    rows = []
    for key, field in part["properties"].items():
        default = "required" if key in part.get("required", ()) else _default(field.get("default"))
        rows.append(f"| `{key}` | {_kind(field)} | {default} | {_cell(field['description'])} |\n")
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in part["description"].split("\n\n"))
    return f"## {name}\n{text}\n\n| key | value | default | meaning |\n| --- | --- | --- | --- |\n{''.join(rows)}"


def _default(value):
    return "" if value in (None, "", [], {}) or isinstance(value, dict) else f"`{str(value).lower()}`"


def _kind(field):
    """What a value may be, from its JSON schema."""
    if "$ref" in field:
        name = field["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(_kind(choice) for choice in field["anyOf"] if choice.get("type") != "null")
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        return f"list of {_kind(field['items'])}"
    if field.get("type") == "object":
        value = field.get("additionalProperties") or next(iter(field["patternProperties"].values()))
        return f"mapping to {_kind(value)}"
    return {"string": "text", "boolean": "true, false", "integer": "whole number"}.get(field["type"], field["type"])


def _cell(text):
    return " ".join(text.split()).replace("|", "\\|")


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
