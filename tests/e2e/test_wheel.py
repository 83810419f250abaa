"""The built wheel, away from the repository: its templates, its components, its command."""

import json
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]


def run(*command, cwd):
    done = subprocess.run(command, check=False, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT), cwd=folder)
    return next(folder.glob("llmrec-*.whl"))


def test_the_wheel_holds_templates_types_and_licence_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for kind in ("item", "user", "pair", "chat", "explain"):
        here = {path.name for path in (ROOT / "prompts" / kind).glob("*.toml")}
        assert {Path(n).name for n in names if n.startswith(f"llmrec/prompts/{kind}/")} == here
    assert "llmrec/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"llmrec"}


def test_the_wheel_works_in_a_fresh_environment_outside_the_repository(wheel, tmp_path):
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv"), cwd=tmp_path)
    python = next((tmp_path / "venv").glob("*/python"))
    site = Path(run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    zipfile.ZipFile(wheel).extractall(site)
    # the libraries are those of this environment: a path in a .pth file brings them, but not the editable llmrec
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    where = run(str(python), "-c", "import llmrec; print(llmrec.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(tmp_path)
    program = (
        "import json; from llmrec.text import list_templates; from llmrec.component import component_names; "
        "print(json.dumps([len(list_templates()), component_names()]))"
    )
    count, components = json.loads(run(str(python), "-c", program, cwd=tmp_path))
    assert count == len(list((ROOT / "prompts").glob("*/*.toml")))
    assert {"ease", "dense", "cross_encoder", "rrf", "seen"} <= set(components)
    assets = json.loads(run(str(python), "-m", "llmrec", "assets", "--json", cwd=tmp_path))
    assert {asset["name"] for asset in assets} == {"minilm", "ml-100k", "smollm2"}
