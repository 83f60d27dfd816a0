"""The Helm chart without a cluster: lint, every switch rendered and held against strict schemas, and what the pods promise."""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import helm_python.chart
import yaml

from chart_values import CASES, PVC, TLS, TRAINING
from rendered import CHART, ROOT, check_schema, matches, merged, pod_of, render

KUBE_SCORE = ROOT / ".deps/outside-tools/kube-score"


def of_kind(documents, *kinds):
    return [document for document in documents if document["kind"] in kinds]


def daemon_of(documents):
    """The one pod template of llavad."""
    (found,) = [pod_of(d) for d in of_kind(documents, "Deployment", "StatefulSet")
                if d["metadata"]["labels"]["app.kubernetes.io/component"] == "llavad"]
    return found["spec"]


def switches(value, path=()):
    """Paths of all booleans `enabled` in the values."""
    for key, inner in value.items():
        if key == "enabled":
            yield (*path, key)
        elif isinstance(inner, dict):
            yield from switches(inner, (*path, key))


def at(value, path):
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


class ChartTest(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.made = {name: render(values) for name, values in CASES.items()}

    def test_helm_lint_finds_nothing(self):
        for name, values in CASES.items():
            with self.subTest(name):
                report = helm_python.chart.lint(CHART, values, strict=True, namespace="models")
                self.assertEqual(report["errors"], [])
                self.assertEqual([m["error"] for m in report["messages"] if m["severity"] > 1], [])

    def test_the_schema_of_the_values_is_up_to_date(self):
        subprocess.run([sys.executable, ROOT / "deploy/helm/values_schema.py", "--check"], check=True)

    def test_every_switch_is_on_in_some_case_and_off_in_another(self):
        default = yaml.safe_load((CHART / "values.yaml").read_text())
        for path in switches(default):
            used = {at(merged(default, values), path) for values in CASES.values()}
            self.assertEqual(used, {True, False}, ".".join(path))

    def test_everything_fits_strict_schemas(self):
        for name, documents in self.made.items():
            with self.subTest(name):
                for document in documents:
                    with self.subTest(f"{document['kind']} {document['metadata']['name']}"):
                        check_schema(document)

    def test_a_misspelt_field_does_not_fit(self):
        for kind in ("Deployment", "NetworkPolicy", "CronJob", "ServiceMonitor", "HTTPRoute", "ScaledObject",
                     "InferencePool", "Certificate", "PrometheusRule"):
            document = next(d for documents in self.made.values() for d in documents if d["kind"] == kind)
            with self.subTest(kind), self.assertRaises(Exception):
                check_schema({**document, "spec": {**document["spec"], "selektor": {}}})

    def test_names_come_once_and_labels_are_everywhere(self):
        for name, documents in self.made.items():
            with self.subTest(name):
                names = [(d["kind"], d["metadata"]["name"]) for d in documents]
                self.assertEqual(sorted(names), sorted(set(names)))
                for document in documents:
                    self.assertLessEqual(len(document["metadata"]["name"]), 63)
                    self.assertEqual(document["metadata"]["labels"]["app.kubernetes.io/instance"], "eyes")

    def test_selectors_choose_pods_that_are_there(self):
        for name, documents in self.made.items():
            with self.subTest(name):
                pods = [pod["metadata"]["labels"] for pod in map(pod_of, documents) if pod is not None]
                services = [d["metadata"]["labels"] for d in of_kind(documents, "Service")]
                for document in documents:
                    spec = document.get("spec", {})
                    among = services if document["kind"] == "ServiceMonitor" else pods
                    selector = spec.get("podSelector", spec.get("selector"))
                    if selector is not None:
                        self.assertTrue(any(matches(selector, labels) for labels in among), document)
                    if document["kind"] in ("Deployment", "StatefulSet"):
                        self.assertTrue(matches(spec["selector"], pod_of(document)["metadata"]["labels"]))

    def test_what_a_pod_mounts_exists(self):
        for name, documents in self.made.items():
            with self.subTest(name):
                maps = {d["metadata"]["name"] for d in of_kind(documents, "ConfigMap")}
                for template in filter(None, map(pod_of, documents)):
                    spec = template["spec"]
                    volumes = [volume["name"] for volume in spec["volumes"]]
                    self.assertEqual(len(volumes), len(set(volumes)))
                    for container in spec.get("initContainers", []) + spec["containers"]:
                        self.assertLessEqual({m["name"] for m in container["volumeMounts"]}, set(volumes))
                        paths = [m["mountPath"] for m in container["volumeMounts"]]
                        self.assertEqual(len(paths), len(set(paths)))
                    used = {volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume}
                    self.assertLessEqual(used, maps)

    def test_pods_fit_the_restricted_standard(self):
        for name, documents in self.made.items():
            with self.subTest(name):
                for template in filter(None, map(pod_of, documents)):
                    spec = template["spec"]
                    self.assertIs(spec["automountServiceAccountToken"], False)
                    self.assertIs(spec["securityContext"]["runAsNonRoot"], True)
                    for key in ("hostNetwork", "hostPID", "hostIPC"):
                        self.assertNotIn(key, spec)
                    for container in spec.get("initContainers", []) + spec["containers"]:
                        security = container["securityContext"]
                        self.assertEqual(security["capabilities"], {"drop": ["ALL"]})
                        self.assertIs(security["readOnlyRootFilesystem"], True)
                        self.assertIs(security["allowPrivilegeEscalation"], False)
                        self.assertIs(security["runAsNonRoot"], True)
                        self.assertGreaterEqual(min(security["runAsUser"], security["runAsGroup"]), 10000)
                        self.assertEqual(security["seccompProfile"], {"type": "RuntimeDefault"})
                        for of in ("requests", "limits"):
                            self.assertLessEqual({"cpu", "memory", "ephemeral-storage"}, set(container["resources"][of]), of)

    def test_a_service_account_has_no_token(self):
        for name, documents in self.made.items():
            with self.subTest(name):
                for account in of_kind(documents, "ServiceAccount"):
                    self.assertIs(account["automountServiceAccountToken"], False)

    def test_a_pod_gets_more_time_than_the_drain_takes(self):
        for drain, seconds in (("30s", 30), ("5m", 300), ("1h", 3600), ("1500ms", 2), ("0s", 0)):
            with self.subTest(drain):
                pod = daemon_of(render({"config": {"drain_timeout": drain}}))
                self.assertEqual(pod["containers"][0]["lifecycle"]["preStop"], {"sleep": {"seconds": 5}})
                self.assertEqual(pod["terminationGracePeriodSeconds"], seconds + 5 + 20)

    def test_probes_ask_by_grpc_where_kubernetes_can(self):
        container = daemon_of(self.made["checkpoint on a claim"])["containers"][0]
        self.assertEqual(container["startupProbe"]["grpc"], {"port": 50051})
        self.assertEqual(container["readinessProbe"]["grpc"], {"port": 50051})
        self.assertEqual(container["livenessProbe"]["grpc"], {"port": 50051, "service": "liveness"})
        secured = daemon_of(render(merged(TLS, {"config": {"checkpoint": "/models/llava"}})))["containers"][0]
        self.assertEqual(secured["readinessProbe"]["httpGet"], {"path": "/readyz", "port": "metrics"})
        self.assertEqual(secured["startupProbe"]["httpGet"], {"path": "/readyz", "port": "metrics"})
        self.assertEqual(secured["livenessProbe"]["httpGet"], {"path": "/healthz", "port": "metrics"})
        # A daemon that waits for its first version is not ready, perhaps for days, and must not be started anew.
        waiting = daemon_of(render(PVC))["containers"][0]
        self.assertEqual(waiting["startupProbe"]["grpc"], {"port": 50051, "service": "liveness"})
        self.assertEqual(waiting["readinessProbe"]["grpc"], {"port": 50051})

    def test_a_copied_checkpoint_is_read_before_it_is_served(self):
        copied = CASES["checkpoint copied"]
        copy, verify = daemon_of(self.made["checkpoint copied"])["initContainers"]
        self.assertEqual(copy["image"], "debian:bookworm-slim")
        self.assertEqual(verify["args"], ["inspect", "/models/llava", "--verify"])
        self.assertEqual(verify["volumeMounts"], [{"name": "models", "mountPath": "/models", "readOnly": True}])
        without = daemon_of(render(merged(copied, {"checkpoint": {"copy": {"verify": False}}})))
        self.assertEqual([container["name"] for container in without["initContainers"]], ["copy-checkpoint"])
        watched = daemon_of(render(merged(copied, {"config": {"checkpoint": "", "watch": "/models/published"}})))
        self.assertEqual([container["name"] for container in watched["initContainers"]], ["copy-checkpoint"])

    def test_a_changed_configuration_is_rolled_out(self):
        def checksum(values):
            (workload,) = of_kind(render(values), "Deployment")
            return pod_of(workload)["metadata"]["annotations"]["checksum/config"]
        self.assertNotEqual(checksum({}), checksum({"config": {"max_running": 8}}))
        self.assertEqual(checksum({}), checksum({"replicas": 5}))

    def test_scaled_workloads_leave_their_number_to_the_scaler(self):
        for name in ("hpa", "hpa of a statefulset", "keda"):
            documents = self.made[name]
            (workload,) = of_kind(documents, "Deployment", "StatefulSet")
            (scaler,) = of_kind(documents, "HorizontalPodAutoscaler", "ScaledObject")
            self.assertNotIn("replicas", workload["spec"])
            self.assertEqual(scaler["spec"]["scaleTargetRef"]["kind"], workload["kind"])
            self.assertNotIn("cpu", json.dumps(scaler))

    def test_ranks_come_from_the_index(self):
        (job,) = of_kind(self.made["run on several machines"], "Job")
        (service,) = [d for d in of_kind(self.made["run on several machines"], "Service")
                      if d["metadata"]["name"].endswith("-ranks")]
        spec = job["spec"]
        self.assertEqual((spec["completionMode"], spec["completions"], spec["parallelism"]), ("Indexed", 4, 4))
        env = {e["name"]: e.get("value", e.get("valueFrom")) for e in spec["template"]["spec"]["containers"][0]["env"]}
        self.assertEqual(env["WORLD_SIZE"], "4")
        self.assertEqual(env["MASTER_ADDR"], f"{job['metadata']['name']}-0.{service['metadata']['name']}")
        self.assertEqual(env["MASTER_PORT"], str(service["spec"]["ports"][0]["port"]))
        self.assertIn("job-completion-index", env["RANK"]["fieldRef"]["fieldPath"])
        self.assertEqual(spec["template"]["spec"]["subdomain"], service["metadata"]["name"])
        self.assertEqual(service["spec"]["clusterIP"], "None")
        other = {"training": merged(TRAINING["training"], {
            "recipes": {"nightly.yaml": "name: another\noutput: /training/run\n"},
            "distributed": {"enabled": True, "recipe": "nightly.yaml"}})}
        (changed,) = of_kind(render(other), "Job")
        self.assertNotEqual(changed["metadata"]["name"], job["metadata"]["name"])

    def test_retraining_goes_on_and_never_twice(self):
        (cron,) = of_kind(self.made["retraining"], "CronJob")
        self.assertEqual(cron["spec"]["concurrencyPolicy"], "Forbid")
        pod = pod_of(cron)["spec"]
        mount = next(m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "work")
        self.assertEqual((mount["mountPath"], mount["subPathExpr"]), ("/training/run", "runs/$(JOB_NAME)"))
        rules = cron["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
        self.assertEqual([rule["action"] for rule in rules], ["Ignore", "Ignore"])
        self.assertEqual(rules[1]["onExitCodes"]["values"], [75])

    def test_values_that_make_no_sense_are_refused(self):
        training = TRAINING["training"]
        for values, says in (
                ({"replica": 3}, "replica"),
                ({"config": {"max_runing": 3}}, "max_runing"),
                ({"config": {"max_running": 0}}, "max_running"),
                ({"config": {"drain_timeout": "30"}}, "drain_timeout"),
                ({"config": {"reload": "besides"}}, "reload"),
                ({"config": {"metrics": ""}}, "metrics"),
                ({"workload": "DaemonSet"}, "workload"),
                ({"tls": {"secret": "x"}}, "secret"),
                ({"training": {"retraining": {"sheduled": True}}}, "sheduled"),
                ({"autoscaling": {"enabled": True}, "keda": {"enabled": True}}, "expected one of them"),
                ({"checkpoint": {"pvc": {"claimName": "a"}, "image": {"reference": "b"}}}, "2 sources are named"),
                ({"ingress": {"enabled": True}}, "ingress.host is empty"),
                ({"training": {**training, "retraining": {"enabled": True, "recipe": "night.yaml"}}}, "nightly.yaml"),
                ({"training": {**training, "work": {"claimName": ""},
                               "retraining": {"enabled": True, "recipe": "nightly.yaml"}}},
                 "training.work.claimName is empty"),
                ({"inferencePool": {"enabled": True}}, "endpointPicker.name is empty")):
            with self.subTest(values), self.assertRaisesRegex(Exception, re.escape(says)):
                render(values)

    def test_llavad_reads_every_rendered_configuration(self):
        for name, documents in self.made.items():
            with self.subTest(name):
                (config,) = [d for d in of_kind(documents, "ConfigMap") if "llavad.yaml" in d["data"]]
                options = yaml.safe_load(config["data"]["llavad.yaml"])
                # Files that only the cluster has.
                for name in ("checkpoint", "tls_certificate", "tls_key", "tls_client_ca", "tokens_file"):
                    options.pop(name, None)
                with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
                    yaml.safe_dump(options, file)
                    file.flush()
                    said = subprocess.run([os.environ["LLAVAD"], "--config", file.name, "--check"],
                                      capture_output=True, text=True)
                    self.assertEqual(said.returncode, 0, said.stdout + said.stderr)

    def test_every_option_has_a_place_in_the_values(self):
        printed = subprocess.run([os.environ["LLAVAD"], "--print-config"], capture_output=True, text=True,
                                 check=True).stdout
        blocks = [block.splitlines()[-1] for block in printed.strip().split("\n\n") if "# Expected: " in block]
        options = yaml.safe_load("\n".join(line.removeprefix("# ") for line in blocks))
        schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["config"]["properties"]
        self.assertEqual(sorted(options), sorted(schema))
        addresses = {"listen", "http", "metrics"}  # the defaults are llavad's own, but for the ports' addresses
        render({"config": {name: value for name, value in options.items() if name not in addresses}})

    def test_the_jobset_runs_what_the_chart_runs(self):
        jobset = yaml.safe_load((ROOT / "deploy/examples/jobset.yaml").read_text())
        (ranks,) = jobset["spec"]["replicatedJobs"]
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": ranks["template"]["spec"]}
        check_schema(job)  # the part that is Kubernetes' own
        (charts,) = of_kind(self.made["run on several machines"], "Job")
        own, others = (j["spec"]["template"]["spec"]["containers"][0] for j in (job, charts))
        self.assertEqual([e["name"] for e in own["env"]], [e["name"] for e in others["env"]][:len(own["env"])])
        env = {e["name"]: e.get("value", e.get("valueFrom")) for e in own["env"]}
        self.assertEqual(env["RANK"], others["env"][0]["valueFrom"])
        self.assertEqual(env["WORLD_SIZE"], str(job["spec"]["completions"]))
        self.assertEqual(env["MASTER_ADDR"], f"{jobset['metadata']['name']}-{ranks['name']}-0-0.{jobset['metadata']['name']}")
        self.assertEqual(own["args"][0], "run")

    def test_the_training_service_reads_its_configuration(self):
        for name in ("training service", "training service, secured"):
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                (config,) = [d for d in of_kind(self.made[name], "ConfigMap") if "serve.yaml" in d["data"]]
                options = yaml.safe_load(config["data"]["serve.yaml"])
                options.pop("tls", None), options.pop("tokens", None), options.pop("triggers", None)
                options.update(folder=folder, listen="127.0.0.1:0", metrics="127.0.0.1:0")
                file = Path(folder) / "serve.yaml"
                file.write_text(yaml.safe_dump(options))
                service = subprocess.Popen([os.environ["LLAVA_TRAIN"], "serve", "--config", file], stdout=subprocess.PIPE,
                                           stderr=subprocess.STDOUT, text=True)
                try:
                    self.assertIn('"serving"', service.stdout.readline())
                finally:
                    service.terminate()
                    service.communicate()

    def test_kube_score_finds_nothing_critical(self):
        # What it finds critical is also asserted above; the program itself takes a minute to compile, once.
        if not KUBE_SCORE.exists():
            self.skipTest("scripts/outside-checks installs kube-score")
        for name in CASES.keys() - {"without extras"}:
            documents = self.made[name]
            with self.subTest(name):
                known = [d for d in documents if "monitoring.coreos" not in d["apiVersion"]]
                said = subprocess.run([KUBE_SCORE, "score", "-o", "ci", "-"], input=yaml.safe_dump_all(known),
                                      capture_output=True, text=True).stdout
                self.assertIn("[OK]", said)
                self.assertEqual([line for line in said.splitlines() if line.startswith("[CRITICAL]")], [])


if __name__ == "__main__":
    unittest.main()
