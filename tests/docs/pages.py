"""The project's pages, and what stands in them: blocks of code, lines for a shell, links, paths."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
GUIDES = [README, *sorted((ROOT / "docs").glob("*.md")), ROOT / "calm_ft" / "assets" / "README.md"]
PAGES = [*GUIDES, *sorted((ROOT / "papers").glob("*.md"))]
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """A line for a shell, as it stands in a page."""

    page: Path
    line: str

    @property
    def words(self) -> list[str]:
        """The line as a shell reads it, its comment left out."""
        return shlex.split(self.line, comments=True)

    @property
    def id(self) -> str:
        """For the names of tests."""
        return f"{self.page.name}: {' '.join(self.words)[:90]}"


def blocks(page: Path, *languages: str) -> list[str]:
    """The contents of the page's blocks of code in these languages."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [content for _, language, content in found if language in languages]


def commands(page: Path) -> list[Command]:
    """Every line of the page's blocks for a shell; one that ends in a backslash goes on in the next."""
    lines = "".join(blocks(page, "sh", "bash", "shell", "console")).replace("\\\n", " ").splitlines()
    return [Command(page, line.strip()) for line in lines if line.strip()]


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """Where the page's links and pictures lead."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    """What can stand behind `#` in a link to the page: its headings in lower case with hyphens for blanks."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def paths(page: Path) -> list[str]:
    """Files and folders of the repository that the page names as code, such as `calm_ft/flow/lsd.py`."""
    spans = re.findall(r"`([^`\n]+)`", prose(page))
    tops = r"(?:calm_ft|conf|scripts|tests|tools|benchmarks|papers|docs)"
    return [found for span in spans for found in re.findall(rf"(?<![\w/.]){tops}/[\w./*{{}},-]*\w[*}}]?", span)]
