"""The image and what is started beside it, as far as that can be seen without a container engine."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
PROMETHEUS = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text(encoding="utf-8"))


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, in order, lines put together and comments left out."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.strip().split(None, 1)) for line in whole.splitlines() if line.strip()]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = [[]]
    for word, rest in instructions():
        if word == "FROM":
            found.append([])
        found[-1].append((word, rest))
    return found


def the_last(word: str) -> str:
    return [rest for name, rest in stages()[-1] if name == word][-1]


def is_sent(path: str) -> bool:
    """Whether a path goes to the builder: the last pattern that fits it, or a folder above, decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        bare = pattern.removeprefix("!")
        above = [path, *map(str, Path(path).parents)]
        names = {bare, bare.removeprefix("**/")}
        if any(re.fullmatch(fnmatch.translate(name), part) for part in above if part != "." for name in names) or (
            bare.startswith("**/") and any(fnmatch.fnmatch(part, bare[3:]) for part in Path(path).parts)
        ):
            sent = pattern.startswith("!")
    return sent


def copied() -> list[str]:
    """What the Dockerfile copies out of the repository."""
    found = []
    for word, rest in instructions():
        words = [part for part in rest.split() if not part.startswith("--")]
        if word == "COPY" and "--from=" not in rest:
            found += words[:-1]
    return found


def test_everything_that_is_copied_is_there_and_is_sent():
    assert set(copied()) >= {"llmrec", "prompts", "pyproject.toml", "constraints.txt"}
    for source in copied():
        assert (ROOT / source).exists(), source
        assert is_sent(source), source
    assert is_sent("llmrec/serve/config.py")
    assert is_sent("prompts/item/title.toml")


@pytest.mark.parametrize(
    "path",
    [
        ".git/config", ".venv/bin/python", "bundles/shop/manifest.json", "runs/quality/a.json", "docs/index.md",
        "llmrec-store.sqlite", "tests/conftest.py", "service.log", "llmrec/__pycache__/a.cpython-311.pyc",
        "deploy/secrets/metrics_key", "llmrec/serve/__pycache__/a.pyc", ".env", "compose.yaml",
    ],
)  # fmt: skip
def test_nothing_else_is_sent(path):
    assert not is_sent(path)


def test_secrets_are_not_committed():
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_the_wheel_needs_nothing_that_is_not_copied():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        *wheel["packages"],
        *wheel["force-include"],
        project["project"]["readme"],
        *project["project"]["license-files"],
    }
    assert needed <= set(copied())
    extras = re.search(r'"\.\[([\w,]+)\]"', DOCKERFILE).group(1).split(",")
    assert set(extras) <= set(project["project"]["optional-dependencies"])


def test_the_image_is_small_and_its_user_is_nobody():
    assert len(stages()) == 3  # what stands before the first stage, and two of them
    assert all(rest.split()[0].endswith("-slim") for word, rest in instructions() if word == "FROM")
    user = the_last("USER").split(":")
    assert all(part.isdigit() and int(part) >= 1_000 for part in user)
    last = [word for word, _ in stages()[-1]]
    assert last.index("USER") > max(place for place, word in enumerate(last) if word == "RUN")  # root is needed no more
    assert "pip install" not in " ".join(rest for _, rest in stages()[-1])
    assert {word for word, _ in instructions()} <= {
        "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN", "STOPSIGNAL", "USER",
        "VOLUME", "WORKDIR",
    }  # fmt: skip
    for word, rest in instructions():
        if word in ("CMD", "ENTRYPOINT", "VOLUME"):
            assert isinstance(json.loads(rest), list)  # without a shell between, signals arrive
        assert "ADD" not in word
        assert not re.search(r"(?i)(password|secret|token)\s*=", rest)


def test_no_host_is_named_and_versions_are():
    hosts = re.findall(r"https?://([\w.-]+)", DOCKERFILE + (ROOT / "compose.yaml").read_text(encoding="utf-8"))
    assert set(hosts) <= {"127.0.0.1"}
    for name, service in COMPOSE["services"].items():
        image = service["image"]
        assert re.fullmatch(r"[\w./-]+:[\w.-]+", image), name
        assert not image.endswith(":latest")
        assert "." not in image.split("/")[0].split(":")[0]
    assert all("--constraint constraints.txt" in rest for word, rest in instructions() if "pip install" in rest)


def test_the_index_of_torch_is_an_argument():
    """What the shell makes of it, empty and filled."""
    command = next(rest for word, rest in instructions() if word == "RUN" and rest.endswith(" torch"))
    command = command.replace("/opt/llmrec/bin/pip", "echo")
    for url, expected in (("", []), ("URL", ["--extra-index-url", "URL"])):
        done = subprocess.run(
            ["sh", "-euc", command],
            check=True,
            env={"TORCH_INDEX": url, "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
        )
        assert shlex.split(done.stdout) == ["install", "--constraint", "constraints.txt", *expected, "torch"]
    assert COMPOSE["services"]["llmrec"]["build"]["args"]["TORCH_INDEX"] == "${TORCH_INDEX:-}"


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_asks_whether_it_is_ready(status, code):
    asked = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        words = json.loads(the_last("HEALTHCHECK").partition("CMD ")[2])
        assert words[0] == "python"
        check = words[2].replace(":8080", f":{server.server_port}")
        done = subprocess.run([sys.executable, "-c", check], capture_output=True, check=False, timeout=60)
    finally:
        server.shutdown()
        server.server_close()
    assert (done.returncode, asked) == (code, ["/readyz"])
    port = re.search(r"127\.0\.0\.1:(\d+)", words[2]).group(1)
    assert the_last("EXPOSE") == port
    assert port in json.loads(the_last("CMD"))


def test_the_entrypoint_takes_the_password_from_a_file(tmp_path):
    program = tmp_path / "llmrec"
    program.write_text('#!/bin/sh\necho "${PGPASSWORD-none}|$*"\n')
    program.chmod(0o755)
    (tmp_path / "password").write_text("a b$c\n")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [str(ROOT / "deploy" / "entrypoint"), "key", "add", "a b"]
    assert os.access(command[0], os.X_OK)

    def says(**more):
        done = subprocess.run(command, env=environment | more, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    assert says() == (0, "none|key add a b\n")
    assert says(LLMREC_STORE_PASSWORD_FILE=str(tmp_path / "password")) == (0, "a b$c|key add a b\n")
    assert says(LLMREC_STORE_PASSWORD_FILE=str(tmp_path / "nothing"))[0] != 0
    assert (
        COMPOSE["services"]["llmrec"]["environment"]["LLMREC_STORE_PASSWORD_FILE"] == "/run/secrets/database_password"
    )
    entrypoint = json.loads(the_last("ENTRYPOINT"))[0]
    assert f"deploy/entrypoint /usr/local/bin/{entrypoint}" in DOCKERFILE


def test_the_command_of_the_image_is_one():
    import typer

    from llmrec.cli.app import app

    words = json.loads(the_last("CMD"))
    command = typer.main.get_command(app).commands[words[0]]
    command.make_context("llmrec", words[1:])


def test_compose_names_only_what_there_is():
    for service in COMPOSE["services"].values():
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        assert set(service.get("depends_on", ())) <= set(COMPOSE["services"])
        for volume in service["volumes"]:
            source = re.sub(r"^\$\{\w+:-(.*?)\}", r"\1", volume).split(":")[0]
            if not source.startswith("."):
                assert source in COMPOSE["volumes"], source
            elif source != "./bundles":  # the reader's own
                assert (ROOT / source).is_file(), source
    assert all(found["file"].startswith("./deploy/secrets/") for found in COMPOSE["secrets"].values())
    written = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    assert not re.search(r"(?i)password: (?!/run/secrets/)\S", written)
    store = COMPOSE["services"]["llmrec"]["environment"]["LLMREC_STORE"]
    assert re.fullmatch(r"postgresql://(\w+)@(\w+)/(\w+)", store).groups() == ("llmrec", "database", "llmrec")
    mounted = {volume.rsplit(":", 1)[1] for volume in COMPOSE["services"]["llmrec"]["volumes"]}
    assert mounted == set(json.loads(the_last("VOLUME")))


def test_nothing_listens_beyond_this_machine_and_the_database_nowhere():
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert "no-new-privileges:true" in service["security_opt"]
    database = COMPOSE["services"]["database"]
    assert "ports" not in database
    assert [COMPOSE["networks"][name] for name in database["networks"]] == [{"internal": True}]
    assert COMPOSE["services"]["llmrec"]["read_only"] is True
    assert COMPOSE["services"]["llmrec"]["cap_drop"] == ["ALL"]


def test_it_is_given_time_to_answer_what_it_accepted():
    from llmrec.serve.config import EngineConfig

    assert int(COMPOSE["services"]["llmrec"]["stop_grace_period"].removesuffix("s")) > EngineConfig().drain_s


def test_prometheus_asks_the_service_with_a_key_from_a_file():
    (job,) = PROMETHEUS["scrape_configs"]
    host, _, port = job["static_configs"][0]["targets"][0].partition(":")
    assert host in COMPOSE["services"]
    assert port == the_last("EXPOSE")
    assert job["authorization"]["credentials_file"].removeprefix("/run/secrets/") in COMPOSE["secrets"]
    assert job["metrics_path"] == "/metrics"
    mounts = COMPOSE["services"]["prometheus"]["volumes"]
    assert all(any(f"/etc/prometheus/{name}:ro" in mount for mount in mounts) for name in PROMETHEUS["rule_files"])


def test_alerts_ask_for_numbers_that_there_are():
    from prometheus_client import CollectorRegistry

    from llmrec.serve.http.drain import Door
    from llmrec.serve.http.gauges import StatusGauges
    from llmrec.serve.http.metrics import HttpMetrics, exposition
    from llmrec.serve.views import AliasView, DriftView, EngineView, Readiness, Status

    alias = AliasView("default", "b", 1, 0.0, 0.0, 1, 1, ("s",), ())
    engine = EngineView(0, 0, 1, 0, 0, 0, 0, 0, {"p50": 1.0}, {"s": 1.0})
    drift = DriftView("wishes", {"no": 1.0}, {"no": 1.0}, 0.0)
    status = Status(Readiness(True), 0.0, (alias,), engine, 0, True, 0, (), {"default": 0.5}, (drift,))
    metrics = HttpMetrics(Door())
    metrics.count("/v1/search", "POST", 200, 0.1)
    assert CollectorRegistry  # the extra "serve" is there
    text = exposition(metrics, StatusGauges(status, 0.0, False)).decode()
    known = {re.split(r"[{ ]", line)[0] for line in text.splitlines() if not line.startswith("#")} | {"up"}
    rules = ALERTS["groups"][0]["rules"]
    for rule in rules:
        used = set(re.findall(r"\b(llmrec_\w+|up)\b", rule["expr"]))
        assert used, rule["alert"]
        assert used <= known, used - known
        assert rule["annotations"]["summary"].endswith(".")
    guide = (ROOT / "docs" / "guides" / "operating.md").read_text(encoding="utf-8")
    assert not [rule["alert"] for rule in rules if f"`{rule['alert']}`" not in guide]


@pytest.mark.skipif(shutil.which("docker") is None, reason="needs Docker's command line (Debian package docker-cli)")
def test_compose_is_understood():
    done = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False, timeout=60)
    if done.returncode:
        pytest.skip("needs the plugin compose of Docker's command line (Debian package docker-compose)")
    done = subprocess.run(
        ["docker", "compose", "config", "--quiet"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
