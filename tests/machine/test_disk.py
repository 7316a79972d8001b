"""Files and folders appear whole or not at all, and errors name the disk."""

import os
import subprocess

import pytest

from hf_prune.errors import DiskFull
from hf_prune.machine.disk import check_room, whole_folder, write_whole


@pytest.fixture
def small_disk(tmp_path):
    """A disk of half a megabyte, which can really fill up."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk can be mounted by root alone")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_folder_whose_filling_stops_is_removed(tmp_path, error):
    def fill():
        with whole_folder(tmp_path / "model") as partial:
            (partial / "half").write_text("a")
            raise error

    with pytest.raises(error):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_a_filled_folder_takes_its_name_and_replaces_an_older_one(tmp_path):
    for content in ("old", "new"):
        with whole_folder(tmp_path / "model") as partial:
            (partial / content).write_text(content)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["new"]


def test_an_older_folder_stays_until_the_new_one_is_whole(tmp_path):
    with whole_folder(tmp_path / "model") as partial:
        (partial / "old").write_text("old")
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "model"):
        raise RuntimeError
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["old"]


def test_a_full_disk_is_an_error_and_leaves_no_files(small_disk):
    with pytest.raises(DiskFull, match="filled up"), whole_folder(small_disk / "model") as partial:
        (partial / "weights").write_bytes(bytes(1 << 20))
    assert list(small_disk.iterdir()) == []
    with pytest.raises(DiskFull, match="filled up"):
        write_whole(small_disk / "run.json", bytes(1 << 20))
    assert list(small_disk.iterdir()) == []


def test_a_file_that_cannot_be_written_whole_leaves_the_older_one(small_disk):
    write_whole(small_disk / "run.json", "old")
    with pytest.raises(DiskFull):
        write_whole(small_disk / "run.json", bytes(1 << 20))
    assert (small_disk / "run.json").read_text() == "old"


def test_room_is_checked_on_the_disk_of_a_folder_that_does_not_exist_yet(small_disk):
    check_room(small_disk / "not" / "yet", 1000, "writing")
    with pytest.raises(DiskFull, match="writing needs 2 MB"):
        check_room(small_disk / "not" / "yet", 2_000_000, "writing")


def test_a_reader_of_the_older_file_never_sees_the_new_one_half_written(tmp_path):
    write_whole(tmp_path / "run.json", "old")
    with (tmp_path / "run.json").open() as reader:
        write_whole(tmp_path / "run.json", "new")
        assert reader.read() == "old"
    assert (tmp_path / "run.json").read_text() == "new"
