"""scripts/run.py: what it decides (pure functions), and one real set-up of a stub project without network."""

import ast
import ensurepip
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
ENVIRONMENT = {
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "python_version": "3.11",
    "sys_platform": "linux",
}


@pytest.fixture(scope="module")
def run():
    sys.path.insert(0, str(SCRIPTS))
    try:
        spec = importlib.util.spec_from_file_location("llmrec_scripts_run", SCRIPTS / "run.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def torch_build(run):
    return sys.modules["_torch_build"]


@pytest.fixture(scope="module")
def environment(run):
    return sys.modules["_environment"]


def report(version="2.13.0", requires=(), environment=ENVIRONMENT):
    metadata = {"name": "torch", "version": version, "requires_dist": list(requires)}
    return {"install": [{"metadata": metadata}], "environment": environment}


@pytest.mark.parametrize("name", ["run.py", "_environment.py", "_torch_build.py"])
def test_parses_on_old_pythons(name):
    ast.parse((SCRIPTS / name).read_text(encoding="utf-8"), feature_version=(3, 8))


@pytest.mark.parametrize(
    ("version", "requires", "expected"),
    [
        ("2.13.0+cpu", [], "cpu"),
        ("2.13.0+cu130", [], "gpu"),
        ("2.13.0+rocm7.1", [], "gpu"),
        ("2.13.0", ["filelock", "sympy>=1.13.3", 'optree>=0.13.0; extra == "optree"'], "cpu"),
        ("2.13.0", ['nvidia-cudnn-cu13==9.20.0.48; platform_system == "Linux"'], "gpu"),
        ("2.13.0", ['cuda-toolkit[cublas,cudart]==13.0.3; platform_system == "Linux"'], "gpu"),
        ("2.13.0", ['nvidia-nccl-cu12==2.2; platform_system == "Linux" and platform_machine == "aarch64"'], "cpu"),
        ("2.13.0", ['triton==3.7.1; platform_system == "Linux" and python_version < "3.15"'], "gpu"),
        ("2.13.0", ['triton==3.7.1; platform_system == "Linux" and python_version < "3.9"'], "cpu"),
        ("2.13.0", ['nvidia-cudnn-cu13; extra == "cuda"'], "cpu"),
        ("2.13.0", ["nvidia_cublas (>=13) ; something odd ~~"], "gpu"),
    ],
)
def test_torch_build(torch_build, version, requires, expected):
    assert torch_build.torch_build(report(version, requires)) == expected


def test_torch_build_reads_markers_for_the_machine_of_the_report(torch_build):
    requires = ['nvidia-cudnn-cu13; platform_system == "Linux"']
    assert (
        torch_build.torch_build(report(requires=requires, environment={**ENVIRONMENT, "platform_system": "Windows"}))
        == "cpu"
    )
    assert torch_build.torch_build({"install": [], "environment": ENVIRONMENT}) == "installed"


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        ('python_version >= "3.9"', True),
        ('python_version < "3.9"', False),
        ('python_version <= "3.11"', True),
        ('python_version > "3.11"', False),
        ('sys_platform == "linux" or sys_platform == "win32"', True),
        ('(sys_platform == "win32" or sys_platform == "darwin") and python_version < "4"', False),
        ('"x86" in platform_machine', True),
        ('platform_machine not in "x86_64 amd64"', False),
        ('sys_platform != "linux"', False),
        ('python_version ~= "3.9"', True),
        ('unheard_of == "x"', True),
    ],
)
def test_marker_applies(torch_build, marker, expected):
    assert torch_build.marker_applies(marker, ENVIRONMENT) is expected


def test_pick_python_takes_the_first_that_runs_and_is_new_enough(run):
    versions = {"broken": None, "old": (3, 9), "good": (3, 12), "later": (3, 13)}
    candidates = [[name] for name in versions]
    assert run.pick_python(candidates, lambda command: versions[command[0]]) == ["good"]
    assert run.pick_python(candidates[:2], lambda command: versions[command[0]]) is None


def test_python_version_of_this_and_of_nothing(run):
    assert run.python_version([sys.executable]) == sys.version_info[:2]
    assert run.python_version(["/no/such/python"]) is None


@pytest.mark.parametrize(
    ("argv", "own", "rest"),
    [
        (["--extra", "bench", "--k", "5"], ["--extra", "bench"], ["--k", "5"]),
        (["--extra=bench", "--allow-cuda", "-x", "--remake"], ["--extra=bench", "--allow-cuda"], ["-x", "--remake"]),
        (["--", "--help"], [], ["--help"]),
        (["fit", "--help"], [], ["fit", "--help"]),
        ([], [], []),
    ],
)
def test_split_args(run, argv, own, rest):
    assert run.split_args(argv) == (own, rest)


def test_commands_and_what_they_run(run):
    python = Path("py")
    test = run.parse(["test", "--extra", "bench,serve", "-k", "vocab"])
    assert test.extras == ["bench", "dev", "serve", "train"]
    assert run.child_command(python, test) == ["py", "-m", "pytest", "-q", "-m", "", "-k", "vocab"]
    assert run.child_command(python, test._replace(args=()))[-2:] == ["--dist", "loadfile"]
    assert run.child_command(python, run.parse(["demo", "--quick"])) == ["py", "-m", "llmrec", "demo", "--quick"]
    assert run.child_command(python, run.parse(["llmrec", "--", "--help"])) == ["py", "-m", "llmrec", "--help"]


@pytest.mark.parametrize("argv", [[], ["unknown"], ["setup", "stray"], ["setup", "--extra"]])
def test_wrong_command_lines_exit_with_2(run, argv, capsys):
    with pytest.raises(SystemExit) as caught:
        run.parse(argv)
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_help_of_every_command(run, capsys):
    for name in ("setup", "demo", "test", "llmrec"):
        with pytest.raises(SystemExit) as caught:
            run.parse([name, "--help"])
        assert caught.value.code == 0
        assert "--torch-index" in capsys.readouterr().out


def stub_root(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "stub"\n[project.optional-dependencies]\ntrain = []\n')
    (tmp_path / ".venv").mkdir()
    return tmp_path


def test_stamp_follows_the_files_the_extras_and_the_environment(environment, tmp_path, monkeypatch):
    venv = environment.Venv(stub_root(tmp_path))
    version = (3, 11)
    monkeypatch.setattr(environment.Venv, "version", lambda self: version)
    assert not venv.is_ready([])
    venv.write_stamp(state="ready", key=venv.key(["train", "dev"], version), extras=["dev", "train"])
    assert venv.is_ready(["train"])
    assert venv.is_ready(["train", "dev"])
    assert not venv.is_ready(["bench"])
    (tmp_path / "constraints.txt").write_text("numpy==2.0\n")
    assert not venv.is_ready(["train"])
    venv.write_stamp(state="ready", key=venv.key(["dev", "train"], version), extras=["dev", "train"])
    assert venv.is_ready(["train"])
    version = (3, 12)
    assert not venv.is_ready(["train"])
    version = None
    assert not venv.is_ready(["train"])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": "installing", "extras": ["train"]}'])
def test_half_a_stamp_is_no_stamp(environment, tmp_path, text):
    venv = environment.Venv(stub_root(tmp_path))
    venv.stamp.write_text(text)
    assert not venv.is_ready([])


def test_small_disk_and_unknown_extras_stop_before_anything_is_made(run, tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "stub"\n')
    with pytest.raises(run.SetupError, match="no extra named nope"):
        run.prepare(tmp_path, run.Options("setup", ["nope"]))
    monkeypatch.setattr(run.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**9))
    with pytest.raises(run.SetupError, match=r"1\.0 GB free .* needs 3 GB"):
        run.prepare(tmp_path, run.Options("setup"))
    assert not (tmp_path / ".venv").exists()


def test_an_environment_of_someone_else_is_never_removed_unasked(environment, run, tmp_path, capsys):
    venv = environment.Venv(stub_root(tmp_path))
    (venv.path / "precious").write_text("mine")
    with pytest.raises(run.SetupError, match="--remake"):
        environment.Setup(venv, run.Options("setup"), []).clear()
    assert (venv.path / "precious").exists()
    environment.Setup(venv, run.Options("setup", remake=True), []).clear()
    assert not (venv.path / "precious").exists()
    assert venv.marker.exists()
    assert "removing .venv" in capsys.readouterr().err
    (venv.path / "half").write_text("")  # ours now, and broken: removed, and said so
    environment.Setup(venv, run.Options("setup"), []).clear()
    assert not (venv.path / "half").exists()


def choose(environment, run, root, monkeypatch, build, **options):
    """Run the step that chooses torch against a fake pip; return the commands it ran."""
    setup = environment.Setup(environment.Venv(stub_root(root)), run.Options("setup", **options), [])
    setup.cpu_only = True
    ran = []

    def execute(command, **env):
        ran.append(" ".join(command))
        if "--dry-run" in command:
            Path(command[command.index("--report") + 1]).write_text(json.dumps(build), encoding="utf-8")
        return "uv pip" not in ran[-1]

    monkeypatch.setattr(setup, "execute", execute)
    return setup, ran


def test_cpu_torch_is_left_to_pip_and_cuda_torch_is_not(environment, run, tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / name).mkdir()
    setup, ran = choose(environment, run, tmp_path / "a", monkeypatch, report("2.13.0+cpu"))
    setup.choose_torch()
    assert len(ran) == 1
    setup, ran = choose(environment, run, tmp_path / "b", monkeypatch, report("2.13.0", ["nvidia-nccl-cu13"]))
    with pytest.raises(run.SetupError, match="--torch-index URL"):
        setup.choose_torch()
    assert "--torch-backend=cpu" in ran[-1]
    assert "://" not in "".join(ran)  # no index host of ours


@pytest.mark.parametrize(("name", "refused"), [("nvidia_cudnn_cu13-9.dist-info", True), ("numpy-2.0.dist-info", False)])
def test_cuda_packages_without_a_gpu_are_an_error(environment, run, tmp_path, monkeypatch, name, refused):
    setup, _ = choose(environment, run, tmp_path, monkeypatch, report())
    (setup.venv.path / "lib/python3.11/site-packages" / name).mkdir(parents=True)
    if refused:
        with pytest.raises(run.SetupError, match="nvidia_cudnn_cu13"):
            setup.install()
    else:
        setup.install()
        assert setup.venv.read_stamp()["state"] == "installed"


BACKEND = """
import zipfile, pathlib
def get_requires_for_build_editable(config_settings=None): return []
def build_editable(folder, config_settings=None, metadata_directory=None):
    info = "stub-1.0.dist-info/"
    with zipfile.ZipFile(pathlib.Path(folder) / "stub-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("stub.pth", str(pathlib.Path.cwd()))
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: stub\\nVersion: 1.0\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
    return "stub-1.0-py3-none-any.whl"
"""
STUB = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "stub"
version = "1.0"
[project.optional-dependencies]
train = []
"""


def test_a_real_set_up_then_a_second_call(tmp_path):
    (tmp_path / "scripts").mkdir()
    for name in ("run.py", "_environment.py", "_torch_build.py"):
        shutil.copy(SCRIPTS / name, tmp_path / "scripts")
    (tmp_path / "llmrec").mkdir()
    (tmp_path / "llmrec/__init__.py").write_text("")
    (tmp_path / "llmrec/__main__.py").write_text("import sys\nprint(sys.argv[1:])\nsys.exit(7)\n")
    (tmp_path / "backend.py").write_text(BACKEND)
    (tmp_path / "pyproject.toml").write_text(STUB)
    bundled = Path(ensurepip.__file__).parent / "_bundled"
    env = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(bundled), "PIP_CONFIG_FILE": os.devnull}
    command = [sys.executable, str(tmp_path / "scripts/run.py"), "demo", "--quick"]

    def call():
        return subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path.parent, check=False)

    first = call()
    assert first.returncode == 7, first.stderr
    assert first.stdout == "['demo', '--quick']\n"
    assert "[1/3] creating .venv ..." in first.stderr
    stamp = (tmp_path / ".venv/setup-stamp.json").stat().st_mtime_ns
    second = call()
    assert (second.returncode, second.stdout, second.stderr) == (7, first.stdout, "")
    assert (tmp_path / ".venv/setup-stamp.json").stat().st_mtime_ns == stamp
    (tmp_path / "backend.py").write_text("raise OSError('no such luck')\n")
    (tmp_path / "constraints.txt").write_text("\n")
    third = call()
    assert third.returncode == 1
    assert "set-up failed at: installing llmrec[train]" in third.stderr
    assert "no such luck" in third.stderr
    assert "setup.log" in third.stderr
