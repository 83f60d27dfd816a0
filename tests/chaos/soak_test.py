"""Honest load of all kinds beside bad requests and attacks of all kinds, against llavad with the golden checkpoint; a
bystander's waiting times; then everything is as it was at the start: memory, files, threads, blocks, and no error in
the log. In CI each does its rounds once or twice; by hand for as long as is wished:

    LLAVAD=build/release/bin/llavad scripts/with-test-venv tests/chaos/soak_test.py --minutes 60
"""
import argparse
import hashlib
import http.client
import io
import json
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
import unittest
from collections import Counter
from pathlib import Path

import grpc
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from daemon_process import wait_until  # noqa: E402
from published import Published, rolled  # noqa: E402
from reload_daemon import IMAGES, Llavad, pb, pb_grpc  # noqa: E402
from soak_attacks import ATTACKS, Target, bad_requests, hostile_folders  # noqa: E402

MINUTES = None  # None: a fixed number of rounds
ROUNDS = 2
PATIENCE = 300  # seconds of an honest client: a busy machine is no problem of the daemon's
SEED = 15
MIB = 1 << 20
# Of memory at the end against the start, and of its peak against the start; what a daemon with the bounds below may hold.
LEFT_MIB, PEAK_MIB = 96, 512
TOKENS = "".join(f"{who} chat sha256:{hashlib.sha256(who.encode()).hexdigest()}\n" for who in ("alice", "bob", "mallory"))
SIZES = "kv_cache_bytes: 8MiB\nmax_context_tokens: 512\nimage_cache_bytes: 4MiB\n"
CONFIG = ("canary_percent: 0\nkeep_previous: false\nhttp_request_timeout: 10s\nhttp_idle_timeout: 60s\nrequest_timeout: 5m\n"
          "max_message_bytes: 16MiB\nqueue_bytes: 128MiB\ntenant_requests: 64\nmax_text_bytes: 64KiB\nprepare_threads: 2\n")


def picture(side, kind, rng):
    image = Image.effect_noise((side, max(1, side * 3 // 4)), 40).convert("RGB")
    image.putpixel((0, 0), (rng.randrange(256), rng.randrange(256), rng.randrange(256)))  # another one each time
    data = io.BytesIO()
    image.save(data, kind)
    return data.getvalue()


def request(text, image=None, max_tokens=8, **more):
    parts = [pb.MessagePart(image=image)] if image else []
    return pb.ChatRequest(messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=[*parts, pb.MessagePart(text=text)])],
                          sampling=pb.SamplingOptions(max_tokens=max_tokens, ignore_eos=True), **more)


class Client:
    """A person with a token."""

    def __init__(self, target, who):
        self.target, self.who = target, who
        self.metadata = [("authorization", f"Bearer {who}")]
        self.channel = grpc.insecure_channel(target.grpc, [("grpc.use_local_subchannel_pool", 1)])
        self.stub = pb_grpc.ChatServiceStub(self.channel)

    def chat(self, *args, timeout=PATIENCE, **more):
        return self.stub.Chat(request(*args, **more), metadata=self.metadata, timeout=timeout)

    def stream(self, *args, timeout=PATIENCE, **more):
        return self.stub.ChatStream(pb.ChatStreamRequest(request=request(*args, **more)), metadata=self.metadata, timeout=timeout)

    def http(self, path, body=None):
        """(connection, answer), whose status is 200."""
        connection = http.client.HTTPConnection(*self.target.http.split(":"), timeout=PATIENCE)
        connection.request("POST" if body else "GET", path, json.dumps(body) if body else None,
                           {"Authorization": f"Bearer {self.who}", "Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            said = answer.read()
            connection.close()
            raise AssertionError(f"{path}: {answer.status} {said[:200]}")
        return connection, answer

    def read(self, path, body=None):
        connection, answer = self.http(path, body)
        said = answer.read()
        connection.close()
        return said


def asking(text, **more):
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 8, "ignore_eos": True, **more}


class Worker(threading.Thread):
    """Does its actions in turn, `rounds` times or until the end. `mind`: an error of these is no problem. `pause`: seconds between
    two of them."""

    def __init__(self, soak, name, actions, mind=(), pause=0.05):
        super().__init__(name=name)
        self.soak, self.actions, self.mind, self.seconds = soak, actions, mind, pause
        self.done, self.refused = Counter(), Counter()

    def run(self):
        turn = 0
        while self.soak.goes_on(turn):
            for what, action in self.actions:
                try:
                    action()
                    self.done[what] += 1
                except self.mind:
                    self.refused[what] += 1
                except Exception as error:  # whatever it is, the test says it
                    self.soak.problem(f"{self.name}: {what}", error)
                self.soak.pause.wait(self.seconds)
            turn += 1


class Bystander(threading.Thread):
    """Asks a short question again and again, and looks at the metrics; none of it may fail."""

    def __init__(self, soak):
        super().__init__(name="bystander")
        self.soak, self.client, self.seconds = soak, Client(soak.target, "alice"), []

    def run(self):
        turn = 0
        while not self.soak.over.is_set():
            turn += 1
            try:
                start = time.monotonic()
                connection, answer = self.client.http("/v1/chat/completions", asking(f"Question {turn}?", stream=True))
                while line := answer.readline():
                    if line.startswith(b"data: ") and b'"content"' in line:
                        break
                self.seconds.append(time.monotonic() - start)
                if b"[DONE]" not in answer.read():
                    raise AssertionError("the answer has no end")
                connection.close()
                if self.soak.daemon.get("/metrics")[0] != 200:
                    raise AssertionError("no metrics")
            except Exception as error:
                self.soak.problem("bystander", error)
            self.soak.over.wait(0.1)

    def percentiles(self):
        """Milliseconds until the first token: p50, p95, p99, the most."""
        cuts = statistics.quantiles(self.seconds, n=100)
        return [round(1000 * value) for value in (cuts[49], cuts[94], cuts[98], max(self.seconds))]


class Soak:
    def __init__(self, daemon, published):
        self.daemon, self.published, self.target = daemon, published, Target(daemon)
        self.pause, self.over, self.problems = threading.Event(), threading.Event(), []
        self.end, self.rounds = None, 0

    def problem(self, where, error):
        self.problems.append(f"{where}: {type(error).__name__}: {error}"[:500])
        print(self.problems[-1], flush=True)

    def goes_on(self, turn):
        return turn < self.rounds if self.end is None else time.monotonic() < self.end

    def honest(self):
        bob, rng = Client(self.target, "bob"), random.Random(SEED)
        data = {kind: picture(1, kind, rng) for kind in ("png", "jpeg", "webp", "gif", "bmp")}
        actions = [(f"{kind} of 1 pixel", lambda d=d: bob.chat("What is this?", d)) for kind, d in data.items()]
        for side, kind in ((40, "png"), (336, "jpeg"), (700, "webp"), (1500, "jpeg"), (2400, "png")):
            actions.append((f"{kind} {side}", lambda s=side, k=kind: bob.chat("What is this?", picture(s, k, rng))))
        return actions + [("gRPC text", lambda: bob.chat("How are you?")),
                          ("two answers", lambda: bob.chat("How are you?", n=2)),
                          ("gRPC stream", lambda: list(bob.stream("Go on.", max_tokens=40)))]

    def honest_http(self):
        bob = Client(self.target, "bob")
        return [("chat", lambda: bob.read("/v1/chat/completions", asking("Hello"))),
                ("stream", lambda: bob.read("/v1/chat/completions", asking("Go on", stream=True, max_tokens=40))),
                ("logprobs", lambda: bob.read("/v1/chat/completions", asking("Hello", logprobs=True, top_logprobs=5))),
                ("models", lambda: bob.read("/v1/models")),
                ("tokenize", lambda: bob.read("/tokenize", {"prompt": "How many tokens are these? " * 50})),
                ("detokenize", lambda: bob.read("/detokenize", {"tokens": list(range(10, 90))})),
                ("page", lambda: bob.read("/"))]

    def impatient(self):
        bob = Client(self.target, "bob")
        window = [("grpc.http2.lookahead_bytes", 1), ("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1)]

        def cancel():
            answer = bob.stream("Go on for long.", max_tokens=400)
            next(answer)
            answer.cancel()

        def hang_up():
            connection, answer = bob.http("/v1/chat/completions", asking("Go on", stream=True, max_tokens=400))
            answer.readline()
            connection.close()

        def read_slowly():
            with grpc.insecure_channel(self.target.grpc, window) as channel:
                slow = pb_grpc.ChatServiceStub(channel).ChatStream(
                    pb.ChatStreamRequest(request=request("Go on.", max_tokens=200)), metadata=bob.metadata, timeout=PATIENCE)
                for _ in range(5):
                    next(slow)
                    self.pause.wait(0.1)
                slow.cancel()
        return [("cancel", cancel), ("hang up", hang_up), ("read slowly", read_slowly),
                ("deadline", lambda: bob.chat("Go on.", max_tokens=400, timeout=0.02))]

    def reloads(self):
        def publish(rows):
            folder, version = self.published.write(rolled(rows))
            self.published.point(folder)
            wait_until(lambda: self.live() == version, f"{version[:12]} is live", PATIENCE)
            old = sorted(self.published.root.glob("v*"))[:-3]
            for gone in old:
                shutil.rmtree(gone)

        def reject(make):
            self.published.point(make())
            self.pause.wait(0.3)
        actions = []
        for rows, make in zip((1, 2, 3), hostile_folders(self.published)):
            actions += [(make.__name__, lambda m=make: reject(m)), ("reload", lambda r=rows: publish(r))]
        return actions

    def live(self):
        return next((version for version, state in self.daemon.states_in_metrics() if state == "live"), None)

    def run(self, rounds, minutes=None):
        """Until all have done their rounds, or for so long."""
        self.rounds = rounds
        self.end = None if minutes is None else time.monotonic() + 60 * minutes
        bad = bad_requests((IMAGES / "landscape.png").read_bytes())
        gone = (OSError, grpc.RpcError, AssertionError)  # AssertionError: http2, of a connection that the daemon closed
        self.workers = [Worker(self, "honest gRPC", self.honest()), Worker(self, "honest HTTP", self.honest_http()),
                        Worker(self, "impatient", self.impatient(), (grpc.RpcError,)),
                        Worker(self, "reloads", self.reloads(), pause=0.05 if minutes is None else 5),
                        Worker(self, "bad requests", [(what, lambda a=act: a(self.target)) for what, act in bad], gone),
                        Worker(self, "attacks", [(act.__name__, lambda a=act: a(self.target)) for act in ATTACKS], gone,
                               0.05 if minutes is None else 1)]
        bystander = Bystander(self)
        for thread in (bystander, *self.workers):
            thread.start()
        for worker in self.workers:
            worker.join()
        self.over.set()
        bystander.join()
        return bystander

    def settled(self):
        """What the daemon holds while nobody asks: waits for that first."""
        def idle():
            metrics = self.daemon.metrics()
            return not (metrics["llava_requests_running"] or metrics["llava_requests_waiting"]
                        or metrics["llava_requests_preparing"] or metrics['llava_kv_blocks{state="used"}'])
        wait_until(idle, "nothing runs, and no block is used", 120)
        return {"MiB": self.daemon.rss() / MIB, "files and threads": self.daemon.holds()}

    def peak(self):
        status = Path(f"/proc/{self.daemon.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


class SoakTest(unittest.TestCase):
    def test_all_is_as_before_after_honest_and_other_load(self):
        with tempfile.TemporaryDirectory() as folder:
            published = Published(folder + "/models")
            published.publish()
            (Path(folder) / "tokens").write_text(TOKENS)
            config = CONFIG + f"watch: {published.root}\ntokens_file: {folder}/tokens\n"
            with Llavad(config, sizes=SIZES).wait_ready() as daemon:
                self.check(Soak(daemon, published))
                self.assertEqual(daemon.stop(), 0, daemon.logged()[-2000:])
                self.check_log(daemon.logged())

    def check(self, soak):
        soak.run(1)  # what is set up at the first call does not count
        start = soak.settled()
        print(f"start: {start}", flush=True)
        began = time.monotonic()
        watch = threading.Thread(target=self.tell, args=(soak, began))
        soak.over.clear()
        if MINUTES:
            watch.start()
        bystander = soak.run(ROUNDS, MINUTES)
        if MINUTES:
            watch.join()
        self.report(soak, bystander, time.monotonic() - began)
        for worker in soak.workers:
            for what, _ in worker.actions:
                self.assertGreater(worker.done[what] + worker.refused[what], 0, what)
        wait_until(lambda: all(now <= then for now, then in zip(soak.daemon.holds(), start["files and threads"])),
                   lambda: f"files and threads {start['files and threads']} -> {soak.daemon.holds()}", 120)
        end = soak.settled()
        print(f"end: {end}, peak {soak.peak():.0f} MiB", flush=True)
        self.assertEqual(soak.problems, [])
        self.assertLess(end["MiB"] - start["MiB"], LEFT_MIB)
        self.assertLess(soak.peak() - start["MiB"], PEAK_MIB)

    def tell(self, soak, began):
        while not soak.over.wait(60):
            fds, threads = soak.daemon.holds()
            print(f"{(time.monotonic() - began) / 60:.0f} min: {soak.daemon.rss() / MIB:.0f} MiB, {fds} files, "
                  f"{threads} threads, {len(soak.problems)} problems", flush=True)

    def report(self, soak, bystander, seconds):
        print(f"{seconds / 60:.1f} min; the bystander's first token, ms: p50, p95, p99, most {bystander.percentiles()} of "
              f"{len(bystander.seconds)} answers; problems: {len(soak.problems)}")
        for worker in soak.workers:
            print(f"  {worker.name}: {sum(worker.done.values())} done, {sum(worker.refused.values())} refused or cut off:",
                  dict(worker.done), dict(worker.refused))
        sys.stdout.flush()

    def check_log(self, logged):
        levels = Counter()
        for line in logged.splitlines():
            entry = json.loads(line)
            levels[entry["level"], entry["event"]] += 1
        print("log:", dict(levels))
        self.assertEqual([key for key in levels if key[0] == "error"], [])
        for said in ("What is this?", "Go on", "How are you", "Bearer"):
            self.assertNotIn(said, logged)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float)
    options, rest = parser.parse_known_args()
    MINUTES = options.minutes
    unittest.main(verbosity=2, argv=[sys.argv[0], *rest])
