"""Questions about a truth, in the three kinds of the paper's data, each with its answer and what a right answer must say."""
from collections import Counter
from dataclasses import dataclass

from world import COLOURS, NUMBERS, PLACES, SHAPES, SIZES, at, counted, joined, plural


@dataclass(frozen=True)
class Asked:
    question: str
    answer: str
    key: tuple  # each is a word or words that a right answer has


def _colour(truth):
    for thing in truth.things:
        if truth.unique(shape=thing.shape):
            yield Asked(f"What colour is the {thing.shape}?", f"The {thing.shape} is {thing.colour}.", (thing.colour,))


def _shape(truth):
    for thing in truth.things:
        if truth.unique(colour=thing.colour):
            yield Asked(f"What shape is the {thing.colour} object?", f"The {thing.colour} object is a {thing.shape}.", (thing.shape,))


def _place(truth):
    for thing in truth.things:
        yield Asked(f"Where is the {thing.name}?", f"The {thing.name} is {at(thing.place)}.", (at(thing.place),))


def _size(truth):
    for thing in truth.things:
        yield Asked(f"Is the {thing.name} big or small?", f"The {thing.name} is {thing.size}.", (thing.size,))


def _count(truth):
    number = len(truth.things)
    verb = "is" if number == 1 else "are"
    yield Asked("How many shapes are in the picture?", f"There {verb} {counted(number, 'shape', 'shapes')} in the picture.",
                (NUMBERS[number],))


def _there(truth):
    for thing in truth.things:
        yield Asked(f"Is there a {thing.name} in the picture?", f"Yes, there is a {thing.name} {at(thing.place)}.", ("Yes",))


def _not_there(truth):
    for colour in COLOURS:
        for shape in SHAPES:
            if not any(t.colour == colour and t.shape == shape for t in truth.things):
                yield Asked(f"Is there a {colour} {shape} in the picture?", f"No, there is no {colour} {shape} in the picture.", ("No",))


def _text(truth):
    if truth.text:
        yield Asked("What is written in the picture?", f"The picture says {truth.text}.", (truth.text,))


CONVERSATION = [_colour, _shape, _place, _size, _count, _there, _not_there, _text]


def conversation(truth, rng, turns=3):
    """Questions of different kinds about one picture."""
    kinds = [asked for asked in (list(kind(truth)) for kind in CONVERSATION) if asked]
    return [rng.choice(asked) for asked in rng.sample(kinds, min(turns, len(kinds)))]


def detail(truth):
    """A whole description: every thing with its attributes, and how they stand to one another."""
    number = len(truth.things)
    sentences = [f"The picture shows {counted(number, 'shape', 'shapes')}."]
    sentences += [f"A {t.full} is {at(t.place)}." for t in truth.things]
    if truth.text:
        sentences.append(f"The picture also says {truth.text}.")
    for one, other in zip(truth.things, truth.things[1:]):
        sentences.append(f"The {one.name} is {relation(one, other)} the {other.name}.")
    key = tuple(f"{t.full} is {at(t.place)}" for t in truth.things) + ((truth.text,) if truth.text else ())
    return Asked("Describe the following image in detail", " ".join(sentences), key)


def relation(one, other):
    (row, column), (other_row, other_column) = (divmod(PLACES.index(t.place), 3) for t in (one, other))
    if column != other_column:
        return "left of" if column < other_column else "right of"
    return "above" if row < other_row else "below"


def _listed(things):
    return joined([f"a {t.name}" for t in things])


def _taken_away(truth, what, gone, left):
    had = f"There {'is' if len(truth.things) == 1 else 'are'} {_listed(truth.things)}."
    end = f"So {counted(len(left), 'shape', 'shapes')} would be left."
    if not gone:
        why = f"None of them is {what[1]}."
    elif not left:
        why = "All of them would be taken away."
    else:
        why = f"Without {joined(['the ' + t.name for t in gone])}, {_listed(left)} {'is' if len(left) == 1 else 'are'} left."
    return Asked(f"How many shapes would be left if all {what[0]} were taken away?", f"{had} {why} {end}",
                 (counted(len(left), "shape", "shapes"),))


def without_shape(truth):
    for shape in SHAPES:
        gone = [t for t in truth.things if t.shape == shape]
        yield _taken_away(truth, (plural(shape), f"a {shape}"), gone, [t for t in truth.things if t not in gone])


def without_colour(truth):
    for colour in COLOURS:
        gone = [t for t in truth.things if t.colour == colour]
        yield _taken_away(truth, (f"{colour} shapes", colour), gone, [t for t in truth.things if t not in gone])


def without_size(truth):
    for size in SIZES:
        gone = [t for t in truth.things if t.size == size]
        had = f"There {'is' if len(truth.things) == 1 else 'are'} {joined(['a ' + t.full for t in truth.things])}."
        left = counted(len(truth.things) - len(gone), "shape", "shapes")
        yield Asked(f"How many shapes would be left if all {size} shapes were taken away?",
                    f"{had} {counted(len(gone), 'of them is', 'of them are').capitalize()} {size}. So {left} would be left.", (left,))


def _more_on_a_side(truth):
    sides = [[t for t in truth.things if PLACES.index(t.place) % 3 == column] for column in (0, 2)]
    if len(sides[0]) == len(sides[1]):
        return
    said = [f"{'There is' if len(s) < 2 else 'There are'} {_listed(s) if s else 'nothing'} on the {side}."
            for s, side in zip(sides, ("left", "right"))]
    more = "left" if len(sides[0]) > len(sides[1]) else "right"
    yield Asked("Which side of the picture has more shapes, the left or the right?", f"{' '.join(said)} So the {more} side has more.",
                (f"the {more} side",))


def _same_shape(truth):
    if len(truth.things) < 2:
        return
    question, had = "Does any shape occur more than once?", f"There are {_listed(truth.things)}."
    shape, most = Counter(t.shape for t in truth.things).most_common(1)[0]
    if most == 1:
        yield Asked(question, f"{had} All of them differ. So no shape occurs more than once.", ("no shape occurs",))
    else:
        yield Asked(question, f"{had} {counted(most, '', 'of them are').capitalize()} {plural(shape)}. "
                    f"So the {shape} occurs more than once.", (f"the {shape} occurs",))


AWAY = [without_shape, without_colour, without_size]
REASONING = [*AWAY, _more_on_a_side, _same_shape]


def something(asked, rng):
    """One of several; more often one whose answer speaks of what is there."""
    near = [a for a in asked if "None of them" not in a.answer]
    return rng.choice(near if near and rng.random() < 0.8 else asked)


def reasoning(truth, rng):
    kinds = [asked for asked in (list(kind(truth)) for kind in REASONING) if asked]
    return something(rng.choice(kinds), rng)


def key_of(question, truth):
    """What a right answer to one of these questions must say; None for another question."""
    whole = [detail(truth), *(a for kind in CONVERSATION + REASONING for a in kind(truth))]
    return next((asked.key for asked in whole if asked.question == question), None)
