"""Starts a real llavad on free ports for a test, and stops it."""
import signal
import subprocess
import time
import urllib.request


class Llavad:
    """with Llavad(binary, checkpoint, "--flag", "value") as daemon: daemon.http, daemon.grpc, daemon.metrics"""

    def __init__(self, binary, checkpoint, *flags):
        self.command = [str(binary), "--checkpoint", str(checkpoint), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0",
                        "--metrics", "127.0.0.1:0", *flags]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        while line := self.process.stdout.readline():
            name, _, place = line.strip().partition(" ")
            setattr(self, name, place)
            if name == "metrics":
                break
        self.base = self.metrics.removesuffix("/metrics")
        give_up = time.monotonic() + 120
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > give_up:
                self.process.kill()
                raise RuntimeError(f"not ready: {self.command}")
            time.sleep(0.05)  # the daemon is another process; there is nothing to wait on
        return self

    def _ready(self):
        try:
            urllib.request.urlopen(self.base + "/readyz", timeout=5).close()
            return True
        except OSError:
            return False

    def metric(self, name):
        """The sum over all label sets of one metric."""
        text = urllib.request.urlopen(self.metrics, timeout=5).read().decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                   if line.startswith((name + " ", name + "{")))

    def wait_for_metric(self, name, value):
        give_up = time.monotonic() + 60
        while self.metric(name) != value:
            if time.monotonic() > give_up:
                raise AssertionError(f"{name} is {self.metric(name)}, expected {value}")
            time.sleep(0.05)  # as above

    def __exit__(self, *unused):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        self.process.stdout.close()
