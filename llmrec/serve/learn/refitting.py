"""A refit: the bundle's own configuration, fitted on its log and all that happened since, if it is not surely worse."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.build import fit
from llmrec.bundle import MANIFEST, check_outside
from llmrec.component import silent
from llmrec.config import Config
from llmrec.errors import BundleError, ConfigError
from llmrec.evaluate import PairedResult
from llmrec.opening import load
from llmrec.pipeline import Recommender
from llmrec.serve.config import LearnConfig
from llmrec.serve.learn._material import LOG_HOLDOUT, Material, gathered, pipeline_of, told_of
from llmrec.serve.learn.gate import LEAST, METRIC, Gate, judged, newest
from llmrec.serve.learn.increment import STORED
from llmrec.serve.live import bundle_version
from llmrec.serve.records import Deployment

if TYPE_CHECKING:
    from llmrec.serve.store import Store

__all__ = ["Refitted", "deploy", "refit"]


@dataclass(frozen=True, slots=True)
class Refitted:
    """What became of a refit.

    Attributes:
        passed: whether the gate let it through.
        reason: what the gate found, in a sentence.
        old: mean NDCG@10 of the bundle on the newest events; None: there were too few of them to tell.
        new: of the refit, fitted without them; None: too few.
        difference: new - old over the same users; None: too few.
        path: the new bundle's folder; None: none was written.
        n: users whose next item was asked for at the gate.
        bundle: the new bundle's version; empty: none was written.
        forced: whether it was written although the gate did not let it through.
        events: positive events since the old bundle.
        store_seq: the newest event that was read.
        held_out: what the log lacks because the bundle, or the first one in a row of refits, was fitted with
            `--holdout`: "last" and so on; "none": nothing.
        items_left_out: stored items that do not fit the bundle's catalog.
        profiles_left_out: stored profiles of which a field does not fit the bundle's; the field stays as it was.
    """

    passed: bool
    reason: str
    old: float | None
    new: float | None
    difference: PairedResult | None
    path: Path | None
    n: int
    bundle: str
    forced: bool
    events: int
    store_seq: int
    held_out: str
    items_left_out: int
    profiles_left_out: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "metric": METRIC, "path": None if self.path is None else str(self.path)}


def refit(
    bundle: Path,
    store: Store,
    out: Path,
    *,
    config: LearnConfig | None = None,
    progress: Callable[[str], None] = silent,
    force: bool = False,
    work: Path | None = None,
) -> Refitted:
    """Fit a bundle's configuration again: on its log and the store's events since, over the catalog as it is now.

    Users who were erased since are in neither. First the gate: the bundle as it is, and a refit without the newest
    fifth of the events, are asked for what came in these; where the refit is surely worse, nothing is written. With
    too few new events to tell, it passes, and says so. Then everything is fitted, and saved in one step: whoever is
    killed leaves the old bundle, or the whole new one.

    Of a bundle that was fitted with `--holdout` the log lacks what was held out, so the refit does not know it either;
    it holds out nothing itself, and cannot be measured on such a split. The result and the new bundle's notes say so.

    Args:
        bundle: the old bundle.
        store: what happened since.
        out: the new bundle's folder; it may be the old one.
        config: which kinds of events count, and how much; the defaults if None.
        progress: told what is going on, in a few words.
        force: write the new bundle whatever the gate says.
        work: see `llmrec.build.fit`.

    Raises:
        ConfigError: the bundle does not hold what a refit needs, its configuration or its histories.
        DataError: nothing is left to learn from.
        Unavailable: the store does not answer.
        BundleError: the old bundle cannot be opened, or the new one not be written.
    """
    check_outside(out)
    if out.exists() and not (out / MANIFEST).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise BundleError(f"{out} exists and is not a bundle; choose another path or remove it first")
    progress(f"opening {bundle}")
    opened = load(bundle)
    pipeline = pipeline_of(opened)
    progress("reading what happened since")
    material = gathered(opened, store, config or LearnConfig())
    progress(f"{len(material.events):,} events since, {len(material.users):,} users, {len(material.catalog):,} items")
    for message in told_of(material):
        progress(message)
    gate = _gate(material, pipeline, work, progress)
    progress(gate.reason)
    if not gate.passed and not force:
        return _refitted(gate, material, None)
    return _refitted(gate, material, _final(material, pipeline, gate, (bundle, out, work), store, progress))


def deploy(store: Store, refitted: Refitted, alias: str, now: float | None = None) -> Deployment:
    """Let an alias stand for a refit, from the next (re)load of the service on.

    Args:
        store: where that is noted.
        refitted: must have been written.
        alias: the name that clients know.
        now: seconds since the epoch; None: as the clock says.

    Raises:
        ConfigError: the refit was not written.
    """
    if refitted.path is None:
        raise ConfigError("the gate did not let the refit through, so there is nothing to deploy")
    when = time.time() if now is None else now
    return store.add_deployment(alias, str(refitted.path), refitted.bundle, now=when, why="refit")


def _gate(material: Material, pipeline: Config, work: Path | None, progress: Callable[[str], None]) -> Gate:
    asked = newest(material)
    if asked is None:
        reason = f"too few new events to tell whether the refit is better: fewer than {LEAST} users can be asked for"
        return Gate(True, reason, 0)
    progress("fitting without the newest events")
    fitted = fit(pipeline, material.catalog, asked.train, users=material.profiles, work=work, progress=progress)
    return judged(material, asked, fitted, progress)


def _final(
    material: Material,
    pipeline: Config,
    gate: Gate,
    places: tuple[Path, Path, Path | None],
    store: Store,
    progress: Callable[[str], None],
) -> Path:
    bundle, out, work = places
    progress("fitting on everything")
    log = material.log()
    fitted: Recommender = fit(pipeline, material.catalog, log, users=material.profiles, work=work, progress=progress)
    kept = {name: note for name, note in (material.old.about or {}).items() if name == "license"}
    notes: dict[str, Any] = {
        **kept,
        STORED: material.until,
        "item_seq": material.item_seq,
        "refit_of": bundle_version(bundle),
        "gate": gate.to_dict(),
        **({} if material.held_out == "none" else {LOG_HOLDOUT: material.held_out}),
    }
    progress("saving the bundle")
    path = fitted.with_notes(**notes).save(out)
    people = () if material.profiles is None else material.profiles.users
    store.note_models(bundle_version(path), dict.fromkeys((*log.users, *people)))
    return path


def _refitted(gate: Gate, material: Material, path: Path | None) -> Refitted:
    return Refitted(
        passed=gate.passed,
        reason=gate.reason,
        old=gate.old,
        new=gate.new,
        difference=gate.difference,
        path=path,
        n=gate.n,
        bundle="" if path is None else bundle_version(path),
        forced=path is not None and not gate.passed,
        events=len(material.events),
        store_seq=material.until,
        held_out=material.held_out,
        items_left_out=material.items_left_out,
        profiles_left_out=material.profiles_left_out,
    )
