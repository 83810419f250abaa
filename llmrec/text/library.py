"""Templates that come with the library, and templates in files of your own."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path

from llmrec.errors import TemplateError
from llmrec.text.template import Template

__all__ = ["list_templates", "load_template"]


def load_template(name_or_path: str) -> Template:
    """Load a template by name, such as "item/title", or from a .toml file.

    A template from a file is named after its kind and the file: "user/mine" for `mine.toml`.

    Raises:
        TemplateError: there is no such template, or it is not valid.
    """
    if name_or_path.endswith(".toml"):
        return _read(Path(name_or_path))
    known = _names()
    if name_or_path not in known:
        near = difflib.get_close_matches(name_or_path, known, n=1, cutoff=0.0)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise TemplateError(
            f"no template is called {name_or_path!r}{hint} Known are: {', '.join(known)}; "
            "a template of your own is given by its path, ending in .toml"
        )
    return _read(_folder() / f"{name_or_path}.toml", name_or_path)


def list_templates() -> list[Template]:
    """All templates that come with the library, by name."""
    return [load_template(name) for name in _names()]


def _names() -> list[str]:
    folder = _folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.toml"))


def _folder() -> Path:
    """`llmrec/prompts` in an installed wheel, `prompts` beside the package in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "prompts", package.parent / "prompts"):
        if folder.is_dir():
            return folder
    raise TemplateError(f"the prompts folder is missing from {package}; install llmrec again")


def _read(path: Path, name: str | None = None) -> Template:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TemplateError(f"template file {path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TemplateError(f"template file {path} is not valid TOML: {error}") from error
    return Template.from_dict(data, name or f"{data.get('kind', 'template')}/{path.stem}")
