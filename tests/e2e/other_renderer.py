"""Pictures of shapes that the recipe of the demo model did not draw: another program (Pillow), other edges, other letters.

Seeded. Shapes stand anywhere, none on a border of the nine places and no two near the same height or column, so that every
question has one answer.
"""
import math
import random

from PIL import Image, ImageDraw, ImageFilter, ImageFont

COLOURS = {"red": [(255, 0, 0), (200, 30, 30), (178, 34, 34)], "green": [(0, 128, 0), (0, 200, 0), (34, 139, 34)],
           "blue": [(0, 0, 255), (30, 90, 220), (25, 25, 150)], "yellow": [(255, 255, 0), (240, 210, 20)],
           "purple": [(128, 0, 128), (150, 60, 190)]}
SHAPES = ["circle", "square", "triangle", "cross"]
WORDS = ["CAT", "DOG", "SUN", "BUS", "CUP", "HAT", "PEN", "BOX", "KEY", "MAP", "FOX", "OWL"]
ROWS, COLUMNS = ["top", "middle", "bottom"], ["left", "middle", "right"]
GROUNDS = [(255, 255, 255), (225, 225, 220), (20, 20, 24)]
SMOOTH = 4  # times the size, shrunk at the end


def place_of(x, y):
    """One of the nine places of a point given in shares of the picture."""
    row, column = ROWS[min(2, int(y * 3))], COLUMNS[min(2, int(x * 3))]
    if row == column == "middle":
        return "middle"
    return " ".join(word for word in (row, column) if word != "middle")


def at(place):
    return f"in the {place}" if place == "middle" else f"at the {place}"


def noise_ground(rng, width, height):
    """An uneven ground, as a photograph out of focus: small random pictures stretched and laid over one another."""
    grey = rng.randrange(60, 200)
    ground = Image.new("RGB", (width, height), (grey, grey, grey))
    for cells in (3, 6, 12):
        small = Image.new("RGB", (cells, cells))
        small.putdata([tuple(max(0, min(255, grey + rng.randrange(-45, 46) + shift)) for shift in (6, 0, -6))
                       for _ in range(cells * cells)])
        ground = Image.blend(ground, small.resize((width, height), Image.BICUBIC), 0.4)
    return ground


def polygon(shape, x, y, radius, angle):
    if shape == "square":
        points = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    elif shape == "triangle":
        points = [(0, -1), (0.95, 0.8), (-0.95, 0.8)]
    else:
        t = 0.28
        points = [(-t, -1), (t, -1), (t, -t), (1, -t), (1, t), (t, t), (t, 1), (-t, 1), (-t, t), (-1, t), (-1, -t), (-t, -t)]
    cos, sin = math.cos(angle), math.sin(angle)
    return [(x + radius * (px * cos - py * sin), y + radius * (px * sin + py * cos)) for px, py in points]


class Drawing:
    """One picture and what is true of it. things: dicts of colour, shape, size ("big", "small" or ""), x, y in [0, 1]."""

    def __init__(self, seed, grey=False, noise=False, text=False):
        self.rng = random.Random(seed)
        self.grey = grey
        self.width, self.height = self.rng.choice([(360, 300), (360, 300), (240, 240), (300, 200), (200, 300), (480, 320)])
        self.text = ""
        self.things = []
        self._compose(self.rng.randrange(1, 4))
        self._compose_text(text)
        self.image = self._draw(noise)

    def _free_place(self, radius):
        """The middle of a thing of this radius, in shares: clear of the others and of the borders of places."""
        side = min(self.width, self.height)
        for _ in range(200):
            rx, ry = radius * side / self.width, radius * side / self.height
            x, y = self.rng.uniform(rx, 1 - rx), self.rng.uniform(ry, 1 - ry)
            if any(abs(share - border) < 0.04 for share in (x, y) for border in (1 / 3, 2 / 3)):
                continue
            if all(abs(x - other["x"]) > 0.14 and abs(y - other["y"]) > 0.14
                   and math.hypot((x - other["x"]) * self.width, (y - other["y"]) * self.height)
                   > 0.95 * (radius + other["radius"]) * side for other in self.things):
                return x, y
        return None

    def _compose(self, count):
        while len(self.things) < count:
            big = self.rng.random() < 0.5
            radius = self.rng.uniform(0.125, 0.22 if count > 1 else 0.33) if big else self.rng.uniform(0.05, 0.09)
            place = self._free_place(radius)
            colour = "grey" if self.grey else self.rng.choice(sorted(COLOURS))
            shape = self.rng.choice(SHAPES)
            if any(t["shape"] == shape and t["colour"] == colour for t in self.things):
                continue
            if place is None:
                count -= 1
                continue
            self.things.append({"colour": colour, "shape": shape, "size": "big" if big else "small", "radius": radius,
                                "x": place[0], "y": place[1]})

    def _compose_text(self, wanted):
        place = self._free_place(0.2) if wanted else None
        if place:
            self.text = self.rng.choice(WORDS) if self.rng.random() < 0.5 else str(self.rng.randrange(10))
            self.text_place = place

    def _draw(self, noise):
        size = (self.width * SMOOTH, self.height * SMOOTH)
        ground = self.rng.choice(GROUNDS)
        image = noise_ground(self.rng, *size) if noise else Image.new("RGB", size, ground)
        draw = ImageDraw.Draw(image)
        for thing in self.things:
            self._draw_thing(draw, thing, image)
        if self.text:
            font = ImageFont.load_default(0.24 * min(size))
            light = sum(image.getpixel((int(self.text_place[0] * size[0]), int(self.text_place[1] * size[1])))) / 3
            draw.text((self.text_place[0] * size[0], self.text_place[1] * size[1]), self.text, anchor="mm", font=font,
                      fill="black" if light > 110 else "white", stroke_width=SMOOTH)
        image = image.resize((self.width, self.height), Image.LANCZOS)
        if self.rng.random() < 0.2:
            image = image.filter(ImageFilter.GaussianBlur(0.7))
        return image.convert("L") if self.grey else image

    def _draw_thing(self, draw, thing, image):
        x, y = thing["x"] * image.width, thing["y"] * image.height
        radius = thing["radius"] * min(image.size)
        light = sum(image.getpixel((int(x), int(y)))) / 3
        if thing["colour"] == "grey":
            fill = (30, 30, 30) if light > 120 else (225, 225, 225)
        else:  # the shade that differs most from the ground
            fill = max(COLOURS[thing["colour"]], key=lambda c: abs(sum(c) / 3 - light))
        if thing["shape"] == "circle":
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
        else:
            draw.polygon(polygon(thing["shape"], x, y, radius, self.rng.uniform(-0.2, 0.2)), fill=fill)

    def name(self, thing):
        return f"{thing['colour']} {thing['shape']}"

    def questions(self):
        """(kind, question, answer), all of which have one answer."""
        count = len(self.things)
        asked = [("count", "How many shapes are there?", str(count))]
        for thing in self.things:
            shape, colour, name = thing["shape"], thing["colour"], self.name(thing)
            if sum(t["shape"] == shape for t in self.things) == 1 and not self.grey:
                asked.append(("colour", f"What color is the {shape}?", colour))
            if sum(t["colour"] == colour for t in self.things) == 1 and not self.grey:
                asked.append(("shape", f"What shape is the {colour} object?", shape))
            place = place_of(thing["x"], thing["y"])
            asked.append(("place", f"Where is the {name if not self.grey else shape}?", place))
            asked.append(("size", f"Is the {name if not self.grey else shape} big or small?", thing["size"]))
            if sum(place_of(t["x"], t["y"]) == place for t in self.things) == 1 and not self.text:
                asked.append(("what", f"What is {at(place)}?", f"a {name}"))
        wanted = self.rng.choice(SHAPES)
        asked.append(("yes/no", f"Is there a {wanted}?", "yes" if any(t["shape"] == wanted for t in self.things) else "no"))
        for one, other in zip(self.things, self.things[1:]):
            if not self.grey:
                asked.append(("yes/no", f"Is the {self.name(one)} left of the {self.name(other)}?",
                              "yes" if one["x"] < other["x"] else "no"))
        if self.text:
            asked.append(("digit", "Which digit is printed?", self.text) if self.text.isdigit()
                         else ("word", "What does it say?", self.text))
        return asked
