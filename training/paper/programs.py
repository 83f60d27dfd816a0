"""The programs of this repository, run for the small paper."""
import json
import os
import signal
import subprocess
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("LLAVA_BIN", ROOT / "build/release/bin"))
TRAIN = BIN / "llava-train"


def train(*arguments):
    """llava-train with these arguments; what it prints goes to our own output."""
    done = subprocess.run([str(TRAIN), *(str(a) for a in arguments)])
    if done.returncode != 0:
        raise SystemExit(f"llava-train {' '.join(str(a) for a in arguments)}: ended with {done.returncode}; run make paper again to go on")


def run(recipe):
    """Trains on all cores: a rank of one thread each. Killed, it goes on where it was. The published checkpoint."""
    ranks = os.cpu_count() or 1
    log = recipe.with_suffix(".log")
    processes = []
    with log.open("a") as out:
        for rank in range(ranks):
            environment = {**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks),
                           "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(29600 + os.getpid() % 1000), "OMP_NUM_THREADS": "1"}
            processes.append(subprocess.Popen([str(TRAIN), "run", str(recipe)], stdout=out, stderr=out, env=environment))
        codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit(f"{recipe}: ended with {codes}, see {log}; run make paper again to go on")
    return (recipe.with_suffix("") / "published" / "latest").resolve()


class Daemon:
    """llavad with a checkpoint on free ports of this machine, while it is entered."""

    def __init__(self, checkpoint):
        self.command = [str(BIN / "llavad"), "--checkpoint", str(checkpoint), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0",
                        "--metrics", "127.0.0.1:0"]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        places = {}
        for line in self.process.stdout:
            name, _, place = line.strip().partition(" ")
            places[name] = place
            if name == "ready":
                self.url = places["http"] + "/v1"
                with urllib.request.urlopen(self.url + "/models", timeout=60) as reply:
                    self.model = json.load(reply)["data"][0]["id"]
                return self
        raise SystemExit(f"{' '.join(self.command)}: did not get ready")

    def ask(self, text, max_tokens=200):
        body = {"model": self.model, "temperature": 0, "max_tokens": max_tokens, "messages": [{"role": "user", "content": text}]}
        request = urllib.request.Request(self.url + "/chat/completions", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=300) as reply:
            return json.load(reply)["choices"][0]["message"]["content"]

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        self.process.stdout.close()
