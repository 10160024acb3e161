"""README and docs: the site builds without a broken link, asks nothing of the network, and names only what exists."""

import ast
import importlib
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import mkdocs.config
import pytest
import typer
import yaml
from commands import call
from mkdocs.commands.build import build
from mkdocs.exceptions import Abort
from pydantic import BaseModel
from tree_videos import write_videos
from trees import Tree

import lnclip_df
from lnclip_df import cli
from lnclip_df.config.files import bench_configs
from lnclip_df.config.loading import detector_yamls, load_config
from lnclip_df.config.schema import Config
from lnclip_df.core.registry import Registry
from lnclip_df.datasets.schema import Dataset, load_dataset
from lnclip_df.weights import build_detector, save_weights

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("**/*.md")),
]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<=\]\()[^)\s]+(?=\))")
CODE_LINK = re.compile(r"\[`([\w.]+)`\]\(\.\./(lnclip_df/[\w/]+\.py)\)")
THEIRS = {"--cpus-per-task", "--ddp", "--local_rank"}  # options of SLURM and of DeepfakeBench
COMMAND = typer.main.get_command(cli.app)


def prose(text):
    """A page without its blocks of code."""
    return FENCE.sub("", text)


def blocks(text, language):
    return [body for found, body in FENCE.findall(text) if found == language]


def inline_code(text):
    return re.findall(r"`([^`\n]+)`", prose(text))


def every(find):
    """``(page, item)`` for what ``find`` finds in each page's text."""
    return [(page, item) for page, text in TEXTS.items() for item in find(text)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    build(mkdocs.config.load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder)))
    return folder


class Loaded(HTMLParser):
    """Collects what a browser fetches for a page, without a click."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        names = ("src", "srcset", "data", "poster") + (("href",) if tag == "link" else ())
        self.addresses += [attributes[name] for name in names if name in attributes]


def test_a_browser_fetches_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    for page in pages:
        parser = Loaded()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.addresses
        assert not [address for address in parser.addresses if re.match(r"(\w+:)?//", address)], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)[\s\"']*(\w+:)?//", sheet.read_text(encoding="utf-8")), sheet
    assert len(pages) > len(TEXTS)


def test_the_search_works_in_pages_opened_from_disk(site):
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert index.startswith("var __index = ") and '"location":"studies.html#robustness"' in index
    for page in ("index.html", "extend/index.html"):  # a worker of a page on disk needs this
        (script,) = re.findall(r'<script src="([^"]*iframe-worker\.js)"', (site / page).read_text(encoding="utf-8"))
        assert (site / page).parent.joinpath(script).is_file()


def test_pictures_are_small():
    pictures = [path for path in (ROOT / "docs" / "images").rglob("*") if path.is_file()]
    assert len(pictures) > 10 and all(path.stat().st_size <= 100_000 for path in pictures)


def test_source_files_that_a_page_links_to_are_pages_of_the_site(site):
    assert 'href="lnclip_df/models/sphere.py.html"' in (site / "paper.html").read_text(encoding="utf-8")
    assert "slerp_augment" in (site / "lnclip_df" / "models" / "sphere.py.html").read_text(encoding="utf-8")


def small_site(root, pages):
    """Build a site of ``pages`` with this project's settings, all in the navigation but ``unlisted.md``."""
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    settings |= {"theme": "mkdocs", "plugins": [], "nav": [name for name in pages if name != "unlisted.md"]}
    (root / "mkdocs.yml").write_text(yaml.safe_dump(settings))
    (root / "docs").mkdir()
    (root / "docs" / "hooks.py").write_text((ROOT / "docs" / "hooks.py").read_text(encoding="utf-8"))
    (root / "code.py").write_text("answer = 42\n")
    for name, text in pages.items():
        (root / "docs" / name).write_text(text)
    build(mkdocs.config.load_config(str(root / "mkdocs.yml")))


@pytest.mark.parametrize(
    "link", ["nowhere.md", "index.md#nowhere", "#nowhere", "../nowhere.py", "../../code.py", "/index.md"]
)
def test_a_broken_link_fails_the_build(tmp_path, link):
    with pytest.raises(Abort):
        small_site(tmp_path, {"index.md": f"# Home\n\n[there]({link})\n"})


def test_a_page_outside_the_navigation_fails_the_build(tmp_path):
    with pytest.raises(Abort):
        small_site(tmp_path, {"index.md": "# Home\n", "unlisted.md": "# Lost\n"})


def test_whole_links_build(tmp_path):
    small_site(
        tmp_path, {"index.md": "# Home\n\n[a](#home) [b](other.md#more) [c](../code.py)\n", "other.md": "# More\n"}
    )
    assert "42" in (tmp_path / "site" / "code.py.html").read_text(encoding="utf-8")


def github_anchors(path):
    """The anchors of a Markdown file's headings on GitHub."""
    headings = re.findall(r"^#+ +(.+?) *$", prose(path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("contents", ["README.md", "docs/index.md"])
def test_a_table_of_contents_lists_every_page(contents):
    """The pages in extend/ are listed by that folder's own index."""
    start = ROOT / contents
    listed = {(start.parent / link.partition("#")[0]).resolve() for link in LINK.findall(TEXTS[contents])}
    extend = {path for path in PAGES if path.parent.name == "extend" and path.name != "index.md"}
    pages = {path for path in PAGES if path.parts[len(ROOT.parts)] == "docs"}
    assert pages - extend - {ROOT / "docs" / "index.md"} <= listed


@pytest.mark.parametrize(("page", "link"), [e for e in every(LINK.findall) if not re.match(r"https?://", e[1])])
def test_a_relative_link_leads_somewhere_on_github(page, link):
    path, _, anchor = link.partition("#")
    target = (ROOT / page).parent / path if path else ROOT / page
    assert target.exists()
    assert not anchor or anchor in github_anchors(target)


def commands(text):
    """The words of every lnclip-df command in a page's shell blocks."""
    for block in blocks(text, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words = []
            for word in [*lexer, ";"]:
                if word not in ("&&", "||", "|", ";", "&"):
                    words.append(word)
                    continue
                if words[:1] == ["lnclip-df"]:
                    yield words
                words = []


def command_of(words):
    """The command that words name, and what is left of them."""
    command, rest = COMMAND, words
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"no command {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def options_of(command):
    return {name for parameter in command.params for name in parameter.opts} | {"--help"}


def every_command(command=COMMAND):
    parts = getattr(command, "commands", {}).values()
    return [command, *(inner for part in parts for inner in every_command(part))]


@pytest.mark.parametrize(("page", "words"), every(commands))
def test_a_command_in_a_block_is_one_that_the_program_takes(page, words):
    command, rest = command_of(words[1:])
    context = command.make_context("lnclip-df", list(rest))
    config = context.params.get("config")
    if context.params.get("overrides"):
        load_config(config if config in detector_yamls() else "lnclip.yaml", context.params["overrides"])


def commands_in_prose(text):
    return [code for code in inline_code(text) if re.match("lnclip-df (?!COMMAND)", code)]


@pytest.mark.parametrize(("page", "text"), every(commands_in_prose))
def test_a_command_in_the_prose_and_its_options_exist(page, text):
    command, rest = command_of(shlex.split(text)[1:])
    assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= options_of(command)


@pytest.mark.parametrize(("page", "option"), every(lambda text: re.findall(r"`(--[\w-]+)", prose(text))))
def test_an_option_in_the_prose_is_one_of_some_command(page, option):
    assert option in THEIRS.union(*map(options_of, every_command()))


def key_exists(key):
    model = Config
    for part in key.split("."):
        if part not in model.model_fields:
            return False
        model = model.model_fields[part].annotation
        model = next((kind for kind in (model, *getattr(model, "__args__", ())) if hasattr(kind, "model_fields")), None)
        model = model or type("Leaf", (), {"model_fields": {}})
    return True


def test_only_the_keys_of_the_yaml_are_known():
    assert key_exists("lnclip.loss.half_squared") and key_exists("lnclip.backbone.vision.width")
    assert (
        not key_exists("lnclip.loss.half") and not key_exists("lnclip.tune.all") and not key_exists("lnclip.precison")
    )


@pytest.mark.parametrize(
    ("page", "key"), every(lambda text: re.findall(r"`(?:--set '?)?(lnclip\.(?!yaml)[\w.]*\w)[`:=]", prose(text)))
)
def test_a_key_in_the_prose_exists(page, key):
    assert key_exists(key)


def test_the_table_of_the_yaml_names_every_key_and_no_other():
    rows = re.findall(r"^\| (`.+?`) \|", prose(TEXTS["docs/train.md"]), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == set(Config.model_fields["lnclip"].annotation.model_fields)


def sections_of(model):
    """A pydantic model and all models that its fields have, however deep."""
    found, todo = {}, [model]
    while todo:
        part = todo.pop()
        if isinstance(part, type) and issubclass(part, BaseModel):
            if part.__name__ not in found:
                found[part.__name__] = part
                todo += [field.annotation for field in part.model_fields.values()]
        else:
            todo += get_args(part)
    return found


def test_the_page_of_a_datasets_yaml_has_every_key_with_its_meaning(site):
    html = (site / "dataset-yaml.html").read_text(encoding="utf-8")
    parts = re.split(r'<h2 id="\w+">(\w+)<', html)
    tables = dict(zip(parts[1::2], parts[2::2], strict=True))
    models = sections_of(Dataset)
    assert {"Dataset", "Rule", "Ratios", "Identity"} <= models.keys() == tables.keys()
    for name, model in models.items():
        rows = re.findall(r"<tr>\s*<td><code>(\w+)</code></td>(.*?)</tr>", tables[name], re.DOTALL)
        assert [key for key, _ in rows] == list(model.model_fields)
        assert all(len(re.sub("<.*?>", "", cells.rpartition("<td>")[2]).split()) >= 2 for _, cells in rows)
    assert '<a href="#ratios">Ratios</a>' in tables["Dataset"] and "<code>largest</code>" in tables["Dataset"]


def test_the_example_on_that_page_is_a_dataset(tmp_path):
    (block,) = blocks(TEXTS["docs/dataset-yaml.md"], "yaml")
    (tmp_path / "interviews.yaml").write_text(block)
    dataset = load_dataset(tmp_path / "interviews.yaml")
    assert dataset.labels == {"interviews_real": 0, "interviews_fake": 1}
    assert dataset.faces == str(tmp_path / "rgb")


def videos_of_the_pages(folder, count):
    """Real videos and a fake of each, of three frames with a face, as the pages for users name them."""
    names = [f"{number:03d}" for number in range(count)]
    paths = [f"videos/{kind}.mp4" for name in names for kind in (f"real/{name}", f"fake/{name}_a")]
    write_videos(folder, Tree(paths))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("own-videos.md", 1), ("own-dataset.md", 4)])
def test_the_commands_of_a_page_for_users_run_in_their_order(name, count, tmp_path, monkeypatch):
    text = TEXTS[f"docs/{name}"]
    videos_of_the_pages(tmp_path, count)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LNCLIP_WEIGHTS", str(tmp_path / "weights.safetensors"))
    monkeypatch.delenv("LNCLIP_DATASETS", raising=False)
    config = load_config("demo.yaml")
    save_weights(build_detector(config), tmp_path / "weights.safetensors", {"config": config.to_dict()})
    for block in blocks(text, "csv"):
        Path("videos.csv").write_text(block)
    run = [call(*words[1:]) for words in commands(text)]
    assert [result.exit_code for result in run] == [0] * len(run), [result.stderr for result in run]


@pytest.mark.parametrize(
    ("page", "name"), every(lambda text: re.findall(r"`((?:ablation|training|datasets|gend)/[^`/\s*]+\.yaml)`", text))
)
def test_a_packaged_yaml_that_is_named_exists(page, name):
    assert (bench_configs() / name).is_file()


@pytest.mark.parametrize(
    ("page", "script"), every(lambda text: re.findall(r"`python\s((?:benchmarks|docs|tests)/[\w/]+\.py)", text))
)
def test_a_script_of_this_project_that_a_page_runs_exists(page, script):
    assert (ROOT / script).is_file()


@pytest.mark.parametrize(("page", "block"), every(lambda text: blocks(text, "python")))
def test_python_in_the_docs_parses_and_imports_what_exists(page, block):
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("lnclip_df"):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "lnclip_df":
            assert hasattr(importlib.import_module("lnclip_df"), node.attr)


@pytest.mark.parametrize(("name", "file"), CODE_LINK.findall(TEXTS["docs/paper.md"] + TEXTS["docs/architecture.md"]))
def test_what_a_page_names_is_in_the_file_that_it_links_to(name, file):
    module = file.removesuffix(".py").removeprefix("lnclip_df/").replace("/", ".")
    assert name.startswith(f"{module}.")
    found = importlib.import_module(f"lnclip_df.{module}")
    for part in name.removeprefix(f"{module}.").split("."):
        found = getattr(found, part)
    assert found.__module__ == f"lnclip_df.{module}"


def test_every_link_to_code_on_the_paper_page_names_a_part_of_it():
    links = [link for link in LINK.findall(TEXTS["docs/paper.md"]) if link.endswith(".py")]
    assert len(links) == len(CODE_LINK.findall(TEXTS["docs/paper.md"])) > 20


def test_prose_wraps_at_100_columns():
    """Tables, code and addresses cannot be wrapped."""
    for page, text in TEXTS.items():
        for line in prose(text).splitlines():
            assert len(line) <= 100 or line.startswith("|") or " " not in line.strip(" *-"), f"{page}: {line}"


def test_the_citation_file_names_this_version_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == lnclip_df.__version__
    assert "2508.06248" in citation["preferred-citation"]["journal"]


@pytest.mark.parametrize("page", sorted(set((ROOT / "docs" / "extend").glob("*.md")) - {ROOT / "docs/extend/index.md"}))
def test_a_page_on_extending_is_short_and_its_code_passes_its_test(page, tmp_path, monkeypatch):
    text = page.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    code = "\n".join(blocks(text, "python"))
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            importlib.import_module(node.module)  # registries are filled before what the page adds is recorded
    added = []
    monkeypatch.setattr(Registry, "__setitem__", lambda *item: (dict.__setitem__(*item), added.append(item)), False)
    monkeypatch.chdir(tmp_path)
    for block in blocks(text, "yaml"):
        Path(f"{yaml.safe_load(block)['name']}.yaml").write_text(block)
    names = {}
    try:
        exec(compile(code, page.name, "exec"), names)
        tests = [value for name, value in names.items() if name.startswith("test_")]
        for test in tests:
            test()
    finally:
        for registry, name, _ in added:
            del registry[name]
    assert tests and (added or blocks(text, "yaml"))
    assert page.name in TEXTS["docs/extend/index.md"]
