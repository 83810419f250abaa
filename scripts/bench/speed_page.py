"""The page on speed, from what the benchmarks print with --json.

    python scripts/bench/speed_page.py docs/benchmarks

In the folder: `speed-NAME.json` of speed.py, `throughput-NAME.json` of throughput.py and `startup.json` of startup.py;
what is not there is left out. Writes `speed.md`, and a picture of the ratios where matplotlib is installed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import startup
import throughput
from _speed_table import as_markdown

HEAD = """\
# Speed and memory, measured

Written by `python scripts/bench/speed_page.py docs/benchmarks` from the JSON files beside this page. The machine has
two cores and other tenants, so ratios of one run are what counts, with their range over rounds. How catalogs grow to a
million items is on [a page of its own](growth.md).
"""

PIPELINE = "The bundle's pipeline is `scripts/bench/configs/{}.toml`.\n"


def main() -> None:
    """Read, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    lines, ratios = [HEAD], {}
    for path in sorted(folder.glob("speed-*.json")):
        found, name = _read(path), path.stem.removeprefix("speed-")
        ratios[name] = {part: found[part]["ratio"] for part in found["ratios"]}
        lines += [f"## Against the plain pipeline: {name}\n", _command("speed.py", name), as_markdown(found), ""]
    if ratios and find_spec("matplotlib"):
        _draw(folder / "speed.png", ratios)
        lines += ["![times as fast as the plain pipeline](speed.png)", ""]
    for path in sorted(folder.glob("throughput-*.json")):
        name = path.stem.removeprefix("throughput-")
        lines += [f"## Lists for all users: {name}\n", _command("throughput.py", "BUNDLE"), PIPELINE.format(name)]
        lines += [throughput.as_table(_read(path)), ""]
    if (folder / "startup.json").exists():
        lines += ["## From the start of a process to the first answer\n", _command("startup.py", "BUNDLE ...")]
        lines += [startup.as_markdown(_read(folder / "startup.json")), ""]
    (folder / "speed.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _command(script: str, rest: str) -> str:
    data = " --data FOLDER" if rest == "games" else ""
    return f"`python scripts/bench/{script} {rest}{data} --json`\n"


def _draw(path: Path, ratios: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """Bars with the range of rounds."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    width = 0.8 / len(ratios)
    for place, (name, parts) in enumerate(ratios.items()):
        middles = [part["median"] for part in parts.values()]
        below = [part["median"] - part["least"] for part in parts.values()]
        above = [part["most"] - part["median"] for part in parts.values()]
        spots = [number + place * width for number in range(len(parts))]
        axes.bar(spots, middles, width, yerr=[below, above], capsize=3, label=name)
        axes.set_xticks([spot - place * width / 2 for spot in spots], list(parts))
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_ylabel("times as fast")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
