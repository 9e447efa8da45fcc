"""What pages and comments point at exists: links and their anchors, paths, modules, variables and metrics."""

import ast
import io
import os
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import PurePosixPath

import pytest

from docs.reference import environment, metrics
from local_cluster.layout import REPOSITORY
from testing.code_names import names_of_the_code

_NOT_OURS = {"node_modules", "dist", "__pycache__"}
_PATH = re.compile(r"[\w*-][\w.*-]*(?:/[\w.*-]+)*/?")
_ENDINGS = (".py", ".md", ".ts", ".mjs", ".sql", ".yaml", ".toml", ".lock", ".sh")
_PATH_IN_WORDS = re.compile(rf"(?<![\w/.<>-])[\w*-][\w.*/-]*(?:{'|'.join(map(re.escape, _ENDINGS))})(?![\w/-])")
# Set in pods by Kubernetes itself, and named where a page warns of it.
_KUBERNETES_OWN = {"LOCAL_MODELS_PORT"}
_LIVEKITS_OWN = {
    "LIVEKIT_INFERENCE_API_KEY",
    "LIVEKIT_INFERENCE_API_SECRET",
    "LIVEKIT_INFERENCE_URL",
    "LIVEKIT_TOKEN",
}
# Read by libraries.
_LIBRARIES_OWN = {"NO_PROXY", "SSL_CERT_FILE"}
# What `make lint` refuses to see.
_REFUSED = {"operator/__init__.py"}
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@cache
def files() -> frozenset[PurePosixPath]:
    """Returns every file and folder of the repository that is not hidden, built or installed, from its root."""
    found = set()
    for folder, folders, names in os.walk(REPOSITORY):
        folders[:] = [name for name in folders if name not in _NOT_OURS and (name[0] != "." or name == ".github")]
        found |= {PurePosixPath(folder, name).relative_to(REPOSITORY) for name in (*folders, *names)}
    return frozenset(found)


PAGES = sorted(path for path in files() if path.suffix == ".md")
MODULES = sorted(path for path in files() if path.suffix == ".py")
OTHERS = sorted(
    path
    for path in files()
    if path.name in {"Makefile", "Dockerfile"}
    or path.suffix in {".html", ".sh", ".sql", ".toml", ".tpl", ".ts", ".yaml"}
)


def test_links_lead_somewhere() -> None:
    links = [(page, link) for page in PAGES for link in _LINK.findall(without_code(page)) if "://" not in link]
    assert links
    assert [f"{page}: {link}" for page, link in links if not leads_somewhere(page, link)] == []


def test_what_a_page_names_exists() -> None:
    spans = [(page, span) for page in PAGES for span in re.findall(r"`([^`\n]+)`", without_blocks(page))]
    assert [f"{page}: {span}" for page, span in spans if not exists(span)] == []


def test_paths_in_comments_exist() -> None:
    comments = [(module, text) for module in MODULES for text in comments_of(module)]
    assert [f"{module}: {path}" for module, text in comments for path in missing_paths(text)] == []


def test_paths_in_other_files_exist() -> None:
    texts = [(file, (REPOSITORY / file).read_text()) for file in OTHERS]
    assert [f"{file}: {path}" for file, text in texts for path in missing_paths(text)] == []


@pytest.mark.parametrize(
    "span",
    [
        "operator/no/such.py",
        "no_such.py",
        "docs/nowhere",
        "voicesession.names.no_such",
        "voice_operator_no_such_total",
        "NO_SUCH_VARIABLE=1",
    ],
)
def test_what_is_not_there_is_noticed(span: str) -> None:
    assert not exists(span)


def test_links_to_nowhere_are_noticed() -> None:
    page = PurePosixPath("docs/operator.md")
    assert leads_somewhere(page, "reference/metrics.md#operator")
    assert not leads_somewhere(page, "reference/metrics.md#no-such-heading")
    assert not leads_somewhere(page, "metrics-of-nobody.md")


def missing_paths(text: str) -> list[str]:
    """Returns the paths in running text that nothing has."""
    return [path for path in _PATH_IN_WORDS.findall(text) if path not in _REFUSED and not is_file(path)]


def leads_somewhere(page: PurePosixPath, link: str) -> bool:
    """Tells whether a relative link has a file, and its anchor a heading there."""
    path, _, anchor = link.partition("#")
    target = PurePosixPath(os.path.normpath(page.parent / path)) if path else page
    return target in files() and (not anchor or anchor in anchors_of(target))


def anchors_of(page: PurePosixPath) -> set[str]:
    """Returns the anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def exists(span: str) -> bool:
    """Tells whether what a code span names exists. What is no name of ours by its looks counts as existing."""
    if re.fullmatch(r"(voice_operator|voice_agent|voice_token_service|local_models)_\w+(\{.*\})?", span):
        return span.partition("{")[0] in names_of_metrics()
    if re.fullmatch(r"[A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9](=\S*)?", span):
        name = span.partition("=")[0]
        return name in _KUBERNETES_OWN | _LIVEKITS_OWN | _LIBRARIES_OWN | names_of_variables() | names_of_the_code()
    if _is_module(span):
        return span.partition("(")[0] in names_of_the_code()
    return not _is_path(span) or is_file(span)


def is_file(path: str) -> bool:
    """Tells whether a file or folder has this path, or its end; `*` stands for any letters."""
    name = PurePosixPath(path).name
    return any(file.match(path) for file in (files() if "*" in name else files_by_name().get(name, ())))


@cache
def files_by_name() -> dict[str, list[PurePosixPath]]:
    """Returns the files and folders by their last name."""
    found: dict[str, list[PurePosixPath]] = {}
    for file in files():
        found.setdefault(file.name, []).append(file)
    return found


@cache
def names_of_metrics() -> frozenset[str]:
    """Returns the name of every metric."""
    holders = (holder for _, holder, _ in metrics.PARTS.values())
    return frozenset(metrics.exposed_name(each) for holder in holders for each in metrics.find_collectors(holder))


@cache
def names_of_variables() -> frozenset[str]:
    """Returns the name of every environment variable."""
    of_settings = (environment.read_names(settings).values() for _, settings in environment.PARTS.values())
    return frozenset(name for names in (*of_settings, *environment.BESIDE_SETTINGS.values()) for name in names)


def _is_module(span: str) -> bool:
    return bool(re.fullmatch(r"\w+(\.\w+)+(\(.*\))?", span)) and span.partition(".")[0] in _packages()


def _is_path(span: str) -> bool:
    if not _PATH.fullmatch(span):
        return False
    first, slash, _ = span.partition("/")
    return span.endswith(_ENDINGS) or (bool(slash) and PurePosixPath(first) in files())


@cache
def _packages() -> frozenset[str]:
    """Returns the folders that modules are imported from by name. `operator` and `agent_image` are none."""
    folders = {part for module in MODULES for part in module.parts[:-1][:2]}
    return frozenset(folders - {"operator", "agent_image"})


def without_blocks(page: PurePosixPath) -> str:
    """Returns a page's text without its blocks of code, fenced or indented."""
    text = re.sub(r"^```.*?^```", "", (REPOSITORY / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE)


def without_code(page: PurePosixPath) -> str:
    """Returns a page's text without its code."""
    return re.sub(r"`[^`\n]+`", "", without_blocks(page))


def comments_of(module: PurePosixPath) -> Iterator[str]:
    """Yields a module's comments and docstrings."""
    text = (REPOSITORY / module).read_text()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
