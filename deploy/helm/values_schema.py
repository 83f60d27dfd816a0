#!/usr/bin/env python3
"""Makes llavad/values.schema.json: the options of llavad.yaml from docs/configuration.md (which is made from the tables in
server/config), everything else from the values that the chart has by default.

Usage: values_schema.py           writes the file
       values_schema.py --check   exit code 1 when it is not what would be written
"""
import json
import re
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
CHART = HERE / "llavad"
REFERENCE = HERE.parents[1] / "docs" / "configuration.md"
SCHEMA = CHART / "values.schema.json"

ROW = re.compile(r"^\| `(?P<name>\w+)` \| `(?P<default>.*?)` \| (?P<expected>.*?) \| (?P<help>.*) \|$")
INTEGER = re.compile(r"^(?:an integer|a number of pixels) in \[(\d+), (\d+)\]$")

# What may hold anything of Kubernetes' own, or names that users choose.
OBJECTS = {"updateStrategy", "nodeSelector", "affinity", "podAnnotations", "podLabels", "annotations", "labels", "behavior",
           "recipes", "resources"}
CHOICES = {"workload": ["Deployment", "StatefulSet"], "pullPolicy": ["Always", "IfNotPresent", "Never"],
           "sessionAffinity": ["None", "ClientIP"], "service.type": ["ClusterIP", "NodePort", "LoadBalancer"]}


def option_schema(expected):
    if expected.startswith("auto, or "):
        return {"anyOf": [{"const": "auto"}, option_schema(expected.removeprefix("auto, or "))]}
    if (found := INTEGER.match(expected)) is not None:
        return {"type": "integer", "minimum": int(found[1]), "maximum": int(found[2])}
    if expected == "text":
        return {"type": "string"}
    if expected == "a list of text":
        return {"type": "array", "items": {"type": "string"}}
    if expected.startswith("a mapping of names to text"):
        return {"type": "object", "additionalProperties": {"type": "string"}}
    if expected == "true or false":
        return {"type": "boolean"}
    if expected.startswith("one of "):
        return {"enum": expected.removeprefix("one of ").split(", ")}
    if expected.startswith("a duration "):
        return {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"}
    if expected.startswith("bytes "):
        return {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+(KiB|MiB|GiB)?$"}]}
    raise SystemExit(f"values_schema.py: {expected!r} of docs/configuration.md is a kind of option that has no schema yet")


def config_schema():
    rows = [found for line in REFERENCE.read_text().splitlines() if (found := ROW.match(line)) is not None]
    listed = [line for line in REFERENCE.read_text().splitlines() if line.startswith("| `")]
    if not rows or len(rows) != len(listed):
        raise SystemExit(f"values_schema.py: {len(rows)} of {len(listed)} rows of {REFERENCE} are understood")
    properties = {row["name"]: {"description": row["help"], **option_schema(row["expected"])} for row in rows}
    # The chart's ports and probes are made from these.
    properties["listen"]["pattern"] = ":[1-9][0-9]*$"
    properties["http"]["pattern"] = "^$|:[1-9][0-9]*$"
    properties["metrics"]["pattern"] = ":[1-9][0-9]*$"
    return {"type": "object", "additionalProperties": False, "properties": properties,
            "required": ["drain_timeout", "http", "listen", "metrics"]}


def value_schema(path, value):
    name = path[-1]
    dotted = ".".join(path)
    if path == ("config",):
        return config_schema()
    if dotted in CHOICES or name in CHOICES:
        return {"enum": CHOICES.get(dotted, CHOICES.get(name))}
    if name in OBJECTS:
        return {"type": "object"}
    if name == "maxUnavailable":
        return {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+%$"}]}
    if isinstance(value, dict):
        return {"type": "object", "additionalProperties": False,
                "properties": {key: value_schema((*path, key), inner) for key, inner in value.items()}}
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int):
        return {"type": "integer", "minimum": 0 if value == 0 or name.startswith("min") or name == "replicas" else 1}
    if isinstance(value, list):
        return {"type": "array"}
    if value is None:
        raise SystemExit(f"values_schema.py: {dotted} of values.yaml is null: expected a default that shows its type")
    return {"type": "string"}


def schema():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    made = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart llavad",
        "description": "Made by deploy/helm/values_schema.py: not edited by hand.",
        "type": "object",
        "additionalProperties": False,
        # Helm adds `global` to the values of a chart that others use.
        "properties": {"global": {"type": "object"}, **{key: value_schema((key,), value) for key, value in values.items()}},
    }
    return json.dumps(made, indent=1) + "\n"


def main():
    text = schema()
    if sys.argv[1:] == ["--check"]:
        if not SCHEMA.exists() or SCHEMA.read_text() != text:
            raise SystemExit(f"{SCHEMA} is out of date: run deploy/helm/values_schema.py")
        return
    SCHEMA.write_text(text)


if __name__ == "__main__":
    main()
