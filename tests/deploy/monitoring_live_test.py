"""Every expression of the dashboards and rules asked of a real Prometheus, which scrapes a loaded llavad with a canary, a training
service with a job, and a training run: each returns data. A metric or a label that is renamed leaves a panel empty, and fails here."""
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.parse
import urllib.request
from pathlib import Path

import grpc
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/integration"))
from daemon_process import IMAGES, Daemon, generated_client, wait_until  # noqa: E402
from published import Published, rolled  # noqa: E402

LLAVA, LLAVA_TRAIN = os.environ["LLAVA"], os.environ["LLAVA_TRAIN"]
PROMETHEUS = ROOT / ".deps/outside-tools/prometheus"
pb, pb_grpc = generated_client()

RECIPE = f"""name: watched
output: run
model: {{from_scratch: {ROOT / "demo/architecture"}}}
stages:
  - name: tower
    objective: patch_labels
    train: [vision_tower]
    data: {{scenes: {{count: 8, seed: 3, level: one, turns: 2}}, workers: 1}}
    steps: 100000
    batch: 4
    rate: 1.0e-3
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def question(i, tokens=6):
    """The text before the picture differs, so that the picture is looked up in its own cache and not passed over with a prefix."""
    picture = (IMAGES / "portrait.jpg").read_bytes()
    parts = [pb.MessagePart(text=f"Question {i}: what is it?"), pb.MessagePart(image=picture)]
    return pb.ChatRequest(messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=parts)],
                          sampling=pb.SamplingOptions(max_tokens=tokens, ignore_eos=True))


class Load:
    """Requests one after the other until it is left; while every eighth is answered another one is refused, and then it is cancelled."""

    def __init__(self, channel):
        self.stub, self.stop, self.asked = pb_grpc.ChatServiceStub(channel), threading.Event(), 0
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stop.is_set():
            try:
                self.ask(self.asked)
            except grpc.RpcError:
                pass
            self.asked += 1

    def ask(self, i):
        if i % 8 != 3:
            return self.stub.Chat(question(i))
        call = self.stub.ChatStream(pb.ChatStreamRequest(request=question(i, 300)))
        try:
            next(call)
            self.stub.Chat(question(i))  # one too many
        finally:
            call.cancel()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


class Programs:
    """Processes that end with this."""

    def __init__(self, folder):
        self.folder, self.all = folder, []

    def start(self, *command, **how):
        with open(self.folder / f"log-{len(self.all)}", "w") as log:
            self.all.append(subprocess.Popen(list(map(str, command)), stderr=log, text=True, cwd=self.folder, **how))
        return self.all[-1]

    def end(self):
        for program in self.all:
            program.terminate()
        for program in self.all:
            program.wait(timeout=120)
            if program.stdout:
                program.stdout.close()


class MonitoringLiveTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not PROMETHEUS.exists():
            subprocess.run([ROOT / "scripts/outside-checks", "--install", "prometheus"], check=True)
        cls.scratch = tempfile.TemporaryDirectory()
        cls.programs = Programs(Path(cls.scratch.name))
        cls.addClassCleanup(cls.scratch.cleanup)
        cls.addClassCleanup(cls.programs.end)
        cls.targets = {"llava-train": cls.training(), "llava-run": cls.run_of_training()}

    @classmethod
    def training(cls):
        folder = cls.programs.folder
        (folder / "serve.yaml").write_text("folder: jobs\nlisten: 127.0.0.1:0\nmetrics: 127.0.0.1:0\n")
        (folder / "recipe.yaml").write_text(RECIPE)
        service = cls.programs.start(LLAVA_TRAIN, "serve", "--config", "serve.yaml", stdout=subprocess.PIPE)
        serving = json.loads(service.stdout.readline())
        subprocess.run([LLAVA, "jobs", "create", "--server", f"127.0.0.1:{serving['port']}", "recipe.yaml"], check=True,
                       cwd=folder, capture_output=True)
        return serving["metrics_port"]

    @classmethod
    def run_of_training(cls):
        port = free_port()
        cls.programs.start(LLAVA_TRAIN, "run", "recipe.yaml", "--metrics", f"127.0.0.1:{port}", stdout=subprocess.DEVNULL)
        return port

    def prometheus(self, ports):
        folder, port = self.programs.folder, free_port()
        (folder / "rules.yml").write_text((ROOT / "deploy/alerts/llavad.yaml").read_text())
        (folder / "prometheus.yml").write_text(yaml.safe_dump({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{number}"]}]}
                               for job, number in ports.items()]}))
        self.programs.start(PROMETHEUS, "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                            f"--web.listen-address=127.0.0.1:{port}", stdout=subprocess.DEVNULL)
        self.base = f"http://127.0.0.1:{port}"
        wait_until(self.is_up, "Prometheus answers", 120)

    def is_up(self):
        try:
            return urllib.request.urlopen(self.base + "/-/ready").status == 200
        except OSError:
            return False

    def query(self, expression):
        url = f"{self.base}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        with urllib.request.urlopen(url) as answer:
            return json.load(answer)["data"]["result"]

    def has_numbers(self, expression):
        return any(sample["value"][1] != "NaN" for sample in self.query(expression))

    def test_every_expression_returns_data(self):
        with tempfile.TemporaryDirectory() as root:
            versions = Published(root)
            versions.publish()
            with Daemon(config=f"watch: {root}\ncanary_percent: 50\ncanary_answers: 3\ncanary_min_answers: 1\n"
                        "canary_bad_answers_percent: 100\ncanary_slower_percent: 100000\ncanary_less_sure_percent: 100\nqueue_requests: 1\n",
                        checkpoint='""') as daemon, daemon.channel() as channel, Load(channel) as load:
                port = int(re.search(r":(\d+)/", daemon.addresses["metrics"])[1])
                self.prometheus({"llavad": port, **self.targets})
                versions.publish(rolled(3))
                wait_until(lambda: self.query('llava_model_canary_verdicts_total'),
                           lambda: f"a canary's verdict, after {load.asked} requests: {daemon.logged()[-4000:]}", 300)
                wait_until(lambda: self.has_numbers('llava_training_job_step'), "the job's first step", 300)
                wait_until(lambda: self.has_numbers('llava_training_loss'), "the run's first step", 300)
                empty = dict(self.expressions())

                def all_have_data():
                    for name, expression in list(empty.items()):
                        if self.has_numbers(expression):
                            del empty[name]
                    return not empty
                wait_until(all_have_data, lambda: f"no data: {json.dumps(empty, indent=1)}", 240)
                for group in json.load(urllib.request.urlopen(self.base + "/api/v1/rules"))["data"]["groups"]:
                    for rule in group["rules"]:
                        self.assertEqual((rule["name"], rule.get("lastError", "")), (rule["name"], ""))

    @staticmethod
    def expressions():
        """Those of the panels with the variables that Grafana would put in; annotations are empty by right."""
        for file in sorted((ROOT / "deploy/dashboards").glob("*.json")):
            dashboard = json.loads(file.read_text())
            for panel in dashboard["panels"]:
                for target in panel.get("targets", []):
                    expression = re.sub(r"\$__(rate_interval|range|interval)", "1m", target["expr"])
                    name = f"{file.stem}: {panel['title']} {panel['id']} {target['refId']}"
                    yield name, re.sub(r"\$(job|instance)", ".*", expression)


if __name__ == "__main__":
    unittest.main()
