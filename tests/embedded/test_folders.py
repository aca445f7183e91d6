"""The data folder and what stands in its way."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.embedded.errors import StartError, of_disk
from portal.embedded.folders import open_data, socket_folder, write_private


def test_the_data_folder_is_made_and_closed_to_others(tmp_path: Path) -> None:
    data = open_data(tmp_path / "deep" / "var")
    assert data.stat().st_mode & 0o077 == 0
    assert {room.name for room in data.iterdir()} == {"run", "logs", "mail"}


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match=f"The data folder {tmp_path}/file"):
        open_data(tmp_path / "file")


def test_a_data_folder_nobody_may_write_says_so() -> None:
    with pytest.raises(StartError, match=r"/proc/openmanager cannot be (used|written)"):
        open_data(Path("/proc/openmanager"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_with_too_little_space_is_refused_before_anything_is_written(small_disk: Path) -> None:
    with pytest.raises(StartError, match="less than 300 MB free: free some space"):
        open_data(small_disk / "var")


def test_a_disk_that_fills_up_is_named(small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left") as full:
        write_private(small_disk / "file", "x" * 2_000_000)
    assert full.value.errno == errno.ENOSPC
    assert str(of_disk(full.value, "/var/data")).startswith("The disk of /var/data is full: free some space")


def test_a_folder_with_a_short_path_holds_its_own_sockets(tmp_path: Path) -> None:
    assert socket_folder(Path("/srv/openmanager/run")) == Path("/srv/openmanager/run")


@pytest.fixture
def long_folder(tmp_path: Path) -> Path:
    return tmp_path / ("long" * 30)


def test_a_long_path_gets_a_short_folder_of_ours(long_folder: Path) -> None:
    short = socket_folder(long_folder)
    try:
        assert len(str(short)) < 60
        assert short.stat().st_mode & 0o777 == 0o700
        assert socket_folder(long_folder) == short
    finally:
        short.rmdir()


def test_a_short_folder_that_somebody_prepared_for_us_is_refused(long_folder: Path, tmp_path: Path) -> None:
    short = socket_folder(long_folder)
    short.rmdir()
    (tmp_path / "theirs").mkdir(mode=0o700)
    short.symlink_to(tmp_path / "theirs")
    try:
        with pytest.raises(StartError, match="belongs to somebody else"):
            socket_folder(long_folder)
    finally:
        short.unlink()


def test_a_private_file_is_private_from_its_first_byte_even_over_an_open_one(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
