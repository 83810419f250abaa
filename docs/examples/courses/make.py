#!/usr/bin/env python3
"""Write the school's `courses.csv`, `learners.csv` and `ratings.csv`: 72 courses written by us, and simulated learners.

Everything is drawn from a fixed seed. Some learners have signed up and taken nothing yet.
"""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path

SUBJECTS = {
    "Data": """
        Spreadsheets without fear|Statistics with coins and dice|SQL from the first query
        Cleaning messy tables|Charts that tell the truth|Regression step by step|Experiments and A/B tests
        Time series and forecasts|Bayesian thinking in practice""",
    "Programming": """
        First steps in Python|Loops, lists and functions|Reading and writing files
        Object-oriented design by example|Testing your own code|Working with Git in a team
        Web services with small frameworks|Finding what makes code slow|Concurrency without tears""",
    "Machine learning": """
        What machines can learn|Nearest neighbours and decision trees|Gradient descent by hand
        Neural networks from scratch|Text as vectors|Recommender systems: first principles
        Fine-tuning language models|Evaluating models honestly|Running models in production""",
    "Languages": """
        Spanish for travellers|Spanish: the past tenses|Spanish through short stories|French from zero
        French conversation|Business French|Mandarin: tones and first characters|Mandarin at the market
        Reading Chinese newspapers""",
    "Design": """
        Colour and contrast|Typography for everybody|Sketching ideas quickly
        Interviewing the people you design for|Wireframes and prototypes|Design systems that last
        Accessibility in practice|Motion with restraint|Presenting design decisions""",
    "Management": """
        Your first team|Giving feedback that helps|Running meetings people like|Planning with uncertainty
        Hiring without bias|Conflict and mediation|Budgeting for beginners|Leading through change
        Strategy on one page""",
    "Crafts": """
        Sharpening knives and tools|A stool from a single board|Joints without screws|Hand-sewn bookbinding
        Throwing a bowl on the wheel|Glazes and kilns|Repairing a bicycle|Knitting a first jumper
        Darning and visible mending""",
    "Wellbeing": """
        Breathing and sitting still|Yoga for stiff people|Running your first five kilometres|Sleeping better
        Cooking for one week ahead|Bread with sourdough|Strength training at home|Mindful walking
        A calmer inbox""",
}
LEVELS = ("beginner",) * 3 + ("intermediate",) * 3 + ("advanced",) * 3
ROLES = {
    "analyst": ("Data", "Programming"),
    "developer": ("Programming", "Machine learning"),
    "researcher": ("Machine learning", "Data"),
    "designer": ("Design", "Crafts"),
    "manager": ("Management", "Wellbeing"),
    "traveller": ("Languages", "Wellbeing"),
}
N_LEARNERS = 160
NEWCOMERS = 10
"""Learners who have a profile and have not taken a course."""
START = 1_756_684_800  # 2025-09-01, in seconds
WEEK = 604_800


def courses() -> list[dict[str, str]]:
    """All courses; within a subject they build on each other."""
    rows = []
    for subject, text in SUBJECTS.items():
        titles = [" ".join(title.split()) for title in text.replace("\n", "|").split("|") if title.strip()]
        for title, level in zip(titles, LEVELS, strict=True):
            rows.append({"course_id": f"k{len(rows) + 1:02d}", "title": title, "subject": subject, "level": level})
    return rows


def learners() -> list[dict[str, str]]:
    """All learners with what they said when they signed up."""
    draw = random.Random(5)
    return [
        {"user_id": f"u{number:03d}", "role": draw.choice(list(ROLES)), "hours_per_week": str(draw.choice((2, 4, 8)))}
        for number in range(1, N_LEARNERS + NEWCOMERS + 1)
    ]


def ratings(catalog: list[dict[str, str]], people: list[dict[str, str]]) -> list[dict[str, str]]:
    """What they took, in the order of the subject, and how they liked it."""
    draw = random.Random(6)
    rows = []
    for person in people[:N_LEARNERS]:
        liked = ROLES[person["role"]]
        now = START + draw.randrange(20 * WEEK)
        taken: set[str] = set()
        for _ in range(draw.randrange(3, 11)):
            subject = draw.choice(liked) if draw.random() < 0.8 else draw.choice(list(SUBJECTS))
            left = [c for c in catalog if c["subject"] == subject and c["course_id"] not in taken]
            if not left:
                continue
            course = left[min(len(left) - 1, int(draw.expovariate(1.2)))]
            taken.add(course["course_id"])
            now += draw.randrange(WEEK, 5 * WEEK)
            stars = min(5, max(1, round(draw.gauss(4.2 if subject in liked else 2.6, 0.8))))
            what = {"user_id": person["user_id"], "course_id": course["course_id"]}
            rows.append(what | {"rating": str(stars), "timestamp": str(now)})
    rows.sort(key=lambda row: int(row["timestamp"]))
    return rows


def write(path: Path, rows: list[dict[str, str]]) -> None:
    """Write rows as CSV with a header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Write the three files into a folder: the one given, or this script's own."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    catalog, people = courses(), learners()
    write(folder / "courses.csv", catalog)
    write(folder / "learners.csv", people)
    write(folder / "ratings.csv", ratings(catalog, people))


if __name__ == "__main__":
    main()
