"""An import never goes up a floor, and no rooms import one another in a circle."""

import ast
import re
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "ntkscope"

# from the ground up; a module may import its own floor and those below
FLOORS = [
    ("_base",),
    ("activations", "data", "engines", "report"),
    ("networks",),
    ("kernels", "lipschitz"),
    ("spectra",),
    ("prediction",),
    ("training", "inspection", "statements"),
    ("experiments",),
    ("papers", "explorer"),
    ("cli", "__main__"),
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}


def _modules() -> dict[str, Path]:
    """Dotted name below ntkscope → file."""
    found = {}
    for path in SRC.rglob("*.py"):
        parts = path.relative_to(SRC).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


def _imports(path: Path) -> set[str]:
    """The modules of ours that a file imports, those for the type checker included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "ntkscope":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ntkscope."):
            base = node.module.removeprefix("ntkscope.")
            full = {f"{base}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else base for name in full}
        elif isinstance(node, ast.Import):
            names = (alias.name for alias in node.names)
            found |= {n.removeprefix("ntkscope.") for n in names if n.startswith("ntkscope.")}
    return found


ARROWS = {name: _imports(path) - {name} for name, path in MODULES.items() if name}


@pytest.mark.parametrize("name", sorted(ARROWS))
def test_imports_point_down(name):
    own = name.split(".")[0]
    assert own in LEVEL, f"{own} has no floor: add it to FLOORS"
    for target in ARROWS[name]:
        room = target.split(".")[0]
        assert room in LEVEL, f"{name} imports unknown ntkscope.{room}"
        assert LEVEL[room] <= LEVEL[own], f"{own} (floor {LEVEL[own]}) imports {target} above it"


def _rooms(package: str) -> dict[str, set[str]]:
    """Arrows among the files and folders that stand directly in a package."""
    inside = f"{package}." if package else ""
    rooms: dict[str, set[str]] = {}
    for name, targets in ARROWS.items():
        if name.startswith(inside) and name != package:
            own = name.removeprefix(inside).split(".")[0]
            there = {
                t.removeprefix(inside).split(".")[0]
                for t in targets
                if t.startswith(inside) and t != package
            }
            rooms.setdefault(own, set()).update(there - {own})
    return rooms


def _circle(rooms: dict[str, set[str]]) -> list[str]:
    """Rooms that are left when those that import none of the others are taken away, again and again."""
    left = {name: set(targets) for name, targets in rooms.items()}
    while True:
        free = {name for name, targets in left.items() if not targets & left.keys()}
        if not free:
            return sorted(left)
        left = {name: targets for name, targets in left.items() if name not in free}


PACKAGES = sorted({"", *(m for m in MODULES if any(n.startswith(f"{m}.") for n in MODULES))})


@pytest.mark.parametrize("package", PACKAGES)
def test_no_circles_among_rooms(package):
    assert _circle(_rooms(package)) == []


def test_the_tour_shows_these_floors():
    tour = (SRC.parents[1] / "CONTRIBUTING.md").read_text()
    rows = [line.split("|")[1] for line in tour.splitlines() if line.startswith("| `")]
    assert [tuple(re.findall(r"`(\w+)`", row)) for row in rows] == FLOORS
