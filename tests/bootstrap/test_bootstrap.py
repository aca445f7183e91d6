"""Building the environment, in a copy of the project with one tiny package, an index on disk and no network."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from portal.bootstrap import LIBRARIES, PACKAGES, TEST_PACKAGES
from portal.embedded.services import ROOT

BASE_PYTHON = getattr(sys, "_base_executable", sys.executable)
BUILD = "from portal import bootstrap; bootstrap.enter(['manage.py', {command!r}])"


def wheel(folder: Path, name: str, files: dict[str, str]) -> str:
    """A wheel in `folder`; its line in a lock file."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    facts = f"{name}-1.0.dist-info"
    content = files | {
        f"{facts}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{facts}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{facts}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in content.items():
            archive.writestr(file, text)
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


class Copy:
    """The project as a clone has it, with packages of our own."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "openmanager"
        self.index = folder / "index"
        self.index.mkdir(parents=True)
        (self.root / "tests").mkdir(parents=True)
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copy(ROOT / "manage.py", self.root)
        shutil.copytree(ROOT / "portal", self.root / "portal", ignore=ignore)
        line = wheel(self.index, "small", {"small.py": "SIZE = 1\n"})
        (self.root / PACKAGES).write_text(line)
        (self.root / TEST_PACKAGES).write_text(line + wheel(self.index, "extra", {"extra.py": ""}))
        (self.root / "package.json").write_text('{"name": "copy", "private": true}')
        empty = {"name": "copy", "lockfileVersion": 3, "packages": {"": {"name": "copy"}}}
        (self.root / LIBRARIES).write_text(json.dumps(empty))

    def environment(self) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PORTAL_", "PYTHON"))}
        more = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.index), "PIP_RETRIES": "0"}
        return env | more | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def run(self, command: str = "up", **env: str) -> subprocess.CompletedProcess[str]:
        """Let a bare Python enter as for `manage.py COMMAND`; at the end it would exec the command in .venv."""
        program = [BASE_PYTHON, "-c", BUILD.format(command=command)]
        return subprocess.run(
            program, cwd=self.root, env=self.environment() | env, capture_output=True, text=True, check=False
        )

    def has(self, module: str) -> bool:
        python = self.root / ".venv" / "bin" / "python"
        return subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy whose environment is complete for `up`."""
    copy = Copy(tmp_path_factory.mktemp("built"))
    (copy.root / "manage.py").write_text("import sys; print('inside', sys.prefix)\n")
    done = copy.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[1/3] Making .venv" in done.stdout
    assert "[2/3] Installing 1 packages" in done.stdout
    assert "[3/3] Fetching the browser libraries" in done.stdout
    return copy


def is_one_sentence(done: subprocess.CompletedProcess[str]) -> bool:
    return done.returncode == 1 and "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_built_environment_is_entered_at_once(built: Copy) -> None:
    done = built.run()
    assert done.stdout == f"inside {built.root / '.venv'}\n"
    assert built.has("small")
    assert not built.has("extra")


@pytest.mark.slow
def test_the_tests_need_more_and_a_changed_lock_is_followed(built: Copy) -> None:
    first = built.run("test")
    assert "[1/1] Installing 2 packages" in first.stdout
    assert built.has("extra")

    (built.root / PACKAGES).write_text(
        (built.root / PACKAGES).read_text() + wheel(built.index, "newcomer", {"newcomer.py": ""})
    )
    assert "[1/1] Installing 2 packages" in built.run("up").stdout
    assert built.has("newcomer")
    assert built.run("up").stdout.startswith("inside")


@pytest.mark.slow
def test_where_no_bytecode_is_wanted_beside_the_code_it_is_kept_in_the_environment(built: Copy) -> None:
    (built.root / "imported.py").write_text("")
    (built.root / "manage.py").write_text("import imported, sys; print('inside', sys.prefix)\n")
    assert built.run(PYTHONDONTWRITEBYTECODE="1").returncode == 0
    kept = (built.root / ".venv" / "bytecode").rglob("imported.*.pyc")
    assert len(list(kept)) == 1
    assert not (built.root / "__pycache__").exists()


@pytest.mark.slow
def test_other_commands_do_not_look_at_the_locks(built: Copy) -> None:
    (built.root / LIBRARIES).write_text((built.root / LIBRARIES).read_text() + "\n")
    assert built.run("shell").stdout.startswith("inside")
    assert "[1/1] Fetching the browser libraries" in built.run("up").stdout


@pytest.mark.slow
def test_an_environment_without_pip_is_made_again(built: Copy) -> None:
    (built.root / ".venv" / "openmanager.json").unlink()
    for pip in (built.root / ".venv" / "lib").glob("python*/site-packages/pip"):
        shutil.rmtree(pip)
    done = built.run()
    assert "Making .venv" in done.stdout
    assert built.has("small")


@pytest.mark.slow
def test_an_index_out_of_reach_is_said_in_one_sentence(copy: Copy) -> None:
    done = copy.run(PIP_NO_INDEX="0", PIP_FIND_LINKS="", PIP_INDEX_URL="http://127.0.0.1:9/simple")
    assert is_one_sentence(done), done.stderr
    assert "the package index cannot be reached. Check the network" in done.stderr
    assert not (copy.root / ".venv" / "openmanager.json").exists()


@pytest.mark.slow
def test_a_changed_download_is_refused(copy: Copy) -> None:
    wheel(copy.index, "small", {"small.py": "SIZE = 2  # not what was locked\n"})
    done = copy.run()
    assert is_one_sentence(done), done.stderr
    assert "not what the lock file says" in done.stderr
    assert not copy.has("small")


@pytest.mark.slow
def test_a_python_without_venv_says_what_to_install(copy: Copy, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['ensurepip'] = None\n")
    done = copy.run(PYTHONPATH=str(tmp_path))
    assert is_one_sentence(done), done.stderr
    assert "apt-get install python3-venv" in done.stderr


@pytest.mark.slow
def test_a_project_folder_that_cannot_be_written_is_named(copy: Copy) -> None:
    (copy.root / ".venv").write_text("in the way")
    done = copy.run()
    assert is_one_sentence(done), done.stderr
    assert str(copy.root / ".venv") in done.stderr


@pytest.mark.slow
def test_libraries_that_cannot_be_fetched_are_told_apart_from_packages(copy: Copy) -> None:
    (copy.root / LIBRARIES).write_text("no lock file")
    done = copy.run()
    assert is_one_sentence(done), done.stderr
    assert done.stderr.startswith("Fetching the browser libraries failed: ")


@pytest.mark.slow
def test_an_environment_whose_packages_went_away_is_built_once_more_and_then_given_up(copy: Copy) -> None:
    """As after the system's Python was replaced. Django never comes here: the second try says what to do."""
    python = [BASE_PYTHON, "manage.py", "up"]
    done = subprocess.run(
        python, cwd=copy.root, env=copy.environment(), capture_output=True, text=True, check=False, timeout=120
    )
    assert is_one_sentence(done), done.stderr
    assert done.stdout.count("Making .venv") == 2
    assert "remove that folder and try again" in done.stderr


@pytest.mark.parametrize("version", ["3.6", "3.7", "3.8", "3.9", "3.10"])
def test_an_old_python_is_told_so(version: str) -> None:
    """manage.py must stay readable for Pythons that came before the syntax of the rest."""
    major, minor = map(int, version.split("."))
    ast.parse((ROOT / "manage.py").read_text(), feature_version=(major, minor))
    pretend = (
        f"import sys, runpy; sys.version_info = ({major}, {minor}, 0, 'final', 0); sys.argv = ['manage.py', 'up']; "
    )
    code = pretend + "runpy.run_path('manage.py', run_name='__main__')"
    done = subprocess.run([BASE_PYTHON, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert is_one_sentence(done), done.stderr
    assert f"needs Python 3.11 or newer and this is {version}" in done.stderr


def pins(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9._-]+==[^\s;]+)", (ROOT / lock).read_text(), re.MULTILINE))


def test_the_tests_lock_pins_the_portals_packages_alike() -> None:
    assert pins(PACKAGES)
    assert pins(PACKAGES) <= pins(TEST_PACKAGES)


def test_the_locks_name_no_index() -> None:
    for lock in (PACKAGES, TEST_PACKAGES, LIBRARIES, "portal/bootstrap-uv.lock", "portal/bootstrap-npm.lock"):
        assert "://" not in (ROOT / lock).read_text()
