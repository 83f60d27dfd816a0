"""JSON Schemas drawn at random, for structured_output_test.py and scripts/schema-campaign."""


def random_schema(rng, depth=3):
    """Of the keywords that docs/api.md lists, with a bound on every answer's length."""
    def below():
        return random_schema(rng, depth - 1)

    kinds = ["string", "integer", "number", "boolean", "null", "enum", "const", "pattern", "format", "set", "names"]
    kind = rng.choice(kinds + ["object", "array", "tuple", "anyOf", "allOf", "types"] * 2 * (depth > 0))
    low = rng.randint(-50, 50)
    if kind == "string":
        return {"type": "string", "minLength": rng.randint(0, 2), "maxLength": rng.randint(2, 4)}
    if kind == "integer":
        return {"type": "integer", rng.choice(["minimum", "exclusiveMinimum"]): low,
                rng.choice(["maximum", "exclusiveMaximum"]): low + rng.randint(2, 99)}
    if kind == "number":
        return {"type": "number", "minimum": low, "maximum": low + 7, "multipleOf": rng.choice([0.5, 0.25, 1])}
    if kind == "enum":
        return {"enum": rng.sample([None, True, 3, -1.5, "a", 'q"\\', "ü\n", [1, {}], {"x": "y"}], rng.randint(1, 4))}
    if kind == "const":
        return {"const": rng.choice([{"deep": [1, None]}, "</s>", 0, False])}
    if kind == "pattern":
        return {"type": "string", "pattern": rng.choice(["^[ab]{1,3}$", "^(x|yz)-[0-9]{2}$", "^\\d{1,4}€?$"])}
    if kind == "format":
        return {"type": "string", "format": rng.choice(["date", "time", "date-time", "ipv4", "uuid", "uuid4"])}
    if kind == "set":
        return {"type": ["array", "null"], "items": {"enum": rng.sample(["a", 1, None], 2)}, "uniqueItems": True}
    if kind == "names":
        return {"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "boolean"}}
    if kind == "object":
        names = rng.sample(["a", "b", "name", "ключ", "with space", "$ref"], rng.randint(0, 4))
        required = [name for name in names if rng.random() < 0.6]
        return {"type": "object", "properties": {name: below() for name in names}, "required": required,
                "additionalProperties": False, **({"minProperties": len(required)} if rng.random() < 0.3 else {})}
    if kind == "array":
        least = rng.randint(0, 2)
        return {"type": "array", "items": below(), "minItems": least, "maxItems": least + rng.randint(0, 2)}
    if kind == "tuple":
        return {"type": "array", "prefixItems": [below() for _ in range(rng.randint(1, 3))], "items": False, "minItems": 1}
    if kind == "anyOf":
        return {"anyOf": [below() for _ in range(rng.randint(1, 3))]}
    if kind == "allOf":
        return {"allOf": [{"type": "integer", "minimum": low}, {"maximum": low + 9}], "title": "t", "description": "d"}
    if kind == "types":
        return {"type": ["null", "boolean"]}
    return {"type": kind}
