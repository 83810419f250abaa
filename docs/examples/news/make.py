#!/usr/bin/env python3
"""Write the paper's `articles.jsonl` and `clicks.jsonl`: 96 headlines written by us, and simulated readers.

Everything is drawn from a fixed seed. The last articles are so new that nobody has clicked on them.
"""

from __future__ import annotations

import json
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

DESKS = {
    "local": """
        Night buses will run every twenty minutes from spring|The old swimming baths reopen after six years
        Residents vote for trees instead of parking on Mill Street
        A new footbridge links the harbour and the station|Primary school wins prize for its rooftop garden
        Market traders fear the building site next door|The library lends drills, tents and cake tins
        Volunteers clear two tonnes of litter from the canal
        Council argues about the height of the brewery tower
        The last cinema in the east of town changes hands|Water main burst closes the ring road for a day
        A bakery that opens at four in the morning""",
    "politics": """
        Coalition agrees on a budget after a night of talks|Minister resigns over a botched rail contract
        Parliament lowers the voting age for local elections|What the new tenancy law means for tenants
        Opposition demands an inquiry into flood defences|Mayors want a say in where refugees are housed
        Court strikes down the data retention act|Farmers and ministers find a compromise on fertiliser
        The long road to a simpler tax return|Two parties, one programme: the merger nobody expected
        How lobbyists register, and how they do not|Citizens' assembly presents ideas for cheaper energy""",
    "business": """
        Chip plant creates two thousand jobs in the valley|Bicycle maker goes public and triples its value
        Interest rates stay where they are, for now|Retailers complain of empty town centres
        A start-up recycles wind turbine blades into skis|Airline orders forty electric short-haul aircraft
        Why coffee has become so expensive|Four-day week: what three firms learned in a year
        Insurers raise premiums after the summer of hail
        Shipyard builds its first ferry that runs on batteries|The quiet comeback of the repair shop
        Wages rise faster than prices for the first time in years""",
    "science": """
        Telescope finds water vapour around a small distant planet|Bees can count, and seem to enjoy it
        A vaccine against malaria shows lasting effect|Glacier reveals a Roman road after a warm summer
        Physicists measure the proton once more and disagree|Fungus breaks down plastic in brackish water
        Why octopuses change colour in their sleep|Researchers print a beating piece of heart muscle
        The oldest known map of the stars was a palimpsest|Whales change dialect when they change oceans
        A quieter drill for a journey under the Antarctic ice
        Memory works better after a short walk, study finds""",
    "sport": """
        Underdogs win the cup on penalties|Marathon record falls in rain and headwind
        Young keeper saves the season in the last minute|Climber repeats the hardest route without chalk
        Handball women reach the final for the third time|A chess prodigy and her suitcase of notebooks
        Cyclists ride the cobbles in snow|The rowing eight that trains at five every morning
        Coach leaves after only four games|Skaters glide to gold with music from a video game
        Surfing in the city: the wave behind the weir|Table tennis club finds two hundred new members""",
    "culture": """
        A novel about lighthouse keepers wins the book prize
        Opera house plays for people who cannot sit still|The forgotten photographer of the harbour
        Street musicians need a licence again|Theatre under the motorway bridge sells out
        Museum returns drums to their village|A film shot entirely on night trains
        Why everybody is reading letters again|Jazz trio records an album in a cave
        Architects rebuild a school out of straw|Comic about a tax inspector becomes a musical
        Choirs look for basses and find retired miners""",
    "technology": """
        Phones that can be opened with a coin|City tests traffic lights that wait for cyclists
        Small language models run on a wristwatch|Hackers warn hospitals about old infusion pumps
        The open-source map that knows every bench|A battery made of salt stores a village's sunshine
        Why passwords refuse to die|Robots sort strawberries by smell
        Browser maker switches off trackers by default
        Engineers revive a probe at the edge of the solar system
        Home computers of the eighties find new fans|Drones plant a forest on burnt slopes""",
    "travel": """
        Three days by night train to the northern sea|Huts in the mountains take bookings a year ahead
        An island without cars and with one bakery|Walking the old salt road in ten stages
        The slowest express crosses four hundred bridges|Where to see puffins without a crowd
        A canal holiday for people who cannot steer|Camping in vineyards, with permission
        Five small museums on the way south|The ferry that sails only at full moon
        Cycling along the wall that is no longer there|A winter market in a salt mine""",
}
N_READERS = 90
FIRST_DAY = datetime(2026, 5, 1, 6, 0, tzinfo=UTC)
DAYS = 30
UNREAD = 6
"""The newest articles, which nobody has seen yet."""


def articles() -> list[dict[str, str]]:
    """All articles, oldest first; each desk writes throughout the month."""
    draw = random.Random(3)
    headlines = [
        (desk, " ".join(headline.split()))
        for desk, text in DESKS.items()
        for headline in text.replace("\n", "|").split("|")
        if headline.strip()
    ]
    draw.shuffle(headlines)
    step = timedelta(days=DAYS) / len(headlines)
    return [
        {"id": f"a{place:02d}", "headline": headline, "desk": desk, "published": (FIRST_DAY + place * step).isoformat()}
        for place, (desk, headline) in enumerate(headlines)
    ]


def clicks(published: list[dict[str, str]]) -> list[dict[str, str]]:
    """Readers come back every other day, and click on what is new on their two desks."""
    draw = random.Random(4)
    rows = []
    for reader in range(1, N_READERS + 1):
        desks = draw.sample(list(DESKS), 2)
        now = FIRST_DAY + timedelta(days=draw.uniform(2, 8))
        seen: set[str] = set()
        while now < FIRST_DAY + timedelta(days=DAYS - 2):
            out = [a for a in published[:-UNREAD] if datetime.fromisoformat(a["published"]) < now]
            wanted = [a for a in out if a["id"] not in seen and (a["desk"] in desks or draw.random() < 0.1)][-8:]
            for article in draw.sample(wanted, min(len(wanted), draw.randrange(1, 4))):
                seen.add(article["id"])
                now += timedelta(minutes=draw.randrange(1, 9))
                at = now.isoformat(timespec="seconds")
                rows.append({"reader": f"r{reader:03d}", "article": article["id"], "at": at})
            now += timedelta(days=draw.uniform(0.5, 4))
    rows.sort(key=lambda row: row["at"])
    return rows


def write(path: Path, rows: list[dict[str, str]]) -> None:
    """Write one JSON object a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    """Write both files into a folder: the one given, or this script's own."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    published = articles()
    write(folder / "articles.jsonl", published)
    write(folder / "clicks.jsonl", clicks(published))


if __name__ == "__main__":
    main()
