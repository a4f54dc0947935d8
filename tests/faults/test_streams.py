"""Streams that are closed, full, read by nobody, or that cannot show every character: the run ends as it would."""

import ast
import subprocess
import sys

import pytest
from conftest import REPOSITORY, SMALL_RUN, assert_same_end, run_of, subprocess_environment, train

LATIN_1 = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}


def in_a_shell(cwd, fate: str, script: str, *flags: str, **environment: str) -> subprocess.CompletedProcess:
    """The script as a process of its own whose streams have met that fate; the status is the script's own."""
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$@" {fate}', "bash", sys.executable, str(REPOSITORY / script), *flags],
        cwd=cwd, capture_output=True, env={**subprocess_environment(), **environment}, timeout=300,
    )


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("ended")
    assert train(cwd, "--epochs=1").status == 0
    return cwd


@pytest.mark.parametrize("fate", ["2>&1 | head -1", ">/dev/full 2>/dev/full", "<&- >&- 2>&-"])
def test_training_ends_with_its_evaluation(tmp_path, ended, fate):
    outcome = in_a_shell(tmp_path, fate, "train_lagrangian.py", *SMALL_RUN, "--epochs=1")
    assert outcome.returncode == 0 and b"Error" not in outcome.stderr, outcome
    assert_same_end(tmp_path, ended)
    log = (run_of(tmp_path).path / "train.log").read_text(encoding="utf-8")
    assert "accuracy, %" in log and "Exception" not in log


@pytest.mark.parametrize("fate", ["| true", ">&-", "2>&- >/dev/full"])
def test_an_evaluation_is_written(copy, fate):
    outcome = in_a_shell(copy, fate, "evaluate.py", "--desc=a/b", "--metrics=accuracy")
    assert outcome.returncode == 0 and b"Error" not in outcome.stderr, outcome
    assert (run_of(copy).path / "evaluation-last.json").exists()


@pytest.mark.parametrize("fate, flags, status", [
    ("| true", ["--help"], 0), (">/dev/full", ["--help"], 0), ("2>&-", ["--epochs=no"], 2),
    ("2>/dev/full >&-", ["--epochs=no"], 2),
])
def test_answers_end_with_their_status(tmp_path, fate, flags, status):
    assert in_a_shell(tmp_path, fate, "train_lagrangian.py", *flags).returncode == status
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script, encoding", [("reproduce.py", "ascii"), ("train_lagrangian.py", "latin-1")])
def test_help_is_shown_where_the_terminal_has_no_greek(tmp_path, script, encoding):
    outcome = in_a_shell(tmp_path, "", script, "--help", **{**LATIN_1, "PYTHONIOENCODING": encoding})
    assert outcome.returncode == 0 and b"--data_root" in outcome.stdout, outcome


def test_the_report_leaves_a_readme_in_utf_8_as_it_was(tmp_path):
    before, after = "# nine λ\n<!-- summary: begin -->", "<!-- summary: end -->\n2 × 16 — “quoted”\n"
    (tmp_path / "README.md").write_text(f"{before}\n{after}", encoding="utf-8")
    outcome = in_a_shell(tmp_path, "", "reproduce.py", "--report", **LATIN_1)
    assert outcome.returncode == 0, outcome
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert readme.startswith(before) and readme.endswith(after) and "| I(X;T)" in readme


def test_every_text_file_is_opened_with_an_encoding():
    """Whatever the locale says: PEP 597."""
    opened = 0
    files = [*REPOSITORY.glob("*.py")]
    for folder in ("custom_pkg", "dataloader", "modellib", "experiments", "reporting"):
        files += (REPOSITORY / folder).rglob("*.py")
    for file in files:
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            name = getattr(call.func, "id", getattr(call.func, "attr", ""))
            keywords = {keyword.arg: keyword.value for keyword in call.keywords}
            constants = [part.value for part in (*call.args, keywords.get("mode")) if isinstance(part, ast.Constant)]
            text = name in ("read_text", "write_text") or "text" in keywords and name in ("run", "Popen")
            binary = any("b" in str(mode) for mode in constants)
            text |= isinstance(call.func, ast.Name) and name == "open" and not binary
            opened += text
            assert not text or "encoding" in keywords, f"{file.name}:{call.lineno}"
    assert opened > 5


def test_a_working_directory_that_is_gone_is_one_line(tmp_path):
    gone = f"mkdir {tmp_path}/gone && cd {tmp_path}/gone && rmdir {tmp_path}/gone && "
    command = f"{gone}{sys.executable} {REPOSITORY}/evaluate.py --desc=x"
    outcome = subprocess.run(["bash", "-c", command], capture_output=True, env=subprocess_environment())
    assert outcome.returncode == 2 and outcome.stderr == b"the working directory is gone: change to one that exists\n"
