#!/usr/bin/env python3
"""Write the shop's `items.csv` and `log.csv`: 200 items written by us, and a simulated log with dirty rows in it.

Everything is drawn from a fixed seed, so the files are the same wherever this runs.
"""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path

SHELVES = {
    "Camping": """
        Two-person tent, 1.9 kg|Family tent for five with porch|Down sleeping bag to -5 degrees
        Summer sleeping bag, packs small|Inflatable sleeping mat|Gas stove with piezo lighter
        Titanium cooking pot, 900 ml|Head torch with red light|Collapsible water container, 10 litres
        Camping chair with cup holder""",
    "Hiking": """
        Trekking poles, carbon, pair|Waterproof hiking boots|Light trail shoes
        Rucksack, 28 litres, with rain cover|Rucksack, 55 litres, for long tours
        Merino hiking socks, two pairs|Topographic map of the northern ridges|Compass with mirror
        Hooded rain jacket, three layers|Water filter bottle""",
    "Cycling": """
        Bicycle pump with gauge|Puncture repair kit|Bicycle lights, USB, front and rear
        Cycling helmet with visor|Folding lock, steel|Pannier bags, waterproof, pair|Gel saddle
        Chain oil for wet weather|Bicycle computer, wireless|Child seat for the rear rack""",
    "Running": """
        Running shoes, neutral, road|Running shoes, stable, road|Running belt with two flasks
        Sports watch with heart rate|Reflective running vest|Compression socks|Foam roller|Light running cap
        Energy gels, box of 24|Running gloves""",
    "Swimming": """
        Swimming goggles, mirrored|Silicone swimming cap|Training fins, short|Pull buoy
        Quick-dry towel, large|Swimming costume with chlorine protection|Swim trunks with pocket
        Open-water safety buoy|Ear plugs for swimmers|Kickboard""",
    "Coffee": """
        Burr coffee grinder, hand-driven|Espresso machine with milk frother
        Paper filters, size 4, 100 pieces|Moka pot for six cups|French press, one litre
        Gooseneck kettle with thermometer|Espresso beans, dark roast, 1 kg
        Filter coffee beans from Ethiopia, 500 g|Milk jug, stainless steel|Descaler for coffee machines""",
    "Tea": """
        Cast-iron teapot|Glass teapot with strainer|Green tea, loose, 250 g|Breakfast tea, 100 bags
        Herbal tea selection|Matcha powder with bamboo whisk|Tea strainer, fine mesh
        Porcelain tea cups, set of four|Tea warmer with candle|Oolong tea, loose, 100 g""",
    "Baking": """
        Stand mixer with dough hook|Springform cake tin, 26 cm|Proving basket for bread|Baking stone
        Rolling pin, beech|Digital kitchen scale|Piping bag with twelve nozzles|Silicone baking mat
        Muffin tin for twelve|Rye sourdough starter""",
    "Cookware": """
        Cast-iron frying pan, 28 cm|Non-stick frying pan, 24 cm|Stainless-steel saucepan set
        Enamelled casserole, 5 litres|Carbon-steel wok|Pressure cooker, 6 litres|Steamer basket, bamboo
        Chef's knife, 20 cm|Bread knife with serrated blade|Sharpening stone, two grits""",
    "Garden": """
        Secateurs for roses|Watering can, 10 litres, zinc|Garden hose, 25 m, with spray gun
        Raised bed, larch|Tomato seeds, six old varieties|Herb seeds: basil, thyme, chives
        Compost bin, 400 litres|Spade with ash handle|Garden gloves, leather|Solar lights for the path""",
    "Houseplants": """
        Monstera in a 17 cm pot|Snake plant, easy to keep|Peace lily|Potting soil without peat, 20 litres
        Terracotta pots, set of three|Self-watering planter|Plant lamp, full spectrum|Moisture meter
        Orchid fertiliser|Mister for leaves, glass""",
    "Tools": """
        Cordless drill, 18 V, two batteries|Claw hammer|Screwdriver set, 32 pieces|Spirit level, 60 cm
        Tape measure, 5 m|Folding workbench|Jigsaw with laser line|Wood glue, waterproof
        Sandpaper set, mixed grits|Tool box with tray""",
    "Painting": """
        Watercolour set, 24 pans|Sable brushes, set of five|Acrylic paints, 12 tubes
        Stretched canvas, 40 x 50 cm|Watercolour paper, 300 g, block|Table easel, beech|Charcoal sticks
        Coloured pencils, tin of 36|Sketchbook, A4, hard cover|Palette knife""",
    "Music": """
        Classical guitar for beginners|Guitar strings, nylon|Ukulele, soprano, with bag
        Digital piano, 88 weighted keys|Music stand, foldable|Metronome, clip-on tuner in one|Harmonica in C
        Drum sticks, hickory|Cajon with snare|Songbook: fifty folk songs""",
    "Board games": """
        Cooperative board game: lighthouse keepers|Chess set, walnut|Card game for two
        Dice game with six dice|Strategy board game: river traders|Word game with wooden letters
        Memory game with birds|Party quiz, 800 questions|Puzzle of a night sky, 1000 pieces
        Domino set, double nine""",
    "Children": """
        Wooden building blocks, 100 pieces|Balance bike from two years|Picture book: the fox and the moon
        Marble run starter set|Finger paints, six colours|Kite with long tail|Doll's house, birch plywood
        Child's rucksack with owl|Bath toys: three boats|Night light, hedgehog""",
    "Pets": """
        Dog lead, three lengths|Dog bed, washable, large|Chew toy made of rubber|Cat scratching post, sisal
        Cat litter, wood, 20 litres|Fountain for cats|Bird feeder for the window|Hay for rabbits, 2 kg
        Aquarium pump, quiet|Grooming brush for long hair""",
    "Office": """
        Height-adjustable desk|Office chair with lumbar support|Desk lamp, dimmable
        Mechanical keyboard, quiet keys|Vertical mouse|Monitor arm for two screens|Notebook, dotted, A5
        Fountain pen, fine nib|Paper shredder|Noise-cancelling headphones""",
    "Photography": """
        Travel tripod, carbon|Camera bag with divider|Memory card, 128 GB|Polarising filter, 67 mm
        Lens cleaning set|Instant camera|Film for instant camera, 20 pictures|Ring light with stand
        Photo album, linen|Picture frame, oak, A4""",
    "Bedroom": """
        Wool blanket, checked|Feather pillow, firm|Linen duvet cover|Blackout curtain
        Memory-foam mattress topper|Hot-water bottle with knitted cover|Alarm clock with sunrise light
        Bedside table, oak|Sheepskin rug|Lavender pillow spray""",
}
NEAR = (
    ("Camping", "Hiking", "Photography"),
    ("Cycling", "Running", "Swimming"),
    ("Coffee", "Tea", "Baking", "Cookware"),
    ("Garden", "Houseplants", "Tools"),
    ("Painting", "Music", "Board games"),
    ("Children", "Pets", "Board games"),
    ("Office", "Bedroom", "Tea"),
)
N_USERS = 240
START = 1_767_225_600  # 2026-01-01, in seconds
DAY = 86_400


def catalog() -> list[dict[str, str]]:
    """All items, with prices that only look like prices."""
    prices = random.Random(1)
    titles = [
        (shelf, " ".join(title.split()))
        for shelf, text in SHELVES.items()
        for title in text.replace("\n", "|").split("|")
        if title.strip()
    ]
    return [
        {
            "sku": f"S{place:03d}",
            "name": title,
            "category": shelf,
            "price": f"{prices.choice((4, 9, 14, 19, 29, 39, 59, 89, 149))}.90",
        }
        for place, (shelf, title) in enumerate(titles, start=1)
    ]


def log(items: list[dict[str, str]]) -> list[dict[str, str]]:
    """What simulated customers did: each likes a few neighbouring shelves, and some items sell better."""
    draw = random.Random(2)
    by_shelf = {shelf: [item["sku"] for item in items if item["category"] == shelf] for shelf in SHELVES}
    liking = {item["sku"]: draw.paretovariate(1.5) for item in items}
    rows = []
    for user in range(1, N_USERS + 1):
        shelves = draw.choice(NEAR)
        when = START + draw.randrange(90 * DAY)
        for _ in range(draw.randrange(3, 15)):
            shelf = draw.choice(shelves) if draw.random() < 0.85 else draw.choice(list(SHELVES))
            item = draw.choices(by_shelf[shelf], [liking[sku] for sku in by_shelf[shelf]])[0]
            when += draw.randrange(60, 3 * DAY)
            what = draw.choices(("view", "cart", "buy"), (6, 2, 1))[0]
            rows.append({"customer": f"c{user:03d}", "sku": item, "action": what, "when": str(when)})
    rows.sort(key=lambda row: int(row["when"]))
    return rows


def dirty(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Put in what real logs have in them."""
    faults = {
        40: {"sku": "S999"},  # an item that the catalog does not know
        90: {"customer": ""},  # nobody
        155: {"when": "yesterday"},  # no time
        220: {"action": "veiw"},  # no known kind
        300: {"customer": "c012 "},  # a space too many: repaired
        410: {"sku": "S1O7"},  # the letter O for a zero
    }
    return [row | faults.get(place, {}) for place, row in enumerate(rows)]


def write(path: Path, rows: list[dict[str, str]]) -> None:
    """Write rows as CSV with a header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Write both files into a folder: the one given, or this script's own."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    items = catalog()
    write(folder / "items.csv", items)
    write(folder / "log.csv", dirty(log(items)))


if __name__ == "__main__":
    main()
