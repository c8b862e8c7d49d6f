"""A wheel, installed where nothing else of ours is, holds what the code reads and runs.

    python -m wheel_check DIST

The environment is new; the packages that ntkscope needs come from the one that runs this, so that
torch is not installed again.
"""

from __future__ import annotations

import os
import site
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src"
_NOT_SHIPPED = {"__pycache__"}


def read_by_code() -> set[str]:
    """Every file of the package, as the wheel must hold it."""
    files = (path for path in (SOURCE / "ntkscope").rglob("*") if path.is_file())
    return {
        path.relative_to(SOURCE).as_posix()
        for path in files
        if not _NOT_SHIPPED.intersection(path.parts) and path.suffix != ".pyc"
    }


def missing(wheel: Path, archive: Path) -> list[str]:
    """What the wheel or the source archive lacks."""
    with zipfile.ZipFile(wheel) as held:
        lost = [f"wheel: {name}" for name in sorted(read_by_code() - set(held.namelist()))]
    with tarfile.open(archive) as held:
        inside = {name.partition("/")[2] for name in held.getnames()}
    wanted = {f"src/{name}" for name in read_by_code()} | {"LICENSE", "README.md", "pyproject.toml"}
    return lost + [f"source archive: {name}" for name in sorted(wanted - inside)]


def installed(wheel: Path, folder: Path) -> Path:
    """The ``ntkscope`` of a new environment with the wheel."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check",
         str(wheel)], check=True,
    )  # fmt: skip
    home = next((folder / "lib").glob("python*/site-packages"))
    # behind what is installed here: the other packages, without the hooks that point to our source
    (home / "needs.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return folder / "bin" / "ntkscope"


def run(command: list[str | Path], folder: Path) -> str:
    """What the command prints; raises CalledProcessError where it fails."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=folder, env=clean, text=True, stdout=subprocess.PIPE, check=True
    )
    return done.stdout


def main(dist: Path) -> int:
    """Check the one wheel and the one source archive of ``dist``."""
    (wheel,), (archive,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    lost = missing(wheel, archive)
    if lost:
        print("\n".join(lost))
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = installed(wheel, folder / "environment")
        version = run([program, "--version"], folder).split()[1]
        where = run(
            [program.parent / "python", "-c", "import ntkscope; print(ntkscope.__file__)"], folder
        )
        if name not in where:
            print(f"another ntkscope ran: {where}")
            return 1
        run(
            [program, "inspect", "--data", "gaussian:N=6,d=4", "--widths", "4,6,1", "--out", "out"],
            folder,
        )
        if not (folder / "out" / "report.html").stat().st_size:
            return 1
    print(f"{wheel.name}: {version} installs and runs")
    return 0 if f"-{version}-" in wheel.name else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
