"""A daemon as a process of its own, and the Python client made from the protos."""
import importlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

import grpc
import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = ROOT / "tests/golden/data/checkpoint"
IMAGES = ROOT / "tests/golden/data/images"
PROGRAM = os.environ["LLAVAD"]  # fake_llavad, or llavad itself


def generated(*protos):
    """(x_pb2, x_pb2_grpc, ...) of the files below proto/, generated now."""
    out = tempfile.mkdtemp(prefix="llava-client-")
    standard = Path(grpc_tools.__file__).parent / "_proto"
    code = protoc.main(["protoc", f"-I{ROOT / 'proto'}", f"-I{standard}", f"--python_out={out}", f"--grpc_python_out={out}", *protos])
    assert code == 0
    sys.path.insert(0, out)
    names = [proto.removesuffix(".proto").replace("/", ".") + suffix for proto in protos for suffix in ("_pb2", "_pb2_grpc")]
    return tuple(importlib.import_module(name) for name in names)


def generated_client(with_models=False):
    """(chat_pb2, chat_pb2_grpc); `with_models`: and (models_pb2, models_pb2_grpc)."""
    return generated("llava/v1/chat.proto", "llava/v1/models.proto")[:4 if with_models else 2]


def wait_until(condition, what, seconds=120):
    """Until condition() is true; fails loudly when it does not become so. `what`: text, or what makes it then."""
    nothing = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        nothing.wait(0.02)
    raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")


def of_threads(pid, file):
    """{thread id: what /proc says in `file`}, without threads that end meanwhile."""
    said = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            said[int(task.name)] = (task / file).read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
    return said


def fail_for_a_sanitizer(logged):
    """Where a sanitizer has written a report: not every test looks at the exit code."""
    report = re.search(r"ERROR: \w+Sanitizer: |WARNING: ThreadSanitizer: |:\d+:\d+: runtime error: ", logged)
    assert not report, logged[max(0, report.start() - 100):][:10_000]


class Daemon:
    def __init__(self, *flags, config="", checkpoint=CHECKPOINT, kv_cache="16MiB", preexec=None):
        self.config = tempfile.NamedTemporaryFile("w", suffix=".yaml")
        self.config.write(f"checkpoint: {checkpoint}\nmodel_name: golden\nkv_cache_bytes: {kv_cache}\n"
                          "listen: 127.0.0.1:0\nhttp: 127.0.0.1:0\nmetrics: 127.0.0.1:0\n" + config)
        self.config.flush()
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([PROGRAM, "--config", self.config.name, *flags], text=True,
                                        stdout=subprocess.PIPE, stderr=self.log, preexec_fn=preexec)
        self.terminated = False
        self.addresses = {}
        for line in self.process.stdout:
            if line.strip() == "ready":
                break
            name, address = line.split()
            self.addresses[name] = address
        else:
            raise AssertionError("the daemon did not start: " + self.logged())

    def logged(self):
        """Without a seek, which would move the place where the daemon writes: the file has one position for both."""
        file = self.log.fileno()
        return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")

    def metrics(self):
        import urllib.request
        text = urllib.request.urlopen(self.addresses["metrics"]).read().decode()
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
                for line in text.splitlines() if not line.startswith("#")}

    def counted_requests(self, *labels):
        """How many requests have ended whose labels hold all of these, as 'status="OK"'."""
        return sum(value for name, value in self.metrics().items()
                   if name.startswith("llava_requests_total{") and all(label in name for label in labels))

    def threads_and_files(self):
        """How many threads of each name and open files it has; without the two pools of gRPC that grow to a size of their
        own and may shrink again."""
        threads = Counter(name.strip() for name in of_threads(self.process.pid, "comm").values())
        for pool in ("default-executo", "grpc_global_tim"):
            threads.pop(pool, None)
        return threads, len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def has_no_more_than(self, before):
        """Whether no thread and no file came since `before` (of threads_and_files). Fewer may be: a connection whose client had
        just closed it was still counted then."""
        threads, files = self.threads_and_files()
        return threads <= before[0] and files <= before[1]

    def keeps_freed_memory(self):
        """AddressSanitizer does, to find who still uses it; it looks for leaks itself when the daemon ends."""
        return "libasan" in Path(f"/proc/{self.process.pid}/maps").read_text()

    def channel(self, **credentials):
        options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
        if credentials:
            return grpc.secure_channel(self.addresses["grpc"], grpc.ssl_channel_credentials(**credentials), options)
        return grpc.insecure_channel(self.addresses["grpc"], options)

    def terminate(self):
        self.terminated = True
        self.process.send_signal(signal.SIGTERM)

    def stop(self):
        """The exit code after SIGTERM, which is sent unless terminate() was called."""
        if self.process.poll() is None and not self.terminated:
            self.terminate()
        code = self.process.wait(timeout=60)
        self.process.stdout.close()
        if not self.config.closed:
            self.config.close()
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
            raise
        finally:
            self.log.close()


def make_certificates(folder):
    """ca, server and client key pairs in folder: {name}.pem and {name}.key."""
    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=test-ca", "-keyout", "ca.key", "-out", "ca.pem")
    (Path(folder) / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name in ("server", "client"):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", "names", "-out", f"{name}.pem")
