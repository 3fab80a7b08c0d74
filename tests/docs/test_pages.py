"""What the pages refer to is there, the README stays short, and the drawing of the rooms is the code's."""

import ast
import re
import tomllib
from itertools import pairwise

import pytest

from tests.docs.pages import GUIDES, PAGES, README, ROOT, anchors, blocks, links, paths

MAX_README_BYTES = 12_000
ARCHITECTURE = ROOT / "docs" / "architecture.md"
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    assert len(README.read_bytes()) <= MAX_README_BYTES
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= set(links(README))


@every_page
def test_links_lead_somewhere(page) -> None:
    dead = []
    for link in links(page):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


@every_page
def test_files_that_a_page_names_exist(page) -> None:
    assert [path for path in paths(page) if not all(list(ROOT.glob(each)) for each in _alternatives(path))] == []


def test_the_pages_are_read_whole() -> None:
    # The checks of this folder would pass on pages of which they saw nothing.
    assert len(PAGES) > len(GUIDES) == 10
    assert "calm_ft/flow/lsd.py" in paths(ROOT / "papers" / "lagrangian_self_distillation.md")
    assert len(paths(ARCHITECTURE)) > 10
    assert len(links(ARCHITECTURE)) > 10


def test_every_room_has_a_row_and_arrows_go_down_along_real_imports() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    rooms = {each.parent.name for each in (ROOT / "calm_ft").glob("*/__init__.py")}
    assert {room for room in rooms if f"| `{room}/` |" not in text} == set()
    (drawing,) = blocks(ARCHITECTURE, "mermaid")
    floors, imports = _floors(), _imports()
    arrows = re.findall(r"^ *(\w+) --> (\w+)$", drawing, re.MULTILINE)
    assert {room for arrow in arrows for room in arrow} == rooms | {"commands"}
    wrong = [
        f"{above} --> {below}"
        for above, below in arrows
        if floors[above] >= floors[below] or (above, below) not in imports
    ]
    assert wrong == []


def test_what_the_drawing_leaves_out_is_implied_by_a_longer_way() -> None:
    (drawing,) = blocks(ARCHITECTURE, "mermaid")
    arrows = set(re.findall(r"^ *(\w+) --> (\w+)$", drawing, re.MULTILINE))
    rooms = {room for arrow in arrows for room in arrow}
    reached = {room: {below for above, below in arrows if above == room} for room in rooms}
    for _ in rooms:
        reached = {room: below.union(*(reached[each] for each in below)) for room, below in reached.items()}
    missing = {
        f"{above} --> {below}"
        for above, below in _imports()
        if above in rooms and below in rooms and below not in reached[above]
    }
    assert missing == set()


def _alternatives(path: str) -> list[str]:
    """a/{b,c} as a/b and a/c."""
    found = re.search(r"\{([^}]*)\}", path)
    if not found:
        return [path]
    return [path.replace(found[0], each) for each in found[1].split(",")]


def _floors() -> dict[str, int]:
    """Room -> how far down it lies, by the layers that import-linter holds."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(rule["layers"] for rule in rules if rule["type"] == "layers")
    assert len(list(pairwise(layers))) > 5
    floors = {room.strip(): number for number, layer in enumerate(layers) for room in layer.split("|")}
    return {**floors, "commands": floors["train"]}


def _imports() -> set[tuple[str, str]]:
    """(room, room that it imports) of the package; the modules of commands are one room, as in the drawing."""
    commands = {"prepare", "train", "evaluate", "compare", "export", "synthesize", "voices"}
    found = set()
    for path in (ROOT / "calm_ft").rglob("*.py"):
        own = path.relative_to(ROOT / "calm_ft").parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("calm_ft."):
                room = str(node.module).split(".")[1]
                if room != own and room != "commands":  # calm_ft/commands.py is a tool of all rooms
                    found.add(("commands" if own in commands else own, room))
    return found
