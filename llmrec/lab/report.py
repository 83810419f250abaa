"""A comparison as a page: Markdown with pictures beside it, or one HTML file that holds everything."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from llmrec.errors import ConfigError
from llmrec.evaluate import Evaluation, to_markdown
from llmrec.lab.compare import METRICS, Compared, Judged
from llmrec.lab.words import difference_rows, remarks, score_rows, verdict, verdict_of
from llmrec.lab.write import template_toml

__all__ = ["check_page", "page_html", "page_markdown", "write_page"]

ENDINGS = (".md", ".html")

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: 0.9rem; }
th, td { padding: 0.3rem 0.7rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
pre { background: #f6f6f6; padding: 0.8rem; overflow-x: auto; font-size: 0.85rem; }
img { max-width: 100%; }
.verdict { background: #eef5fb; padding: 0.6rem 0.9rem; border-left: 4px solid #0072b2; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p>{{ about }}</p>
{% if command %}<pre>{{ command }}</pre>{% endif %}
<p class="verdict">{{ verdict }}</p>
{% for part in parts %}
<h2>{{ part.heading }}</h2>
<p>{{ part.card }}</p>
<ul>{% for remark in part.remarks %}<li>{{ remark }}</li>{% endfor %}</ul>
{% for rows in part.tables %}
<table><thead><tr>{% for cell in rows[0] %}<th>{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in rows[1:] %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table>
{% endfor %}
<p class="verdict">{{ part.verdict }}</p>
{% for caption, picture in part.pictures %}
<figure><img alt="{{ caption }}" src="data:image/png;base64,{{ picture }}">
<figcaption>{{ caption }}</figcaption></figure>
{% endfor %}
{% endfor %}
<h2>Templates</h2>
{% for name, about, source in templates %}
<details><summary>{{ name }}: {{ about }}</summary><pre>{{ source }}</pre></details>
{% endfor %}
</body>
</html>
"""


def check_page(path: Path, *, plots: bool) -> None:
    """Check, before minutes of work, that a page can be written.

    Raises:
        ConfigError: its name ends in neither .md nor .html, or its folder is missing.
        MissingExtraError: plots are wanted and matplotlib is not installed.
    """
    if path.suffix not in ENDINGS:
        raise ConfigError(f"--report {path} must end in .md or .html")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError(f"--report {path} must name a file in a folder that exists")
    if plots:
        from llmrec.evaluate.plots import check_plots

        check_plots()


def write_page(path: Path, found: Compared, *, command: str = "", plots: bool = True) -> Path:
    """Write a page; what is there is replaced once the new one is whole.

    Args:
        path: .md, with pictures in a folder beside it, or .html, with everything in it.
        found: the comparison.
        command: how it was made; shown.
        plots: whether to draw.

    Raises:
        ConfigError: the path will not do.
        MissingExtraError: plots are wanted and matplotlib is not installed.
    """
    check_page(path, plots=plots)
    with tempfile.TemporaryDirectory(prefix="llmrec-lab-") as scratch:
        drawn = _draw(Path(scratch), found) if plots else {}
        if path.suffix == ".html":
            text = page_html(found, drawn, command)
        else:
            text = page_markdown(found, _beside(path, drawn), command)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
    return path


def _draw(folder: Path, found: Compared) -> dict[str, list[tuple[str, Path]]]:
    """Captions and files of pictures, by judge."""
    from llmrec.evaluate.plots import write_plots

    drawn = {}
    for judged in found.judged:
        main = [one for one in judged.comparisons if one.metric == METRICS[0]]
        shown = Evaluation(judged.reports, judged.baseline, judged.baseline, tuple(main), ())
        pictures = write_plots(folder, shown, f"{judged.judge}-")
        drawn[judged.judge] = [(caption, folder / name) for caption, name in pictures]
    return drawn


def _beside(path: Path, drawn: Mapping[str, Sequence[tuple[str, Path]]]) -> dict[str, list[tuple[str, str]]]:
    """Put pictures into a folder beside the page; their paths as the page names them."""
    folder = path.with_name(f"{path.stem}-files")
    linked: dict[str, list[tuple[str, str]]] = {}
    for judge, pictures in drawn.items():
        folder.mkdir(exist_ok=True)
        for caption, file in pictures:
            (folder / file.name).write_bytes(file.read_bytes())
            linked.setdefault(judge, []).append((caption, f"{folder.name}/{file.name}"))
    return linked


def page_markdown(found: Compared, pictures: Mapping[str, Sequence[tuple[str, str]]], command: str = "") -> str:
    """Write a comparison as Markdown.

    Args:
        found: the comparison.
        pictures: captions and paths, by judge.
        command: how it was made.
    """
    lines = [f"# {_title(found)}", "", _about(found), ""]
    lines += ["```bash", command, "```", ""] if command else []
    for judged in found.judged:
        lines += [f"## {_heading(judged)}", "", f"{judged.card}", ""]
        lines += [*(f"- {remark}" for remark in remarks(judged)), ""]
        for rows in _tables(judged):
            lines += [to_markdown(rows), ""]
        lines += [f"![{caption}]({file})" for caption, file in pictures.get(judged.judge, ())]
        lines += ["", verdict_of(judged), ""]
    lines += ["## Templates", ""]
    for name, about, source in _sources(found):
        lines += [f"### {name}", "", about, "", "~~~~toml", source.rstrip(), "~~~~", ""]
    return "\n".join([*lines, "## Which is better", "", verdict(found), ""])


def page_html(found: Compared, drawn: Mapping[str, Sequence[tuple[str, Path]]], command: str = "") -> str:
    """Write a comparison as one HTML file; whatever templates say is escaped.

    Args:
        found: the comparison.
        drawn: captions and files of pictures, by judge.
        command: how it was made.
    """
    from jinja2 import Environment, StrictUndefined

    parts = [
        {
            "heading": _heading(judged),
            "card": str(judged.card),
            "remarks": remarks(judged),
            "tables": _tables(judged),
            "verdict": verdict_of(judged),
            "pictures": [
                (caption, base64.b64encode(file.read_bytes()).decode()) for caption, file in drawn.get(judged.judge, ())
            ],
        }
        for judged in found.judged
    ]
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(PAGE).render(
        title=_title(found),
        about=_about(found),
        command=command,
        verdict=verdict(found),
        parts=parts,
        templates=_sources(found),
    )


def _title(found: Compared) -> str:
    return f"Prompt templates on {found.data or found.data_hash[:12]}"


def _about(found: Compared) -> str:
    told = "95% bootstrap intervals over users; paired tests over the same users"
    told += f", p-values corrected for {found.count} comparisons (Holm)" if found.count else ""
    return f"{told}. Data {found.data_hash[:12]}, seed {found.seed}. Validation cases only: the test was not asked."


def _heading(judged: Judged) -> str:
    return judged.judge


def _tables(judged: Judged) -> list[list[tuple[str, ...]]]:
    tables = [score_rows(judged)]
    if judged.comparisons:
        tables += [difference_rows(judged, metric) for metric in METRICS]
    return tables


def _sources(found: Compared) -> list[tuple[str, str, str]]:
    """Name, version with fingerprint, and source of every template."""
    runs = {name: run for judged in found.judged for name, run in judged.runs.items()}
    return [
        (
            name,
            f"{run.template.kind}, version {run.template.version}, {run.template.fingerprint[:12]}",
            template_toml(run.template),
        )
        for name, run in runs.items()
    ]
