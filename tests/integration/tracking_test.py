"""llava-train tells a real MLflow server of its runs, over a way that fails as the test says; training notices nothing of it."""
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
LLAVA_TRAIN = Path(os.environ["LLAVA_TRAIN"]).resolve()
TOKEN = "tok-3f9a1c"
STEPS = 8

RECIPE = """\
name: flags
output: run
model: {{checkpoint: {base}}}
save: {{every_steps: 3, keep: 1}}
data: {{files: [rows.jsonl], images: pictures, workers: 1}}
tracking: {{mlflow: {{uri: "{uri}", experiment: {experiment}{more}}}}}
stages:
  - name: tune
    train: [projector]
    validate: {{rows: 4, every_steps: 4, samples: 0}}
    steps: {steps}
    batch: 2
    rate: 1.0e-3
"""

SERVER = """
import sys
from werkzeug.serving import make_server
from mlflow.server import app
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""

FAILURES = {"busy": (429, b'{"error_code": "REQUEST_LIMIT_EXCEEDED"}', {"Retry-After": "1"}),
            "broken": (503, b"<html>down for maintenance</html>", {}),
            "html": (200, b"<html>please log in</html>", {}),
            "huge": (200, b" " * (3 << 20), {}),
            "unauthorized": (401, b'{"message": "unknown Bearer ' + TOKEN.encode() + b'"}', {})}


class Way:
    """What lies between the training and the server: hands on requests, or fails as `mode` says."""

    def __init__(self, port):
        self.mode = "open"
        self.tokens = set()
        way = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                way.tokens.add(self.headers.get("Authorization"))
                if way.mode == "closed":
                    return
                if way.mode != "open":
                    return self.answer(*FAILURES[way.mode])
                server = http.client.HTTPConnection("127.0.0.1", port)
                server.request("POST", self.path, body, {"Content-Type": "application/json"})
                answer = server.getresponse()
                self.answer(answer.status, answer.read(), {})
                server.close()

            def answer(self, status, body, headers):
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    pass  # it has had enough

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.uri = f"http://127.0.0.1:{self.server.server_port}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Run:
    """llava-train, whose steps and messages are read as they come."""

    def __init__(self, folder, environment):
        self.process = subprocess.Popen([LLAVA_TRAIN, "run", folder / "recipe.yaml"], text=True, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=environment)
        self.steps, self.messages, self.changed = [], [], threading.Condition()
        self.seen = 0
        self.readers = [threading.Thread(target=self.read, args=pair) for pair in
                        ((self.process.stdout, self.steps), (self.process.stderr, self.messages))]
        for reader in self.readers:
            reader.start()

    def read(self, stream, lines):
        for line in stream:
            with self.changed:
                lines.append(line)
                self.changed.notify_all()

    def wait_for(self, what):
        """Until one of the messages since the last one that was waited for has `what`."""
        def found():
            return next((n for n in range(self.seen, len(self.messages)) if what in self.messages[n]), None)
        with self.changed:
            assert self.changed.wait_for(lambda: found() is not None, 200), (what, self.messages)
            self.seen = found() + 1

    def wait_for_steps(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.steps) >= count, 200), self.messages

    def end(self, signal_number=None):
        if signal_number is not None:
            self.process.send_signal(signal_number)
        code = self.process.wait(timeout=300)
        for reader in self.readers:
            reader.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return code


class TrackingTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.store = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.store.cleanup)
        store = f"sqlite:///{cls.store.name}/mlflow.db"
        cls.mlflow = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=cls.store.name,
            env={**os.environ, "_MLFLOW_SERVER_FILE_STORE": store, "_MLFLOW_SERVER_ARTIFACT_ROOT": cls.store.name,
                 "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"})
        cls.addClassCleanup(cls.mlflow.stdout.close)
        cls.addClassCleanup(cls.mlflow.wait)
        cls.addClassCleanup(cls.mlflow.kill)
        cls.port = int(cls.mlflow.stdout.readline())
        cls.experiments = 0
        cls.ask("experiments/search", max_results=1)  # makes its tables

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        (self.folder / "pictures").mkdir()
        generator = random.Random(1)
        for number in range(8):
            Image.new("RGB", (64, 64), tuple(generator.randint(0, 255) for _ in range(3))).save(
                self.folder / "pictures" / f"{number}.png")
        (self.folder / "rows.jsonl").write_text("".join(json.dumps({"id": str(n), "image": f"{n % 8}.png", "conversations": [
            {"from": "human", "value": "<image>\nWhich colour?"}, {"from": "gpt", "value": "red"}]}) + "\n" for n in range(24)))
        self.way = Way(self.port)
        self.addCleanup(self.way.close)
        TrackingTest.experiments += 1
        self.experiment = f"flags {self.experiments}"
        self.write()

    def write(self, steps=STEPS, more=""):
        (self.folder / "recipe.yaml").write_text(RECIPE.format(
            base=ROOT / "demo/checkpoint", uri=self.way.uri, experiment=self.experiment, steps=steps, more=more))

    def environment(self):
        return {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_TOKEN": TOKEN}

    def start(self):
        run = Run(self.folder, self.environment())
        self.addCleanup(run.process.kill)
        return run

    def track(self):
        done = subprocess.run([LLAVA_TRAIN, "track", self.folder / "run"], capture_output=True, text=True, timeout=200,
                              env=self.environment())
        return done.returncode, done.stdout + done.stderr

    @classmethod
    def ask(cls, what, **query):
        url = f"http://127.0.0.1:{cls.port}/api/2.0/mlflow/{what}"
        if what.endswith("search") or what.endswith("delete"):
            request = urllib.request.Request(url, json.dumps(query).encode(), {"Content-Type": "application/json"})
        else:
            request = url + "?" + urllib.parse.urlencode(query)
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)

    def tracked(self):
        """The only run of this test's experiment."""
        experiment = self.ask("experiments/get-by-name", experiment_name=self.experiment)["experiment"]["experiment_id"]
        runs = self.ask("runs/search", experiment_ids=[experiment]).get("runs", [])
        self.assertEqual(len(runs), 1, runs)
        return runs[0]

    def history(self, run, name):
        found = self.ask("metrics/get-history", run_id=run["info"]["run_id"], metric_key=name).get("metrics", [])
        return [(int(point["step"]), point["timestamp"], point["value"]) for point in found]

    def check_curves(self, run):
        """Every step and validation of metrics.jsonl is there once, with its time and its number."""
        lines = [json.loads(line) for line in (self.folder / "run/metrics.jsonl").read_text().splitlines()]
        for name, key in (("loss", "loss"), ("rate", "rate"), ("grad_norm", "grad_norm"),
                          ("validation/loss", "validation_loss")):
            expected = [(line["total_step"], line["unix_ms"], line[key]) for line in lines if key in line]
            self.assertGreater(len(expected), 0)
            told = sorted(self.history(run, name))
            self.assertEqual([point[:2] for point in told], [point[:2] for point in expected], name)
            for (step, _, value), (_, _, number) in zip(told, expected):  # read and written again, the last bit may be another
                self.assertAlmostEqual(value, number, delta=1e-12 * abs(number), msg=f"{name} of step {step}")

    def test_a_run_with_all_that_it_has(self):
        run = self.start()
        self.assertEqual(run.end(), 0, run.messages)
        tracked = self.tracked()
        self.assertEqual((tracked["info"]["status"], tracked["info"]["run_name"]), ("FINISHED", "flags"))
        self.assertGreater(tracked["info"]["end_time"], tracked["info"]["start_time"])
        self.check_curves(tracked)
        params = {param["key"]: param["value"] for param in tracked["data"]["params"]}
        self.assertEqual(params["stages.0.rate"], "1.0e-3")
        self.assertEqual(params["data.files.0"], "rows.jsonl")
        self.assertEqual(params["stages.0.validate.every_steps"], "4")
        self.assertFalse([name for name in params if name.startswith("tracking")])
        tags = {tag["key"]: tag["value"] for tag in tracked["data"]["tags"]}
        latest = (self.folder / "run/published/latest").resolve()
        manifest = json.loads((latest / "manifest.json").read_text())
        self.assertTrue(latest.name.endswith("-" + tags["llava.checkpoint"][:12]), (latest, tags))
        self.assertEqual(tags["llava.data_fingerprint"], manifest["data_fingerprint"])
        self.assertIn(tags["llava.version"], subprocess.check_output([LLAVA_TRAIN, "--version"], text=True))
        self.assertIn(tags["mlflow.source.git.commit"], subprocess.check_output([LLAVA_TRAIN, "--version"], text=True))

        self.assertEqual(self.way.tokens, {f"Bearer {TOKEN}"})
        self.assertNotIn(TOKEN, "".join(run.steps + run.messages))
        for path in self.folder.rglob("*"):
            if path.is_file():
                self.assertNotIn(TOKEN.encode(), path.read_bytes(), path)

        again = self.start()  # has finished: nothing more is said
        self.assertEqual(again.end(), 0, again.messages)
        self.assertEqual(self.tracked(), tracked)

    def test_killed_stopped_and_resumed_it_is_one_run(self):
        self.write(more=', run_name: "night 7"')
        run = self.start()
        run.wait_for("MLflow: run")
        run.wait_for_steps(5)
        run.end(signal.SIGKILL)
        self.assertEqual(self.tracked()["info"]["status"], "RUNNING")
        self.assertEqual(self.track()[0], 0)
        self.assertEqual(self.tracked()["info"]["status"], "KILLED")
        run = self.start()
        run.wait_for_steps(1)
        self.assertEqual(run.end(signal.SIGTERM), 75, run.messages)
        self.assertEqual(self.tracked()["info"]["status"], "KILLED")
        run = self.start()
        self.assertEqual(run.end(), 0, run.messages)
        tracked = self.tracked()
        self.assertEqual((tracked["info"]["status"], tracked["info"]["run_name"]), ("FINISHED", "night 7"))
        steps = [point[0] for point in sorted(self.history(tracked, "loss"))]
        self.assertEqual(steps, list(range(1, STEPS + 1)))  # each once, though some were made twice
        self.assertEqual([point[0] for point in sorted(self.history(tracked, "validation/loss"))], [4, 8])

    def test_outages_of_all_kinds_while_it_trains(self):
        self.write(steps=100000)
        run = self.start()
        run.wait_for("MLflow: run")
        for mode in ("busy", "closed", "broken", "html", "huge", "unauthorized"):
            with self.subTest(mode):
                self.way.mode = mode
                run.wait_for("training goes on")
                before = len(run.steps)
                run.wait_for_steps(before + 3)
                self.way.mode = "open"
                run.wait_for("takes what it is told again")
        self.assertEqual(run.end(signal.SIGTERM), 75)
        tracked = self.tracked()
        self.assertEqual(tracked["info"]["status"], "KILLED")
        self.check_curves(tracked)
        self.assertNotIn(TOKEN, "".join(run.messages))

    def test_down_all_the_time_it_is_told_later(self):
        self.way.mode = "closed"
        run = self.start()
        self.assertEqual(run.end(), 0, run.messages)
        messages = [line for line in run.messages if "MLflow" in line]
        self.assertEqual(len(messages), 2, messages)
        self.assertIn("training goes on", messages[0])
        self.assertIn("llava-train track", messages[1])
        code, text = self.track()
        self.assertEqual(code, 75, text)
        self.way.mode = "open"
        for _ in range(2):
            code, text = self.track()
            self.assertEqual(code, 0, text)
            self.assertIn("knows all of this run", text)
            tracked = self.tracked()
            self.assertEqual(tracked["info"]["status"], "FINISHED")
            self.check_curves(tracked)

    def test_told_by_the_next_start_of_a_finished_run(self):
        self.way.mode = "broken"
        self.assertEqual(self.start().end(), 0)
        self.way.mode = "open"
        self.assertEqual(self.start().end(), 0)
        self.assertEqual(self.tracked()["info"]["status"], "FINISHED")
        self.check_curves(self.tracked())

    def test_a_run_that_fails_says_why(self):
        (self.folder / "rows.jsonl").write_text('{"id": "1"}\n')
        run = self.start()
        self.assertEqual(run.end(), 1)
        tracked = self.tracked()
        self.assertEqual(tracked["info"]["status"], "FAILED")
        tags = {tag["key"]: tag["value"] for tag in tracked["data"]["tags"]}
        self.assertIn("rows.jsonl", tags["llava.error"])

    def test_an_experiment_that_was_deleted_ends_no_run(self):
        self.assertEqual(self.start().end(), 0)
        experiment = self.tracked()["info"]["experiment_id"]
        self.ask("experiments/delete", experiment_id=experiment)
        shutil.rmtree(self.folder / "run")
        run = self.start()
        self.assertEqual(run.end(), 0, run.messages)
        self.assertIn("is deleted there", "".join(run.messages))
        self.assertEqual(self.track()[0], 1)

    def test_mistakes_are_said_before_a_step_is_made(self):
        def refused(uri):
            (self.folder / "recipe.yaml").write_text(RECIPE.format(
                base=ROOT / "demo/checkpoint", uri=uri, experiment="e", steps=1, more=""))
            done = subprocess.run([LLAVA_TRAIN, "run", self.folder / "recipe.yaml"], capture_output=True, text=True)
            self.assertEqual(done.returncode, 1)
            return done.stderr
        self.assertIn("tracking.mlflow.uri", refused("ftp://h"))
        self.assertNotIn("hunter2", refused("https://me:hunter2@h"))
        self.assertEqual(self.track()[0], 1)  # no run that is tracked

    def test_a_port_where_nobody_is(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.way.uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
            self.write()
            run = self.start()
            self.assertEqual(run.end(), 0, run.messages)
        self.assertIn("Connection refused", "".join(run.messages))


if __name__ == "__main__":
    unittest.main()
