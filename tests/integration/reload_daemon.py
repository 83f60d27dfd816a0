"""llavad as a process of its own for the tests of reloading: its RPCs, its load, its log."""
import json
import os
import re
import signal
import stat
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import grpc

from daemon_process import IMAGES, fail_for_a_sanitizer, generated_client, of_threads, wait_until

PROGRAM = os.environ["LLAVAD"]
pb, pb_grpc, models_pb, models_grpc = generated_client(with_models=True)

QUESTIONS = ["What is this?", "Which colours do you see?", "Describe it.", "Is anybody there?", "How many are there?"]
PICTURES = ["landscape.png", "portrait.jpg", "gray.png", None]


def question(text, picture=None, max_tokens=8, **sampling):
    parts = [pb.MessagePart(image=(IMAGES / picture).read_bytes())] if picture else []
    parts.append(pb.MessagePart(text=text))
    return pb.ChatRequest(messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=parts)], return_token_ids=True,
                          sampling=pb.SamplingOptions(max_tokens=max_tokens, **sampling))


class Llavad:
    """Starts at once; wait_ready() waits for the first version. `log`: a file for its standard error; `sizes`: for other
    checkpoints than the golden one; `under`: a command that runs the one after it."""

    def __init__(self, config, log=None, sizes="kv_cache_bytes: 4MiB\nmax_context_tokens: 256\n", under=(), **environment):
        self.config = tempfile.NamedTemporaryFile("w", suffix=".yaml")
        self.config.write("model_name: golden\nthreads: 1\nlisten: 127.0.0.1:0\n"
                          "http: 127.0.0.1:0\nmetrics: 127.0.0.1:0\nwatch_interval: 50ms\n"
                          + sizes + config)
        self.config.flush()
        self.log = open(log, "r+b") if log else tempfile.TemporaryFile()
        self.process = subprocess.Popen([*under, PROGRAM, "--config", self.config.name], text=True,
                                        stdout=subprocess.PIPE, stderr=self.log, env={**os.environ, "OMP_NUM_THREADS": "1", **environment})
        self.addresses = {}
        while len(self.addresses) < 3:
            line = self.process.stdout.readline()
            assert line, "the daemon did not start: " + self.logged()
            name, address = line.split()
            self.addresses[name] = address
        self.channel = grpc.insecure_channel(self.addresses["grpc"], [("grpc.use_local_subchannel_pool", 1)])
        self.chat = pb_grpc.ChatServiceStub(self.channel)
        self.models = models_grpc.ModelServiceStub(self.channel)

    def logged(self):
        if not stat.S_ISREG(os.fstat(self.log.fileno()).st_mode):
            return ""  # /dev/full keeps nothing, and what is read of it has no end
        file = self.log.fileno()  # pread: a seek would move the place where the daemon writes
        return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")

    def get(self, path):
        """(status, text) of the metrics port."""
        base = self.addresses["metrics"].removesuffix("/metrics")
        try:
            with urllib.request.urlopen(base + path, timeout=120) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self):
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
                for line in self.get("/metrics")[1].splitlines() if not line.startswith("#")}

    def ready(self):
        return self.get("/readyz")[0] == 200

    def wait_ready(self):
        wait_until(lambda: self.ready() or self.process.poll() is not None, "ready", 300)
        assert self.process.poll() is None, self.logged()
        return self

    def versions(self):
        """{version: ModelVersion}"""
        return {v.version: v for v in self.models.List(models_pb.ListRequest()).versions}

    def state(self, version):
        found = self.versions().get(version)
        return models_pb.VersionState.Name(found.state).removeprefix("VERSION_STATE_").lower() if found else None

    def wait_state(self, version, *states, seconds=300):
        wait_until(lambda: self.state(version) in states, f"{version[:12]} {states}", seconds)

    def events(self):
        return [(e.version, models_pb.VersionState.Name(e.state).removeprefix("VERSION_STATE_").lower())
                for e in self.models.List(models_pb.ListRequest()).events]

    def states_in_metrics(self):
        """{(version, state)}"""
        return {tuple(re.findall(r'"([^"]+)"', name))[::-1] for name, value in self.metrics().items()
                if name.startswith("llava_model_version_state{") and value == 1}

    def load(self, folder, **call):
        return self.models.Load(models_pb.LoadRequest(path=str(folder)), **call)

    def ask(self, text="What is this?", picture=None, **how):
        """(version, token ids) of one answer."""
        answer = self.chat.Chat(question(text, picture, **how))
        return answer.model_version, tuple(answer.choices[0].token_ids)

    def holds(self):
        """(open files, threads of its own). gRPC starts and ends its own as it likes; they have its names."""
        names = [name.strip() for name in of_threads(self.process.pid, "comm").values()]
        return len(os.listdir(f"/proc/{self.process.pid}/fd")), sum(name in ("llavad", "cpu") for name in names)

    def loaded(self):
        """How many versions are in memory."""
        return sum(v.bytes > 0 for v in self.versions().values())

    def rss(self):
        """Resident bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def fill_kv_cache(self):
        """Until each of its blocks was written once: pages that nobody used yet are not resident."""
        for turn in range(10000):
            if self.metrics()['llava_kv_blocks{state="free"}'] == 0:
                return
            self.ask(f"{turn}: " + "what has nobody asked before? " * 6)
        raise AssertionError("the KV cache is not full")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        if not self.log.closed:
            fail_for_a_sanitizer(self.logged())
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.channel.close()
            self.process.stdout.close()
            self.config.close()
            self.log.close()


class Load:
    """People who ask and read streams all the time, `model`. Every answer is whole, and of one version."""

    def __init__(self, daemon, people=3, max_tokens=12, model=""):
        self.daemon, self.max_tokens, self.model = daemon, max_tokens, model
        self.stopping = threading.Event()
        self.answers = []  # (version, question, ids)
        self.problems = []
        self.threads = [threading.Thread(target=self._person, args=(i,)) for i in range(people)]

    def _person(self, me):
        turn = 0
        while not self.stopping.is_set():
            turn += 1
            text = QUESTIONS[(me + turn) % len(QUESTIONS)]
            picture = PICTURES[(me + turn // 2) % len(PICTURES)]
            try:
                self._ask(text, picture)
            except grpc.RpcError as error:
                self.problems.append(f"{error.code()}: {error.details()}")

    def _ask(self, text, picture):
        request = question(text, picture, self.max_tokens, ignore_eos=True)
        request.model = self.model
        events = list(self.daemon.chat.ChatStream(pb.ChatStreamRequest(request=request)))
        versions = {e.model_version for e in events}
        ids = tuple(i for e in events for i in e.token_ids)
        if len(versions) != 1:
            self.problems.append(f"an answer of {len(versions)} versions")
        if len(ids) != self.max_tokens or not events[-1].HasField("usage"):
            self.problems.append(f"an answer of {len(ids)} tokens was cut")
        self.answers.append((versions.pop(), (text, picture), ids))

    def wait_answers(self, more, version=None):
        """Until `more` further answers are in (of that version)."""
        def count():
            return sum(version in (None, answer[0]) for answer in list(self.answers))
        start = count()
        wait_until(lambda: count() >= start + more or self.problems, f"{more} more answers", 120)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def check(self, test):
        """Nothing failed; one version always answers a question alike, and versions differ."""
        test.assertEqual(self.problems, [])
        by_question = {}
        for version, asked, ids in self.answers:
            by_question.setdefault((version, asked), set()).add(ids)
        for (version, asked), answers in by_question.items():
            test.assertEqual(len(answers), 1, f"{version[:12]} {asked} {answers}")
