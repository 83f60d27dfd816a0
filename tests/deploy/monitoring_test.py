"""Dashboards and alerts: what is generated is up to date, Grafana's SDK knows every field, Prometheus parses every expression,
rules fire and stay silent as their tests say, and every metric that is named is one that llavad or llava-train exports."""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import grafana_foundation_sdk.cog.plugins
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = sorted((ROOT / "deploy/dashboards").glob("*.json"))
ALERTS = ROOT / "deploy/alerts"
RULES = yaml.safe_load((ALERTS / "llavad.yaml").read_text())
TOOLS = ROOT / ".deps/outside-tools"
# What others export: Prometheus, cert-manager, kube-state-metrics.
OF_OTHERS = {"up", "kube_cronjob_status_last_successful_time"}
# Fields of annotations that Grafana's data source for Prometheus has, and the SDK's types have not.
OF_PROMETHEUS = re.compile(r"/annotations/list/\d+/(step|titleFormat|textFormat|tagKeys)$")
NAME = re.compile(r"(?<![\w:\"])(?:llava_\w+|process_\w+|up|certmanager_\w+|kube_\w+)(?![\w:(\"])")


def expressions_of(dashboard):
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def alerts():
    return [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]


def without_strings(expression):
    return re.sub(r'"[^"]*"', '""', expression)


def exported():
    """What the programs register, by their sources: a family without a series is in no exposition."""
    found = set()
    for file in [*ROOT.glob("server/**/*.cc"), *ROOT.glob("server/**/*.h"), *ROOT.glob("training/**/*.cc"),
                 *ROOT.glob("base/**/*.cc")]:
        text = file.read_text()
        names = set(re.findall(r'"((?:llava|process)_[a-z_]+)"', text))
        found |= names | {f"{name}_{part}" for name in names if name.endswith(("_seconds", "_tokens", "_images", "_steps",
                                                                                "_sequences"))
                          for part in ("bucket", "sum", "count")}
    return found


def promtool(*arguments):
    tool = TOOLS / "promtool"
    if not tool.exists():
        subprocess.run([ROOT / "scripts/outside-checks", "--install", "promtool"], check=True)
    return subprocess.run([tool, *arguments], capture_output=True, text=True, cwd=ALERTS)


def lost(before, after, path=""):
    """Paths of what is in `before` and not in `after`."""
    if isinstance(before, dict):
        for key, value in before.items():
            if not isinstance(after, dict) or key not in after:
                yield f"{path}/{key}"
            else:
                yield from lost(value, after[key], f"{path}/{key}")
    elif isinstance(before, list):
        for i, value in enumerate(before):
            yield from lost(value, after[i] if isinstance(after, list) and i < len(after) else None, f"{path}/{i}")


class MonitoringTest(unittest.TestCase):
    def test_the_dashboards_are_up_to_date(self):
        subprocess.run([sys.executable, ROOT / "deploy/dashboards/dashboards.py", "--check"], check=True)
        self.assertEqual([file.stem for file in DASHBOARDS],
                         ["engine", "overview", "pictures", "reload", "tenants", "training"])

    def test_the_sdk_of_grafana_knows_every_field(self):
        grafana_foundation_sdk.cog.plugins.register_default_plugins()
        for file in DASHBOARDS:
            source = json.loads(file.read_text())
            back = json.loads(JSONEncoder().encode(Dashboard.from_json(source)))
            with self.subTest(file.name):
                unknown = [path for path in lost(source, back) if not OF_PROMETHEUS.match(path)]
                self.assertEqual(unknown, [])
        source["panels"][1]["titel"] = "planted"
        back = json.loads(JSONEncoder().encode(Dashboard.from_json(source)))
        self.assertIn("/panels/1/titel", list(lost(source, back)))

    def test_panels_have_places_ids_and_units(self):
        for file in DASHBOARDS:
            panels = json.loads(file.read_text())["panels"]
            taken = set()
            for panel in panels:
                place = panel["gridPos"]
                cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                         for y in range(place["y"], place["y"] + place["h"])}
                self.assertLessEqual(place["x"] + place["w"], 24)
                self.assertFalse(cells & taken, f"{file.name}: {panel['title']} lies on another panel")
                taken |= cells
                if panel["type"] != "row":
                    self.assertTrue(panel["fieldConfig"]["defaults"]["unit"], panel["title"])
            self.assertEqual(len({panel["id"] for panel in panels}), len(panels))

    def test_prometheus_parses_every_expression(self):
        rules = []
        for file in DASHBOARDS:
            for title, expression in expressions_of(json.loads(file.read_text())):
                expression = re.sub(r"\$__(rate_interval|range|interval)", "5m", expression)
                rules.append({"record": f"parsed:{len(rules)}", "expr": expression, "labels": {"panel": title}})
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}, file)
            file.flush()
            said = promtool("check", "rules", file.name)
            self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
        said = promtool("check", "rules", "llavad.yaml")
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)

    def test_alerts_fire_and_stay_silent(self):
        fires, silent = set(), set()
        for file in ("llavad_test.yaml", "llavad_days_test.yaml"):
            said = promtool("test", "rules", file)
            self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
            for test in yaml.safe_load((ALERTS / file).read_text())["tests"]:
                for alert in test["alert_rule_test"]:
                    (fires if alert["exp_alerts"] else silent).add(alert["alertname"])
        named = {rule["alert"] for rule in alerts()}
        self.assertEqual((fires, silent), (named, named))

    def test_every_alert_has_a_severity_a_summary_and_a_page_that_helps(self):
        text = (ROOT / "docs/operating.md").read_text()
        headings = {re.sub(r"[^\w -]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
                    for line in text.splitlines() if line.startswith("#")}
        for rule in alerts():
            with self.subTest(rule["alert"]):
                self.assertIn(rule["labels"]["severity"], ("page", "ticket"))
                self.assertTrue(rule["annotations"]["summary"])
                page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
                self.assertEqual(page, "docs/operating.md")
                self.assertIn(anchor, headings)
                name = rule["alert"].removesuffix("Page").removesuffix("Ticket")
                self.assertIn(f"`{name}`", text)

    def test_every_metric_that_is_named_is_exported(self):
        known = exported() | OF_OTHERS
        named = {}
        for file in DASHBOARDS:
            for title, expression in expressions_of(json.loads(file.read_text())):
                for name in NAME.findall(without_strings(expression)):
                    named.setdefault(name, f"{file.name}: {title}")
        for group in RULES["groups"]:
            for rule in group["rules"]:
                for name in NAME.findall(without_strings(rule["expr"])):
                    named.setdefault(name, rule.get("alert", rule.get("record")))
        self.assertGreater(len(named), 60)
        self.assertEqual({name: where for name, where in named.items() if name not in known}, {})
        self.assertNotIn("llava_requests", known)


if __name__ == "__main__":
    unittest.main()
