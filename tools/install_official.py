"""Install the official implementation beside ours, renamed to ``icechunk_official``.

Both distributions are called ``icechunk``, so the official wheel is downloaded, renamed and installed without
its dependencies (ours has all that its Python side imports). Run it with the interpreter whose environment is
meant::

    .venv/bin/pip install -e '.[compat]'
    .venv/bin/python tools/install_official.py

Its compiled part looks its exceptions up by the name ``icechunk._exceptions`` and would find ours. That name
is replaced inside the library by one of equal length, a module that stands for the exceptions of the renamed
package.

The official wheel needs Python 3.12 or newer. An older release that still runs on Python 3.11 (1.1.21) goes,
under its own name, into an environment of its own: see ``.ci/run``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "2.3.0"
NAME = "icechunk_official"
EXCEPTIONS = b"icechunk._exceptions"
STAND_IN = b"icechunk_official.ex"


def install(version: str, work: Path) -> None:
    """Download, rename and install one release into the running interpreter's environment."""
    pip = ["pip", "--quiet", "--disable-pip-version-check"]
    wanted = f"icechunk=={version}"
    run_module(*pip, "download", "--no-deps", "--only-binary=:all:", "--dest", work / "official", wanted)
    for folder in ("renamed", "final"):
        (work / folder).mkdir()
    rename(only(work / "official", "*.whl"), work / "renamed")
    run_module("wheel", "unpack", "--dest", work / "tree", only(work / "renamed", "*.whl"))
    tree = only(work / "tree", "*")
    redirect_exceptions(tree / NAME)
    run_module("wheel", "pack", "--dest-dir", work / "final", tree)
    run_module(*pip, "install", "--no-deps", "--force-reinstall", only(work / "final", "*.whl"))


def rename(wheel: Path, folder: Path) -> None:
    program = Path(sys.executable).with_name("third-wheel")
    run(program, "rename", wheel, NAME, "--patch-strings", "--output", folder)


def redirect_exceptions(package: Path) -> None:
    """Let the compiled part raise the exceptions of the renamed package."""
    library = only(package, "_icechunk_python*[od]")  # .so or .pyd, not .pyi
    content = library.read_bytes()
    if content.count(EXCEPTIONS) != 1:
        raise SystemExit(
            f"{library.name} does not name {EXCEPTIONS.decode()} exactly once: not a known release"
        )
    library.write_bytes(content.replace(EXCEPTIONS, STAND_IN))
    stand_in = package / f"{STAND_IN.decode().rpartition('.')[2]}.py"
    stand_in.write_text(f"from {NAME}._exceptions import *  # noqa: F403\n", encoding="utf-8")


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def run_module(*arguments: str | Path) -> None:
    run(sys.executable, "-m", *arguments)


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    parser = argparse.ArgumentParser(description="Install the official icechunk as icechunk_official.")
    parser.add_argument("--version", default=VERSION, help=f"the release (default: {VERSION})")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            install(options.version, Path(folder))
        except subprocess.CalledProcessError as error:
            print(f"failed: {' '.join(map(str, error.cmd))}", file=sys.stderr)
            return 1
    print(f"icechunk {options.version} is installed as {NAME}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
