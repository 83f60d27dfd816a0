"""The world of the small paper: what is true of a drawn picture, and how that is said.

`llava-train scenes` draws one to three shapes in nine places, often with a word or a digit, and writes what is where into
scenes.jsonl. Everything here is made from that truth and a seeded random generator.
"""
import json
import random
import re
from dataclasses import dataclass

COLOURS = ["red", "green", "blue", "yellow", "purple"]
SHAPES = ["circle", "square", "triangle", "cross"]
SIZES = ["big", "small"]
PLACES = ["top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right"]
WORDS = ["CAT", "DOG", "SUN", "BUS", "CUP", "HAT", "PEN", "BOX", "KEY", "MAP", "FOX", "OWL"]
NUMBERS = ["no", "one", "two", "three", "four"]
THING = re.compile(r"\b(?:(big|small) )?(?:(" + "|".join(COLOURS) + r") )?(" + "|".join(SHAPES) + r")\b"
                   r"(?: (?:is |stands )?(?:at|in) the (" + "|".join(sorted(PLACES, key=len, reverse=True)) + r")\b)?")


def at(place):
    return f"in the {place}" if place == "middle" else f"at the {place}"


def plural(shape):
    return shape + ("es" if shape == "cross" else "s")


def counted(number, one, many):
    """"no shapes", "one shape", "two shapes"."""
    return f"{NUMBERS[number]} {one if number == 1 else many}"


def joined(texts):
    return texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + " and " + texts[-1]


@dataclass(frozen=True)
class Thing:
    colour: str
    shape: str
    size: str
    place: str
    box: tuple  # left, top, right, bottom in shares of the picture

    @property
    def name(self):
        return f"{self.colour} {self.shape}"

    @property
    def full(self):
        return f"{self.size} {self.name}"


@dataclass(frozen=True)
class Truth:
    things: tuple
    text: str = ""        # a word or a digit that stands there, too
    text_place: str = ""

    def unique(self, **wanted):
        """The one thing with these attributes, or None."""
        found = [t for t in self.things if all(getattr(t, k) == v for k, v in wanted.items())]
        return found[0] if len(found) == 1 else None

    def caption(self):
        """As the drawing program's captions are."""
        parts = [f"a {t.full} {at(t.place)}" for t in self.things]
        if self.text:
            row = {"top": "top row", "middle": "middle row", "bottom": "bottom row"}.get(self.text_place, self.text_place)
            digit = self.text.isdigit()
            parts.append(f"the {'digit' if digit else 'word'} {self.text} {at(self.text_place) if digit else 'in the ' + row}")
        return f"There is {joined(parts)}."


def read_scenes(path):
    """(picture, captions, truth) of each line of a scenes.jsonl."""
    for line in open(path):
        scene = json.loads(line)
        things = tuple(Thing(o["colour"], o["shape"], o["size"], o["place"], tuple(o["box"])) for o in scene["objects"])
        text = scene.get("text", {})
        yield scene["image"], scene["captions"], Truth(things, text.get("value", ""), text.get("place", ""))


def invent(rng: random.Random):
    """A truth that nobody has drawn, for texts."""
    cells = rng.sample(range(9), 3)
    things, names = [], set()
    for cell in cells[:rng.choice([1, 2, 2, 3, 3, 3])]:
        colour, shape, size = rng.choice(COLOURS), rng.choice(SHAPES), rng.choice(SIZES)
        if (colour, shape) in names:
            continue
        names.add((colour, shape))
        half = (0.14 if size == "big" else 0.07) + rng.uniform(-0.01, 0.01)
        x, y = (cell % 3 + 0.5) / 3 + rng.uniform(-0.02, 0.02), (cell // 3 + 0.5) / 3 + rng.uniform(-0.02, 0.02)
        box = tuple(round(min(1, max(0, v)), 3) for v in (x - half, y - half, x + half, y + half))
        things.append(Thing(colour, shape, size, PLACES[cell], box))
    text = place = ""
    if rng.random() < 0.3:
        free = [c for c in range(9) if PLACES[c] not in {t.place for t in things}]
        if rng.random() < 0.5:
            text, place = str(rng.randrange(10)), PLACES[rng.choice(free)]
        else:
            rows = [r for r in range(3) if not any(PLACES.index(t.place) // 3 == r for t in things)]
            if rows:
                text, place = rng.choice(WORDS), ("top", "middle", "bottom")[rng.choice(rows)]
    order = sorted(range(len(things)), key=lambda i: PLACES.index(things[i].place))
    return Truth(tuple(things[i] for i in order), text, place)


def context(truth, boxes):
    """A picture as a language model is told of it (llava-train generate): captions, and boxes behind an empty line."""
    if not boxes:
        return truth.caption()
    lines = [f"{t.full}: [{', '.join(format(v, 'g') for v in t.box)}]" for t in truth.things]
    return truth.caption() + "\n\n" + "\n".join(lines)


def parse_context(text):
    """The truth of a context's caption; None when it has none."""
    found = [Thing(c, s, z, p, ()) for z, c, s, p in THING.findall(text.split("\n")[0]) if z and c and p]
    if not found:
        return None
    said = re.search(r"\bthe (?:word|digit) (\w+)", text)
    return Truth(tuple(found), said.group(1) if said else "")
