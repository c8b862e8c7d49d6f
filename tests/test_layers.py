"""An import never goes up a floor."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "ntkscope"

# from the ground up; a module may import its own floor and those below
FLOORS = [
    ("_specs", "_memory", "_checks", "_balls"),
    ("activations", "data", "report"),
    ("hermite",),
    ("initialization", "networks"),
    ("kernels", "lipschitz"),
    ("spectra",),
    ("theory", "chain", "convergence"),
    ("training", "regression"),
    ("bounds", "per_output", "meaning", "inspection", "experiments"),
    ("cli", "__main__"),
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}

# of the package itself only these plain values may be imported, from anywhere
FACADE = {"__version__"}


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "ntkscope":
                found |= {alias.name for alias in node.names} - FACADE
            elif node.module.startswith("ntkscope."):
                found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("ntkscope.")}
    return found


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda p: str(p.relative_to(SRC)))
def test_imports_point_down(path):
    own = path.relative_to(SRC).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    assert own in LEVEL, f"{own} has no floor: add it to FLOORS"
    for name in _imports(path):
        assert name in LEVEL, f"{path.name} imports unknown ntkscope.{name}"
        assert LEVEL[name] <= LEVEL[own], f"{own} (floor {LEVEL[own]}) imports {name} above it"
