"""Names that a reader meets once."""

import ast
from collections import defaultdict
from pathlib import Path

import calm_ft


def test_no_class_name_stands_twice_in_the_package() -> None:
    package = Path(calm_ft.__file__).parent
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(package)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
