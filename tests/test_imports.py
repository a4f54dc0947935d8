"""Imports go one way: scripts, experiments, modellib and dataloader, custom_pkg. No two files share a name."""

import ast
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from conftest import REPOSITORY

MAY_IMPORT = {  # of each other; reporting stands beside experiments, and the scripts may import all
    "custom_pkg": set(),
    "dataloader": {"custom_pkg"},
    "modellib": {"custom_pkg"},
    "experiments": {"custom_pkg", "dataloader", "modellib"},
    "reporting": {"custom_pkg", "experiments", "modellib"},
}
SCRIPTS = {path.stem for path in REPOSITORY.glob("*.py")} - {"hubconf"}


def imported(path: Path) -> set[str]:
    """The first names of all that a file imports, also where it does so within a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_those_below_it(package):
    files = list((REPOSITORY / package).rglob("*.py"))
    assert files
    own = set(MAY_IMPORT) | SCRIPTS
    wrong = {str(path): names for path in files if (names := imported(path) & own - {package} - MAY_IMPORT[package])}
    assert wrong == {}


def test_every_file_of_the_product_has_a_name_of_its_own():
    packages = (REPOSITORY / package for package in MAY_IMPORT)
    files = [*REPOSITORY.glob("*.py"), *(path for package in packages for path in package.rglob("*.py"))]
    names = Counter(path.name for path in files)
    assert [name for name, count in names.items() if count > 1 and name != "__init__.py"] == []


def test_no_file_of_tests_imports_another():
    files = [*(REPOSITORY / "tests").rglob("*.py")]
    tests = {file.stem for file in files if file.name.startswith("test_")}
    assert tests and {str(file): names for file in files if (names := imported(file) & tests)} == {}


def asked_for_help(scripts: Iterable[str], before: str) -> list[str]:
    """What one process says on stderr that shows the help of each script in turn, after the statements `before`."""
    program = (
        f"import os, runpy, sys\n{before}\n"
        f"for script in {list(scripts)}:\n"
        "    sys.argv = [f'{script}.py', '--help']\n"
        "    try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "    except SystemExit: print('imported by', script, *sys.modules, file=sys.stderr)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=60,
        env={name: value for name, value in os.environ.items() if not name.startswith(("GOMP", "OMP"))},
    )
    return answer.stderr.splitlines()


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_threads_are_told_how_to_wait_before_torch_is_there(script):
    at_torch = (
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch':\n"
        "            print('threads', os.environ.get('GOMP_SPINCOUNT'), file=sys.stderr, flush=True)\n"
        "            os._exit(0)\n"
        "sys.meta_path.insert(0, Finder())"
    )
    assert asked_for_help([script], at_torch) == ["threads 10000"]


def test_help_imports_nothing_that_only_a_run_needs():
    answers = [line.split() for line in asked_for_help(sorted(SCRIPTS), "") if line.startswith("imported by")]
    assert [script for _, _, script, *_ in answers] == sorted(SCRIPTS)
    for _, _, script, *modules in answers:
        needless = {"torchvision", "sklearn", "scipy", "matplotlib", "torch._dynamo"} & set(modules)
        assert (script, needless) == (script, set())
