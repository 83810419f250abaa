"""How often experiments raise false alarms when one looks after every list, and what they find when there is something.

Made-up people come back unevenly often, click with chances of their own, and are divided by the hash that the service
uses. In an A/A experiment both variants are the same, and an alarm at any of the looks is false:

- `returning`: people keep their inclination to click. `once`: everybody comes once. `tiring`: nobody clicks more than
  three times in all, which is outside of what the theory covers (`llmrec/serve/experiments/sequential.py`).
- `comparison`: clicks or conversions were claimed to differ (Holm over both). `sample_ratio`: people were said to be
  divided otherwise. `preference`: one side of interleaved lists was said to win. `single_look`: what an ordinary 5%
  test of clicks by person does when it is looked at after every list.

Then `power`: of experiments in which the second variant has half as many clicks again, or loses a tenth of its people:
the share in which that was found, the median lists until then, and how often the true difference was in all intervals.

Run: python scripts/bench/aa_experiments.py [--runs 1000] [--lists 10000] [--people 1500] [--seed 0]
Prints JSON.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass

import numpy as np

from llmrec.serve.experiments.assign import variant_of
from llmrec.serve.experiments.interleave import team_draft
from llmrec.serve.experiments.moments import Moments
from llmrec.serve.experiments.report import LEVEL
from llmrec.serve.experiments.sample_ratio import ALARM, sample_ratio_p
from llmrec.serve.experiments.sequential import difference, share

RATE, BOUGHT, K, LIFT, LOST = 0.1, 0.3, 10, 1.5, 0.1
HALVES = {"a": 0.5, "b": 0.5}


@dataclass(frozen=True)
class World:
    """Lists in the order they were shown: whose, with which variant, and what became of them."""

    people: np.ndarray
    second: np.ndarray
    clicks: np.ndarray
    conversions: np.ndarray


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--lists", type=int, default=10_000)
    parser.add_argument("--people", type=int, default=1_500)
    parser.add_argument("--seed", type=int, default=0)
    print(json.dumps(measure(**vars(parser.parse_args())), indent=1))


def measure(runs: int, lists: int, people: int, seed: int) -> dict[str, object]:
    """All of it."""
    found: dict[str, object] = {"runs": runs, "lists": lists, "people": people, "seed": seed}
    sources = drafts(np.random.default_rng(seed))
    for kind in ("returning", "once", "tiring"):
        rows = []
        for run in range(runs):
            rng = np.random.default_rng([seed, run])
            rows.append(alarms(world(rng, kind, lists, people), sources, rng))
        found[kind] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    found["power"] = power(runs, lists, people, seed)
    return found


def world(rng: np.random.Generator, kind: str, lists: int, people: int, lift: float = 1.0, lost: float = 0.0) -> World:
    """Make people up, and show them lists.

    Args:
        rng: where chance comes from.
        kind: "returning", "once" or "tiring".
        lists: how many.
        people: how many there are to draw from, unless they come once.
        lift: how many times as often people click on lists of the second variant.
        lost: share of the second variant's people whose lists are never recorded.
    """
    people = lists if kind == "once" else people
    often = rng.pareto(1.5, people) + 0.1
    who = np.arange(lists) if kind == "once" else rng.choice(people, lists, p=often / often.sum())
    salt = str(rng.integers(2**60))
    second = np.array([variant_of(HALVES, salt, f"u{person}") == "b" for person in range(people)])
    gone = second & (rng.random(people) < lost)
    who = who[~gone[who]]
    chance = rng.beta(RATE * 10, (1 - RATE) * 10, people) * np.where(second, lift, 1.0)
    clicks = (rng.random(len(who)) < np.minimum(chance, 1.0)[who]).astype(float)
    if kind == "tiring":
        clicks[before(who, clicks)[1] >= 3] = 0.0
    return World(who, second[who], clicks, clicks * (rng.random(len(who)) < BOUGHT))


def before(who: np.ndarray, hits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Float64[n], Float64[n]: lists and hits that the same person had before each list."""
    order = np.argsort(who, kind="stable")
    sums = np.cumsum(hits[order]) - hits[order]
    first = np.concatenate(([True], np.diff(who[order]) != 0))
    start = np.maximum.accumulate(np.where(first, np.arange(len(who)), 0))
    tries, had = np.empty(len(who)), np.empty(len(who))
    tries[order], had[order] = np.arange(len(who)) - start, sums - sums[start]
    return tries, had


def path(who: np.ndarray, tries: np.ndarray, hits: np.ndarray, counted: np.ndarray) -> Moments:
    """The sums as they stand after every list, over the lists that count.

    Args:
        who: Int64[n], whose list it is.
        tries: Float64[n], what the list adds to the person's tries.
        hits: Float64[n], and to the hits.
        counted: Bool[n], all or none of a person's.
    """
    x, y = before(who, tries)[1], before(who, hits)[1]
    new = (x == 0.0) & (tries > 0.0)
    steps = (new, tries, hits, 2 * x * tries + tries**2, 2 * y * hits + hits**2, x * hits + y * tries + tries * hits)
    return Moments(*(np.cumsum(step * counted) for step in steps))


def alarms(world: World, sources: np.ndarray, rng: np.random.Generator) -> dict[str, bool]:
    """What was claimed at any look."""
    one = np.ones(len(world.people))
    pairs = [
        [path(world.people, one, hits, side) for side in (~world.second, world.second)]
        for hits in (world.clicks, world.conversions)
    ]
    estimates = [difference(*pair) for pair in pairs]
    p = np.minimum(*(estimate.p_value() for estimate in estimates)) * len(estimates)
    units = np.stack([moments.units for moments in pairs[0]], axis=1)
    # What is clicked on an interleaved list: the same places, whoever filled them; higher ones more often.
    places = rng.choice(K, len(one), p=np.arange(K, 0, -1) / np.arange(1, K + 1).sum())
    won = world.clicks * sources[rng.integers(len(sources), size=len(one)), places]
    preference = share(path(world.people, world.clicks, won, one > 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.abs(estimates[0].value / estimates[0].error)
    return {
        "comparison": bool((p <= LEVEL).any()),
        "sample_ratio": bool((sample_ratio_p(units, [0.5, 0.5]) < ALARM).any()),
        "preference": bool((preference.p_value(0.5) <= LEVEL).any()),
        "single_look": bool((z[estimates[0].enough] > 1.96).any()),
    }


def drafts(rng: np.random.Generator) -> np.ndarray:
    """Float64[n, K]: of real drafts of one list with itself, 1 where a place counts for the second."""
    items = [f"i{number}" for number in range(K)]
    return np.array(
        [[side == "b" for side in team_draft(items, items, K, int(rng.integers(2**60)))[1]] for _ in range(5_000)],
        dtype=np.float64,
    )


def power(runs: int, lists: int, people: int, seed: int) -> dict[str, object]:
    """What is found when there is something."""
    found: dict[str, object] = {}
    for kind in ("returning", "once"):
        rows = [lifted(np.random.default_rng([seed, run, 1]), kind, lists, people) for run in range(runs)]
        until = [looks for looks, _ in rows if looks is not None]
        found[kind] = {
            "clicks_found": len(until) / runs,
            "lists_until": float(np.median(until)) if until else None,
            "interval_held": float(np.mean([held for _, held in rows])),
        }
    divided = []
    for run in range(runs):
        thin = world(np.random.default_rng([seed, run, 2]), "once", lists, people, lost=LOST)
        units = np.stack([np.cumsum(~thin.second), np.cumsum(thin.second)], axis=1)
        divided.append(bool((sample_ratio_p(units, [0.5, 0.5]) < ALARM).any()))
    return {**found, "sample_ratio_found": float(np.mean(divided))}


def lifted(rng: np.random.Generator, kind: str, lists: int, people: int) -> tuple[int | None, bool]:
    """Lists until the second variant was claimed to be better, and whether the truth was in all intervals."""
    made = world(rng, kind, lists, people, lift=LIFT)
    one = np.ones(len(made.people))
    estimate = difference(*(path(made.people, one, made.clicks, side) for side in (~made.second, made.second)))
    claimed = np.flatnonzero(estimate.p_value() * 2 <= LEVEL)  # as the worse of two comparisons
    # Chances above 1 are cut, which happens to so few people that the truth moves by less than is shown.
    off = np.abs(estimate.value - RATE * (LIFT - 1.0)) > estimate.reach(LEVEL)
    return (int(claimed[0]) + 1 if len(claimed) else None), not off.any()


if __name__ == "__main__":
    main()
