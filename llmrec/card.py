"""The model card of a bundle: README.md for people, with the metadata the Hugging Face Hub reads at its top.

The card is made of what the bundle holds, so it says nothing that was not saved: counts, data hashes, configuration,
templates with their fingerprints, models with their licences, and these notes of `Recommender.with_notes`:

    metrics   name -> Report.to_dict() of llmrec.evaluate: protocol and metrics with intervals
    cleaning  CleaningReport.to_dict() of llmrec.data, or any mapping
    license   of the whole, as the Hub writes it ("apache-2.0"); its publisher's choice, "other" until it is made

It lies beside the verified files of a bundle and is not one of them: it may be edited, here or on the Hub.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmrec.assets import ASSETS
from llmrec.bundle import read_bundle, replace_structure, sha256_of
from llmrec.text import Template
from llmrec.types import State

__all__ = ["annotate", "model_card"]

_NOTES = ("metrics", "cleaning", "license")
_HEAD = re.compile(r"---\s*?\n(.*?\n)---", re.DOTALL)
_LICENSE = re.compile(r"^license:\s*(?:-\s*)?([^\s#]+)", re.MULTILINE)
_TEMPLATE_KEYS = {"kind", "version", "description", "parts"}

_USE = """## Use

```python
import llmrec

recommender = llmrec.load("PATH")  # a folder; from the Hub: huggingface_hub.snapshot_download("OWNER/NAME")
lists = recommender.recommend(recommender.queries(histories=[["ITEM_ID"]]), k=10)
print(recommender.decode(lists))
```

Every file but this one is verified against `manifest.json` when the bundle is opened; nothing in it is a pickle."""

_LIMITS = """## Limits

- It ranks the items of its own catalog, and knows others only after `add_items`.
- Users are known by their histories, wishes and profiles; a query without any of these gets one list for all.
- Scores order one list; they are not probabilities, and scores of two lists cannot be compared.
- What it learned from a log repeats that log's habits: popular items, and whoever wrote most of it, weigh more.
- Metrics hold for the data and protocol they were measured with, before any item was added, changed or removed."""


def model_card(structure: Mapping[str, Any], parts: Mapping[str, State]) -> str:
    """Write the card of a bundle.

    Args:
        structure: as saved: stages, components, counts, about.
        parts: the state of each part.

    Returns:
        Markdown with a YAML head.
    """
    about = structure.get("about", {})
    sections = [
        _head(about),
        "# A recommender made with llmrec",
        _summary(structure, parts),
        _USE,
        _metrics(about.get("metrics", {})),
        _data({**structure.get("counts", {}), **_stored(parts)}, about),
        _models(parts),
        _templates(parts),
        _configuration(about),
        _LIMITS,
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def annotate(path: Path, notes: Mapping[str, Any]) -> None:
    """Add notes to a saved bundle and write its card anew, without loading a model.

    Args:
        path: the bundle.
        notes: JSON values, as for `Recommender.with_notes`; a note of the same name is replaced.

    Raises:
        BundleError: the bundle is missing, damaged, or cannot be written.
    """
    structure, parts = read_bundle(path)
    structure = {**structure, "about": {**structure.get("about", {}), **notes}}
    replace_structure(path, structure, model_card(structure, parts))


def _head(about: Mapping[str, Any]) -> str:
    from huggingface_hub import ModelCardData

    tags = ["llmrec", "recommender-system", "retrieval", "reranking"]
    data = ModelCardData(license=about.get("license", "other"), library_name="llmrec", tags=tags)
    return f"---\n{data.to_yaml().strip()}\n---"


def _summary(structure: Mapping[str, Any], parts: Mapping[str, State]) -> str:
    kinds = structure.get("components", {})

    def named(name: str) -> str:
        return f"`{name}`" if kinds.get(name, name) == name else f"`{name}` ({kinds[name]})"

    lines = ["A cascade of retrievers, scorers and fusions over one catalog:", ""]
    for place, stage in enumerate(structure.get("stages", ()), start=1):
        sources = [f"{named(name)} (depth {depth})" for name, depth in stage["retrievers"]]
        sources += [named(name) for name in stage["scorers"]]
        fusion = parts.get(f"components/{stage['fusion']}", State()).config
        known = ", ".join(f"{name} {weight:g}" for name, weight in (fusion.get("weights") or {}).items())
        known = fusion.get("summary") or (f"weights {known}" if known else "")
        fused = f"fused by {named(stage['fusion'])}{f' with {known}' if known else ''}"
        listed = ", ".join(sources) or "no source"
        lines.append(f"{place}. **{stage['name']}**: {listed}; {fused}; the best {stage['keep']} go on.")
    policies = ", ".join(named(name) for name in structure.get("policies", ()))
    fallback = named(structure["fallback"]) if "fallback" in structure else "none"
    return "\n".join([*lines, "", f"Policies: {policies or 'none'}. Lists that stay short are filled by {fallback}."])


def _metrics(found: Mapping[str, Any]) -> str:
    if not found:
        return "## Metrics\n\nNone were stored with this bundle."
    rows = []
    protocols = []
    for name, report in found.items():
        protocol = {k: v for k, v in report.get("protocol", {}).items() if v not in ("", None, {})}
        protocols.append(f"- {name}: " + "; ".join(f"{key} {_short(value)}" for key, value in protocol.items()))
        for metric, interval in report["metrics"].items():
            rows.append((name, metric, *(f"{interval[end]:.4f}" for end in ("mean", "low", "high"))))
        rows += [(name, metric, f"{value:.4f}", "", "") for metric, value in report.get("totals", {}).items()]
    table = _table(("case", "metric", "mean", "95% low", "95% high"), rows)
    return "\n\n".join(["## Metrics", table, "Protocol (every item of the catalog is ranked):", "\n".join(protocols)])


def _stored(parts: Mapping[str, State]) -> dict[str, str]:
    return {f"stored {name}": "yes" if name in parts else "no" for name in ("histories", "users")}


def _data(counts: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    rows = [(name, f"{count:,}" if isinstance(count, int) else count) for name, count in counts.items()]
    rows += [(f"sha256 of the {name} it was fitted on", _short(value)) for name, value in about.get("data", {}).items()]
    rows += [("held out when it was fitted", about["holdout"])] if "holdout" in about else []
    lines = ["## Data", _table(("what", "value"), rows)]
    if cleaning := about.get("cleaning"):
        lines += ["Cleaning report:", _code(cleaning)]
    return "\n\n".join(lines)


def _models(parts: Mapping[str, State]) -> str:
    """The models inside: their kind, and their licence where it is known."""
    rows = []
    for name, state in parts.items():
        for folder, config in _model_folders(state):
            settings = json.loads(config.read_text(encoding="utf-8"))
            kind = ", ".join(settings.get("architectures") or [settings.get("model_type", "")])
            rows.append((f"`parts/{name}/files/{folder}`", kind, _licence(state, folder)))
    if not rows:
        return ""
    plain = "Text encoders open with `SentenceTransformer(folder)`, cross-encoders with `CrossEncoder(folder)`."
    return "\n\n".join(["## Models inside", _table(("folder", "architecture", "licence"), rows), plain])


def _model_folders(state: State) -> Iterator[tuple[str, Path]]:
    """Folders among a part's files that hold weights, with their config.json."""
    for name, path in state.files.items():
        folder, _, file = name.rpartition("/")
        if file == "config.json" and any(
            n.startswith(f"{folder}/") and n.endswith(".safetensors") for n in state.files
        ):
            yield folder, path


def _licence(state: State, folder: str) -> str:
    """What the model's own card says, or what is known of weights with these bytes."""
    if card := state.files.get(f"{folder}/README.md"):
        head = _HEAD.match(card.read_text(encoding="utf-8", errors="replace"))
        if head and (stated := _LICENSE.search(head[1])):
            return stated[1]
    weights = state.files.get(f"{folder}/model.safetensors")
    known = {asset.files.get("model.safetensors"): asset for asset in ASSETS.values() if asset.kind == "model"}
    digest = "" if weights is None else sha256_of(weights)
    return known[digest].license if digest in known else "not stated; see where the weights came from"


def _templates(parts: Mapping[str, State]) -> str:
    found = {}
    for name, state in parts.items():
        for values in _mappings(state.config):
            if values.keys() >= _TEMPLATE_KEYS:
                template = Template.from_dict(values)
                found[name, template.name] = (
                    f"`{name.removeprefix('components/')}`",
                    f"`{template.name}`",
                    str(template.version),
                    f"`{template.fingerprint}`",
                )
    if not found:
        return ""
    return "\n\n".join(
        ["## Templates", _table(("component", "template", "version", "fingerprint"), list(found.values()))]
    )


def _configuration(about: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in about.items() if key not in ("data", *_NOTES)}
    return "\n\n".join(["## Configuration", _code(rest)]) if rest else ""


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    """All mappings within JSON values."""
    if isinstance(value, Mapping):
        yield value
        for part in value.values():
            yield from _mappings(part)


def _short(value: Any) -> str:
    return f"`{value}`" if isinstance(value, str) and len(value) == 64 else str(value)


def _code(value: Any) -> str:
    return f"```json\n{json.dumps(value, ensure_ascii=False, indent=1)}\n```"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(str(text).replace("|", "\\|").split())
