"""The chart as Helm renders it, and schemas of all that it may make, without a cluster."""
import functools
import json
from pathlib import Path

import helm_python.chart
import jsonschema
import referencing
import yaml
from kubernetes_validate.utils import schema_contents

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/llavad"
CRDS = Path(__file__).resolve().parent / "crds"
# Folders of kubernetes_validate: the oldest that has all that the chart uses, and the newest.
KUBERNETES = ("1.31.0", "1.37.0")
NAMESPACE = "models"


class StrictLoader(yaml.SafeLoader):
    """A key that comes twice is an error: the API server would take the last one in silence."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"twice: {sorted(twice)}", node.start_mark)
        return super().construct_mapping(node, deep)


def render(values, name="eyes"):
    """All objects that `helm install eyes` would make of these values. Raises what Helm says about bad values."""
    with helm_python.chart.Chart.load(CHART) as chart:
        files = chart.render(values=values, name=name, namespace=NAMESPACE)
    documents = [document for text in files.values() for document in yaml.load_all(text, StrictLoader)]
    return [document for document in documents if document is not None]


def merged(*values):
    """Later ones over earlier ones, as Helm's -f."""
    out = {}
    for value in values:
        for key, inner in value.items():
            both = isinstance(inner, dict) and isinstance(out.get(key), dict)
            out[key] = merged(out[key], inner) if both else inner
    return out


@functools.cache
def definitions(version):
    folder = f"kubernetes-json-schema/v{version}-local-strict"
    contents = schema_contents(f"{folder}/_definitions.json", version)
    return folder, referencing.Resource.from_contents(contents) @ referencing.Registry()


@functools.cache
def validators(kind, api_version):
    """One for each release of Kubernetes, or that of a custom resource."""
    group = api_version.partition("/")[0]
    file = CRDS / f"{kind.lower()}.json"
    if file.exists():
        return [jsonschema.Draft202012Validator(json.loads(file.read_text()))]
    name = f"{kind}-{group.partition('.')[0]}{api_version.removeprefix(group).replace('/', '-')}".lower()
    found = []
    for version in KUBERNETES:
        folder, registry = definitions(version)
        found.append(jsonschema.Draft202012Validator(schema_contents(f"{folder}/{name}.json", version), registry=registry))
    return found


def check_schema(document):
    """Raises jsonschema's ValidationError for a field that is unknown, missing, or of a wrong type."""
    for validator in validators(document["kind"], document["apiVersion"]):
        validator.validate(document)


def pod_of(document):
    """The pod's template of a workload, or None."""
    spec = document.get("spec", {})
    if document["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec["template"] if document["kind"] in ("Deployment", "StatefulSet", "Job", "CronJob") else None


def matches(selector, labels):
    """Whether a LabelSelector, or a Service's plain one, chooses these labels."""
    if "matchLabels" not in selector and "matchExpressions" not in selector:
        return selector.items() <= labels.items()
    return (selector.get("matchLabels", {}).items() <= labels.items()
            and all(labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", [])))
