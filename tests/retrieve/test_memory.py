from pathlib import Path

from llmrec.retrieve.memory import available_memory

GIB = 2**30


def machine(folder, text="MemTotal: 33554432 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n"):
    (folder / "meminfo").write_text(text)
    return folder / "meminfo"


def container(folder, limit, used=0, stat="anon 5\ninactive_file 1073741824\n"):
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(stat)
    return folder


def test_the_machine_tells(tmp_path):
    assert available_memory(machine(tmp_path), tmp_path / "none") == 8 * GIB


def test_the_container_limits(tmp_path):
    assert available_memory(machine(tmp_path), container(tmp_path, 4 * GIB, 3 * GIB)) == 2 * GIB  # 1 is only cache
    assert available_memory(machine(tmp_path), container(tmp_path, 64 * GIB)) == 8 * GIB
    assert available_memory(machine(tmp_path), container(tmp_path, "max")) == 8 * GIB
    assert available_memory(machine(tmp_path), container(tmp_path, GIB, 9 * GIB)) == 0


def test_damage_is_no_limit(tmp_path):
    assert available_memory(machine(tmp_path, "MemAvailable: lots"), container(tmp_path, "half")) > 0
    assert available_memory(machine(tmp_path), container(tmp_path, GIB, "?")) == 8 * GIB


def test_this_machine_has_some():
    assert (available_memory() or 0) > 0
    assert Path("/proc/meminfo").exists() is False or available_memory() < 2**50
