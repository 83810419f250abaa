"""llmrec serve and llmrec key: settings from file and options, keys, and help that loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llmrec.cli.serve import read_config
from llmrec.errors import ConfigError


def test_options_win_over_the_file(tmp_path):
    file = tmp_path / "serve.toml"
    file.write_text(
        'store = "kept/store.sqlite"\nport = 9000\npage = false\n'
        '[bundles]\ndefault = "shop"\nnew = "/elsewhere/new"\n[limits]\nk = 7\n'
    )
    config = read_config(file, Path("mine"), ["more=bundles/more"], {"port": 1})
    assert config.bundles == {
        "default": Path("mine"),
        "new": Path("/elsewhere/new"),
        "more": Path("bundles/more"),
    }
    assert (config.port, config.page, config.limits.k) == (1, False, 7)
    assert config.store == str(tmp_path / "kept" / "store.sqlite")
    assert read_config(file, None, [], {}).bundles["default"] == tmp_path / "shop"


def test_urls_of_a_file_stay_as_they_are(tmp_path):
    file = tmp_path / "serve.toml"
    file.write_text('store = "postgresql://me@db/shop"\n[bundles]\ndefault = "shop"\n')
    assert read_config(file, None, [], {}).store == "postgresql://me@db/shop"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1\n", "did you mean 'port'"),
        ("port = 'x'\n", "port"),
        ("[bundles]\na = 1\n", "bundles"),
        ("[", "cannot be read|cannot read"),
        ("[limits]\nk = 0\n", "limits.k"),
    ],
)
def test_a_wrong_file_is_told(tmp_path, text, said):
    file = tmp_path / "serve.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_config(file, Path("shop"), [], {})


def test_there_must_be_a_default():
    with pytest.raises(ConfigError, match="llmrec serve BUNDLE"):
        read_config(None, None, ["a=b"], {})
    with pytest.raises(ConfigError, match="NAME=BUNDLE"):
        read_config(None, Path("b"), ["a"], {})


def test_keys_are_made_listed_and_revoked(run, tmp_path):
    store = ("--store", tmp_path / "keys.sqlite")
    made = run("key", "add", "shop", "--scope", "feedback", "--per-minute", "60", *store)
    secret = made.out.strip()
    assert (made.code, secret.startswith("llmrec_"), secret in made.err) == (0, True, False)
    admin = run("key", "add", "me", "--scope", "read", "--scope", "admin", *store, "--json").json
    assert (admin["scopes"], admin["secret"].startswith("llmrec_")) == (["read", "admin"], True)
    plain = run("key", "list", *store)
    assert "shop" in plain.out
    assert secret not in plain.out
    first = run("key", "list", *store, "--json").json[0]
    assert (first["name"], first["scopes"], first["per_minute"], first["revoked"]) == ("shop", ["feedback"], 60, False)
    assert run("key", "revoke", first["id"], *store, "--json").json["revoked"]
    assert run("key", "revoke", "nothing", *store).code == 1
    assert "revoked" in run("key", "list", *store).out


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from llmrec.cli import main\n"
        "for words in (['serve', '--help'], ['key', 'add', '--help']):\n"
        "    try: main(words)\n"
        "    except SystemExit: pass\n"
        "heavy = {'torch', 'fastapi', 'sqlalchemy', 'uvicorn', 'llmrec.pipeline'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_a_strange_address_is_told_before_anything_is_loaded(run, tmp_path):
    result = run("serve", tmp_path / "nothing", "--host", "999.1.1.1", "--port", "0", "--store", tmp_path / "s.sqlite")
    assert result.code == 2
    assert "999.1.1.1" in result.err
