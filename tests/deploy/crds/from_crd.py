"""Makes a strict JSON schema of a version of a CustomResourceDefinition: without descriptions, and where the API server would
drop an unknown field, or reject it, the schema rejects it. Usage: from_crd.py CRD.yaml VERSION >KIND.json"""
import json
import sys

import yaml


def strict(schema):
    """`schema` without what only people read, closed where it is not said to be open."""
    out = {}
    for key, value in schema.items():
        if key == "properties":
            out[key] = {name: strict(inner) for name, inner in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            out[key] = strict(value)
        elif key in ("oneOf", "anyOf", "allOf", "not") or not (key == "description" or key.startswith("x-kubernetes")):
            out[key] = value
    if schema.get("x-kubernetes-int-or-string"):
        out.pop("anyOf", None)
        out["type"] = ["integer", "string"]
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if "properties" in schema and not open_ended:
        out["additionalProperties"] = False
    return out


def main(path, version):
    crd = next(d for d in yaml.safe_load_all(open(path)) if d and d["kind"] == "CustomResourceDefinition")
    found = next(v for v in crd["spec"]["versions"] if v["name"] == version)
    schema = strict(found["schema"]["openAPIV3Schema"])
    schema["properties"].pop("status", None)
    schema["properties"]["metadata"] = {"type": "object"}
    schema["properties"]["apiVersion"] = {"const": f"{crd['spec']['group']}/{version}"}
    schema["properties"]["kind"] = {"const": crd["spec"]["names"]["kind"]}
    schema["required"] = sorted({*schema.get("required", []), "apiVersion", "kind", "metadata"})
    json.dump(schema, sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
