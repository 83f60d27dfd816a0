"""Everything in a fence of README.md and docs/*.md, as a person pastes it: commands and programs run against a real llavad
on the demo model and small data, configurations are read by the program that they are for. What is neither run nor on the
list NOT_RUN, with its reason, fails the test.

Usage: documented_commands_test.py LLAVAD LLAVA LLAVA_TRAIN DOCUMENTED_PROGRAM ROOT
"""
import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "integration")]
import original_layout  # noqa: E402
import published  # noqa: E402
from llavad import Llavad  # noqa: E402

LLAVAD, LLAVA, LLAVA_TRAIN, PROGRAM, ROOT = (Path(a).resolve() for a in sys.argv[1:6])
NAME = "llava-1.5-7b-hf"  # the documents' model
DOCUMENTS = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]

# (document, how the command or block begins): why it is not run here.
NOT_RUN = {
    ("README.md", "make demo"): "it is the build, and a server until Ctrl-C; scripts/demo's parts are what the other tests use",
    ("README.md", "make test"): "this test is a part of it",
    ("README.md", "auto stub"): "an excerpt of the program in docs/api.md",
    ("README.md", "kill -TERM $(pidof llavad)"): "would end every llavad of the machine; every test stops its own so",
    ("docs/operating.md", "EDGE_CERTIFICATE="): "edge_test starts it, on ports and with a certificate of its own",
    ("README.md", "docker build"): "needs a Docker engine: scripts/image-check has one",
    ("README.md", "docker compose"): "needs a Docker engine; images_test reads what it starts",
    ("README.md", "helm install"): "needs a cluster; chart_test renders it",
    ("docs/operating.md", "llava models load-adapter"): "needs an adapter of the model; adapters_test loads and removes one",
    ("docs/operating.md", "llava models unload-adapter"): "needs an adapter of the model; adapters_test loads and removes one",
    ("docs/training.md", "pipeline:"): "a part of a trigger, with services of others; the unit tests of training/service read and run its like",
    ("docs/api.md", "file = client.files.create"): "needs batch_dir and minutes; batches_test does the same with rows of its own",
    ("docs/api.md", "llava replay"): "needs an answer and its request in files; replay_test has them",
    ("docs/feedback.md", "import openai"): "needs a server that keeps turns; capture_test judges answers over HTTP and gRPC",
    ("docs/feedback.md", "import grpc"): "needs a server that keeps turns; capture_test judges answers over HTTP and gRPC",
    ("docs/feedback.md", "data:\n  files: [base.json]"): "a part of a recipe: captured_training_test runs such",
    ("docs/deploying.md", "apt install"): "writes into the system; scripts/package-check does it in another root",
    ("docs/deploying.md", "mkdir -p /etc/llavad"): "writes into the system",
    ("docs/deploying.md", "systemctl enable"): "needs systemd; systemd_test has its verdict on the unit",
    ("docs/deploying.md", "docker "): "needs a Docker engine: scripts/image-check has one",
    ("docs/deploying.md", "llava chat"): "asks what compose has started",
    ("docs/deploying.md", "kubectl "): "needs a cluster",
    ("docs/deploying.md", "helm install"): "needs a cluster; chart_test renders it",
    ("docs/deploying.md", "# my-values.yaml"): "values of the chart; chart_test renders such ones",
    ("docs/deploying.md", "--total-queued"): "flags of another program",
    ("docs/training.md", "evaluate:\n  file: held-out.jsonl\n  images: pictures\n  require"): "a part of a recipe: training_records_test runs such",
    ("docs/paper.md", "scripts/paper"): "minutes; the test paper runs all its steps in the smallest counts",
    ("docs/paper.md", "make paper"): "takes nearly an hour",
    ("docs/training.md", "llava-train delta"): "needs weights of others; the unit tests of training/export make and apply such",
    ("docs/training.md", "llava-train assemble"): "needs a language model and a tower; assemble makes LLaVAs of small ones",
    ("docs/training.md", "  - name: tune\n    validate:"): "a part of a recipe: training_validation runs such",
    ("docs/training.md", "tracking:\n  mlflow:"): "a part of a recipe: tracking_test runs such, and an MLflow server",
    ("docs/training.md", "torchrun"): "comes with PyTorch; training_ranks_test starts ranks by it where that is installed",
    ("docs/training.md", "llava-train track"): "needs a run that is tracked; tracking_test has one",
    ("docs/training.md", "peft.PeftModel"): "another library; training_parts compares its logits where it is installed",
    ("docs/evaluation.md", "llava-train evaluate"): "data of others; evaluate_test has small files in the same formats",
    ("docs/evaluation.md", "endpoint:"): "evaluate_test's judge is such a file",
    ("docs/evaluation.md", "output: gen"): "generate_test runs such plans",
    ("docs/demo-model.md", "build/release/bin/llava-train run demo/recipe.yaml"): "takes hours",
    ("docs/demo-model.md", "scripts/with-test-venv tests/e2e/demo_exam.py"): "takes minutes; demo_model asks fewer of the same",
    ("docs/scaling.md", "ninja -C build/release"): "is a part of the build",
    ("docs/scaling.md", "build/release/bin/bench_"): "the models of benches, minutes of computing; no program that is shipped",
    ("docs/architecture.md", "base/               what everyone"): "a picture of the folders",
    ("docs/architecture.md", "base                          <- -"): "rules.py prints it and compares",
    ("docs/architecture.md", "bytes -> api"): "a picture of a request's way",
}

RECIPE = f"""\
name: flags
output: run
model: {{checkpoint: /models/{NAME}}}
data: {{files: [data.json], images: pictures}}
stages:
  - {{name: tune, train: [projector], steps: 2, batch: 2, rate: 1.0e-5}}
"""


def fences(document):
    """(language, text) of the fenced blocks, without the indentation of a list."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", (ROOT / document).read_text(), re.M | re.S)
    return [(language, re.sub(rf"^{indent}", "", text, flags=re.M)) for indent, language, text in found]


def commands(text):
    """A plain block's commands, with the lines that continue them: by a backslash, an open quote or a loop."""
    found, pending = [], ""
    for line in text.splitlines():
        pending += line + "\n"
        if subprocess.run(["bash", "-n", "-c", pending], capture_output=True).returncode or line.endswith("\\"):
            continue
        if pending.strip():
            found.append(pending.strip())
        pending = ""
    return found + ([pending.strip()] if pending.strip() else [])


def items(document):
    """(language, text) of all that is to be run, checked or listed."""
    for language, text in fences(document):
        if language in ("", "sh", "bash", "shell", "console"):
            # A pipe of two lines is one piece, and so is a picture made of letters.
            whole = "$token" in text or document == "docs/architecture.md"
            pieces = [text] if whole else commands(text)
            yield from (("", piece) for piece in pieces)
        else:
            yield language, text


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class DocumentedCommandsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.work = Path(cls.folder.name)
        cls.make_files()
        cls.daemon = Llavad(LLAVAD, cls.work / "models" / NAME)
        cls.daemon.__enter__()
        places = {"127.0.0.1:8080": cls.daemon.http.removeprefix("http://"), "127.0.0.1:50051": cls.daemon.grpc,
                  "127.0.0.1:9090": cls.daemon.base.removeprefix("http://"), "/models/": f"{cls.work}/models/",
                  "/etc/llavad": f"{cls.work}/etc", "/var/lib/llava-train": f"{cls.work}/jobs", "/data/": f"{cls.work}/",
                  "build/release/bin/": "", "demo/checkpoint": str(ROOT / "demo/checkpoint"), "--count 300": "--count 3",
                  "MASTER_PORT=29500": f"MASTER_PORT={free_port()}", "0.0.0.0:": "127.0.0.1:"}
        cls.pattern = re.compile("|".join(map(re.escape, places)))
        cls.places = lambda self, text: self.pattern.sub(lambda m: places[m[0]], text)

    @classmethod
    def make_files(cls):
        """What the documents' reader has: pictures, rows about them, recipes, a model, keys."""
        work = cls.work
        for folder in ("models/published", "pictures", "etc", "shards"):
            (work / folder).mkdir(parents=True)
        shutil.copytree(ROOT / "demo/checkpoint", work / "models/published/v000001-demo")
        (work / "models/published/latest").symlink_to("v000001-demo")
        (work / "models" / NAME).symlink_to(ROOT / "demo/checkpoint")
        shutil.copy(ROOT / "demo/pictures/circles.jpg", work / "cat.jpg")
        original_layout.write(ROOT / "tests/golden/data/checkpoint", work / "llava-v1.5-7b", work / "clip-vit-large-patch14-336")
        rows = []
        for number in range(8):
            shutil.copy(ROOT / "demo/pictures/word.png", work / f"pictures/{number}.png")
            rows.append({"id": f"flag-{number}", "image": f"{number}.png", "conversations": [
                {"from": "human", "value": "<image>\nWhose flag is this?"}, {"from": "gpt", "value": "Ursula"}]})
        versions = published.Published(work / "watched")
        versions.publish()
        (work / "models/v000012-3f2a9c0d11e4").symlink_to(versions.write(published.rolled(1))[0])
        (work / "program").symlink_to(PROGRAM)
        for name in ("data.json", "flags.json", "held-out.json"):
            (work / name).write_text(json.dumps(rows))
        recipe = RECIPE.replace("/models", f"{work}/models").replace("images: pictures", f"images: {work}/pictures")
        (work / "recipe.yaml").write_text(recipe.replace("data.json", f"{work}/data.json"))
        (work / "retrain.yaml").write_text(recipe.replace("[data.json]", "${SHARDS}"))
        (work / "jobs.yaml").write_text(f"folder: {work}/queue\nlisten: 127.0.0.1:0\n")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-keyout", work / "server.key", "-out", work / "server.pem"],
                       check=True, capture_output=True)
        shutil.copy(work / "server.key", work / "etc/tls.key")
        shutil.copy(work / "server.pem", work / "etc/tls.crt")
        for file, role in (("tokens", "admin"), ("etc/tokens", "chat")):
            (work / file).write_text(f"bob {role} sha256:{'0' * 64}\n")
        (work / "etc.yaml").write_text(f"checkpoint: {work}/models/{NAME}\n")
        (work / "llavad.yaml").write_text(f"watch: {work}/models/published\n")

    @classmethod
    def tearDownClass(cls):
        cls.daemon.__exit__()
        cls.folder.cleanup()

    def started(self, command, **more):
        path = f"{LLAVA.parent}:{LLAVAD.parent}:{LLAVA_TRAIN.parent}:{os.environ['PATH']}"
        return subprocess.Popen(["bash", "-euo", "pipefail", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, cwd=self.work, env={**os.environ, "PATH": path, "HOME": str(self.work)}, **more)

    def shell(self, command):
        with self.started(self.places(command)) as process:
            out, errors = process.communicate(timeout=900)
        self.assertEqual(process.returncode, 0, command + out + errors)
        return out

    def client(self, command):
        self.assertTrue(self.shell(f"{command.split('  #')[0]} --server {self.daemon.grpc}").strip())

    def server(self, command):
        """Until it serves; then it is to end well."""
        is_llavad = command.startswith("llavad")
        flags = " --listen 127.0.0.1:0 --http 127.0.0.1:0 --metrics 127.0.0.1:0" if is_llavad else ""
        with self.started("exec " + self.places(command).split("  #")[0] + flags) as process:
            said = process.stdout.readline()
            while is_llavad and said and said != "ready\n":
                said = process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            out, errors = process.communicate(timeout=60)
        self.assertTrue(said, command + errors)
        self.assertEqual(process.returncode, 0, command + said + out + errors)

    def models(self, command):
        """`llava models ...` of a server that is live with one version, where another one is a canary, or live for `rollback`
        and `unload`, which is of the version before."""
        command = command.split("  #")[0]
        flags = f"--watch {self.work}/watched --canary-answers 1000000 --listen 127.0.0.1:0 --http 127.0.0.1:0 --metrics 127.0.0.1:0"
        with self.started("exec llavad " + flags) as daemon:
            try:
                places = {}
                for line in daemon.stdout:
                    if line == "ready\n":
                        break
                    places.update([line.split()])
                self.assertIn("grpc", places, "the server did not start")
                llava = "llava models {} --server " + places["grpc"]
                live = re.match(r"\w{12}  live", self.wait_for(llava.format("list"), "  live "))[0].split()[0]
                if not command.startswith("llava models load"):
                    self.shell(llava.format("load /models/v000012-3f2a9c0d11e4"))
                if "rollback" in command or "unload" in command:
                    self.shell(llava.format("promote"))
                command = command.replace("3f2a9c0d11e4", live) if "unload" in command else command
                command = llava.format(command.removeprefix("llava models "))
                if "watch" not in command:
                    return self.shell(command)
                with self.started(f"exec {self.places(command)}") as watch:
                    self.assertIn(live, watch.stdout.readline())
                    watch.terminate()
            finally:
                daemon.terminate()
                daemon.communicate(timeout=60)

    def wait_for(self, command, words):
        """What the command prints once that has `words`."""
        for _ in range(600):
            if words in (said := self.shell(command)):
                return said
            threading.Event().wait(0.05)
        self.fail(f"{command} never said {words}")

    def curl(self, command):
        self.assertIn('"finish_reason":"stop"', self.shell(command))

    def score(self, command):
        self.assertIn('"best":', self.shell(command))

    def readyz(self, command):
        self.assertEqual(self.shell(command), "ready\n")

    def bench(self, command):
        self.assertIn("output tokens/s", self.shell(f"{command.split('  #')[0]} --server {self.daemon.grpc} --max-tokens 4"))

    def batch(self, command):
        self.shell(f"{command.split('  #')[0]} --server {self.daemon.grpc} --max-tokens 4")
        self.assertIn("stop,", (self.work / "answers.csv").read_text().replace("length,", "stop,"))

    def job(self, command):
        """`llava jobs create recipe.yaml`, and what is asked about job 1, of a service of their own."""
        with self.started(f"exec llava-train serve --config {self.work}/jobs.yaml") as service:
            try:
                address = f"127.0.0.1:{json.loads(service.stdout.readline())['port']}"
                if "create" not in command:
                    self.shell(f"llava jobs create recipe.yaml --server {address}")
                self.shell(f"{command.split('  #')[0]} --server {address}")
            finally:
                service.send_signal(signal.SIGTERM)
                service.communicate(timeout=60)

    def python(self, program):
        (self.work / "program.py").write_text(self.places(program))
        self.assertTrue(self.shell(f"{sys.executable} program.py").strip())

    def cpp(self, text):
        """The build has compiled it."""
        self.assertIn("int main()", text)
        self.assertTrue(self.shell(f"LLAVAD={self.daemon.grpc} ./program").strip())

    def config(self, text):
        (self.work / "given.yaml").write_text(self.places(text))
        self.assertEqual(self.shell("llavad --config given.yaml --check"), "ok\n")
        self.shell("llavad --config given.yaml --print-config")

    def recipe(self, text):
        """The recipe, for two steps instead of three epochs."""
        (self.work / "given.yaml").write_text(self.places(text).replace("output: run ", "output: given ").replace("epochs: 3", "steps: 2"))
        self.shell("llava-train run given.yaml")

    def service(self, text):
        (self.work / "serve.yaml").write_text(self.places(re.sub(r":(8090|9402)\b", ":0", text)))
        self.server("llava-train serve --config serve.yaml")

    def row(self, text):
        (self.work / "row.jsonl").write_text(" ".join(text.split("\n")) + "\n")
        self.assertRegex(self.shell("llava-train check row.jsonl --images pictures/"), r"rows +1")

    # (language, what the command or block has, how it is tried), the first that fits.
    RULES = [
        ("python", r"", python), ("cpp", r"", cpp),
        ("yaml", r"^checkpoint:", config), ("yaml", r"^stages:", recipe), ("yaml", r"^triggers:", service),
        ("json", r'"conversations"', row),
        ("", r"^curl .*completions", curl), ("", r"^curl .*score", score), ("", r"^curl .*readyz", readyz),
        ("", r"^llava chat", client), ("", r"^llava models", models), ("", r"^llava bench", bench),
        ("", r"^llava batch", batch),
        ("", r"^llava jobs", job),
        ("", r"^llavad --config \S+ --check", shell), ("", r"^llavad (inspect|generate)", shell),
        ("", r"^llavad |^llava-train serve", server),
        ("", r"llava-train (check|plan|run|evaluate|scenes|convert|quantize|compare)", shell),
        ("", r"^source <\(llava |^llava --man|^token=", shell),
    ]

    def rule(self, language, text):
        return next((how for kind, has, how in self.RULES if kind == language and re.search(has, text, re.M)), None)

    def test_everything_is_run_or_listed(self):
        self.maxDiff = None
        stale, unknown = set(NOT_RUN), []
        for document in DOCUMENTS:
            for language, text in items(document):
                listed = [key for key in NOT_RUN if key[0] == document and text.startswith(key[1])]
                stale.difference_update(listed)
                if not listed and self.rule(language, text) is None:
                    unknown.append((document, text[:80]))
        self.assertEqual(unknown, [], "these have no rule in RULES and no reason in NOT_RUN")
        self.assertEqual(stale, set(), "no document has these any more")

    def test_as_it_stands(self):
        # `run` comes before what reads what it published.
        todo = [(document, language, text) for document in DOCUMENTS for language, text in items(document)
                if not any(document == key[0] and text.startswith(key[1]) for key in NOT_RUN)]
        for document, language, text in sorted(todo, key=lambda item: "run/published" in item[2]):
            how = self.rule(language, text)
            if how is None:
                continue  # test_everything_is_run_or_listed names it
            with self.subTest(document=document, text=text[:80]):
                how(self, text)

    def inline(self):
        """The words of each command between single backquotes, with its document."""
        for document in DOCUMENTS:
            text = re.sub(r"```.*?```", "", (ROOT / document).read_text(), flags=re.S)
            for code in re.findall(r"`([^`]+)`", text):
                yield document, code.split()

    def test_commands_in_the_text_have_the_subcommands_and_flags_that_they_name(self):
        @functools.cache
        def help_of(*command):
            return self.shell(" ".join(command) + " --help")

        for document, words in self.inline():
            if words[0] not in ("llava", "llavad", "llava-train"):
                continue
            command = words[:1]
            for word in words[1:]:  # `models rollback`: as far as the help of the part before lists it
                if word.startswith("-") or not re.search(rf"^  {re.escape(word)}\b", help_of(*command), re.M):
                    break
                command.append(word)
            known = help_of(*command)
            for flag in (word for word in words if word.startswith("--")):
                self.assertIn(flag.split("=")[0], known, (document, words))
            if words[1:2] and re.fullmatch(r"[a-z]+", words[1]):
                self.assertGreater(len(command), 1, (document, words))

    def test_files_and_targets_in_the_text_are_there(self):
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        for document, words in self.inline():
            if words[0] == "make":
                self.assertIn(words[1], targets, document)
            for word in words:
                if re.fullmatch(r"(scripts|tests|docs|demo|proto|server|model|training|client|base|rpc|cmake)/[\w./-]+", word):
                    places = [ROOT / word, *ROOT.glob(word + ".*")]  # `model/kernels/cpu/worker_pool` is a .h and a .cc
                    self.assertTrue(any(place.exists() for place in places), (document, word))

    def test_every_link_leads_somewhere(self):
        for document in [ROOT / name for name in DOCUMENTS]:
            text = re.sub(r"```.*?```", "", document.read_text(), flags=re.S)
            for target in re.findall(r"\]\(([^)\s]+)\)", text):
                if "://" in target:
                    continue
                path, _, anchor = target.partition("#")
                other = (document.parent / path).resolve() if path else document
                self.assertTrue(other.exists(), (document.name, target))
                if anchor:
                    headings = [re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).strip().replace(" ", "-")
                                for line in other.read_text().splitlines() if line.startswith("#")]
                    self.assertIn(anchor, headings, document.name)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
