"""The sections of scripts/gpu-check. A section has some seconds at the most and does not begin with fewer than it needs."""
import argparse
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(Path(__file__).parent))
import gpu_checkpoint  # noqa: E402

NO_GPU = 77
TESTS = ("golden_test,attention_property_test,device_matrix_property_test,step_sampler_property_test,model_attention_test,"
         "server_torch_test")


class Failed(Exception):
    """The section's own words for what went wrong; what was found until then is kept."""


class Late(Exception):
    pass


@dataclass
class Section:
    name: str
    least: int  # seconds that have to be left
    limit: int
    what: str
    run: object  # (check, data) -> its line; fills data


class Check:
    def __init__(self, args):
        self.args = args
        self.output = Path(args.output)
        self.output.mkdir(parents=True, exist_ok=True)
        self.scratch = Path(tempfile.mkdtemp(prefix="gpu-check-", dir=args.scratch))
        self.end = time.monotonic() + args.seconds
        self.section_end = self.end
        self.checkpoints = {}  # name -> (folder, {file: SHA-256}); given, or made by a section

    def left(self):
        return self.section_end - time.monotonic()

    def program(self, name):
        path = Path(self.args.bin) / name
        if not path.exists():
            raise Failed(f"{path} is missing: make cuda-build")
        return str(path)

    def finish(self, command, **environment):
        """(exit code, its standard output and error), within the section's time; also what it started ends then."""
        process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
                                   errors="replace", start_new_session=True, env={**os.environ, "OMP_WAIT_POLICY": "passive", **environment})
        try:
            text, _ = process.communicate(timeout=max(self.left(), 0.1))
            return process.returncode, text
        except subprocess.TimeoutExpired:
            raise Late(f"{Path(command[0]).name} took longer") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()

    def checkpoint(self, name):
        if name not in self.checkpoints:
            given = getattr(self.args, name)
            if given:
                self.checkpoints[name] = (Path(given).resolve(), {})
            else:
                folder = self.scratch / name
                shape = self.args.shape if name == "checkpoint" else self.args.small_shape
                self.checkpoints[name] = (folder, gpu_checkpoint.make(folder, shape))
        return self.checkpoints[name]


class Llavad:
    """llavad with nothing set but its device and where it listens."""

    def __init__(self, check, *flags):
        self.check = check
        self.log = tempfile.TemporaryFile()
        command = [check.program("llavad"), "--device", check.args.device, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0",
                   "--metrics", "127.0.0.1:0", *map(str, flags)]
        begin = time.monotonic()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.addresses = {}
        # A daemon that hangs before it says where it listens is ended, and readline with it.
        guard = threading.Timer(max(check.left(), 0.1), self.process.kill)
        guard.start()
        try:
            while len(self.addresses) < 3:
                line = self.process.stdout.readline()
                if not line:
                    raise Failed("llavad did not start: " + self.logged()[-500:])
                name, address = line.split()[:2]
                self.addresses[name] = address
            self.wait(lambda: self.get("/readyz") is not None, "llavad is ready")
        except BaseException:
            self.stop()
            raise
        finally:
            guard.cancel()
        self.ready_seconds = time.monotonic() - begin

    def logged(self):
        file = self.log.fileno()
        return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")

    def get(self, path):
        try:
            with urllib.request.urlopen(self.addresses["metrics"].removesuffix("/metrics") + path, timeout=10) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, OSError):
            return None

    def metrics(self):
        lines = (self.get("/metrics") or "").splitlines()
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}

    def wait(self, condition, what):
        nothing = threading.Event()
        while not condition():
            if self.process.poll() is not None:
                raise Failed("llavad ended: " + self.logged()[-500:])
            if self.check.left() <= 0:
                raise Late(f"not in time: {what}")
            nothing.wait(0.05)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()


@contextmanager
def llavad(check, *flags):
    daemon = Llavad(check, *flags)
    try:
        yield daemon
    finally:
        daemon.stop()


def bench(check, daemon, clients, *more, requests=None):
    """A row of `llava bench`, with what the daemon counted meanwhile."""
    args = check.args
    output = check.scratch / "bench.json"
    output.unlink(missing_ok=True)
    before, begin = daemon.metrics(), time.monotonic()
    code, text = check.finish([
        check.program("llava"), "bench", "--server", daemon.addresses["grpc"], "--concurrency", clients, "--requests",
        requests or clients * args.requests, "--warmup", min(clients, 4), "--max-tokens", args.max_tokens, "--prompt-words", args.prompt_words,
        "--image-side", args.image_side, "--output", output, *more])
    if not output.exists():
        raise Failed(f"llava bench ended with {code}: {text[-300:]}")
    row = json.loads(output.read_text())
    after = daemon.metrics()
    grown = {name: after.get(name, 0) - before.get(name, 0) for name in
             ("llava_step_seconds_sum", "llava_step_seconds_count", "llava_encode_seconds_sum", "llava_encode_seconds_count")}
    row["daemon"] = grown
    row["share_of_time_in_steps"] = grown["llava_step_seconds_sum"] / (time.monotonic() - begin)
    if row["errors"]:
        raise Failed(f"{clients} clients: {row['errors']}")
    return row


def brief(clients, row):
    first, gap = row["time_to_first_token_seconds"], row["inter_token_seconds"]
    return (f"{clients}: {row['output_tokens_per_second']:.0f} tok/s, first {1e3 * first.get('p50', 0):.0f} ms, "
            f"gap {1e3 * gap.get('p50', 0):.1f} ms")


def run_tests(check, data):
    failed = []
    for name in check.args.tests.split(","):
        code, text = check.finish([check.program(name)], LLAVA_TEST_DEVICE=check.args.device)
        passed = re.search(r"\[  PASSED  \] (\d+) test", text)
        data[name] = {"code": code, "passed": int(passed[1]) if passed else 0,
                      "failed": re.findall(r"\[  FAILED  \] (\S+?),? ", text)}
        if code != 0 or not passed:
            failed.append(name)
            data[name]["output"] = text[-4000:]
    if failed:
        raise Failed("failed: " + ", ".join(failed))
    return ", ".join(f"{name} {said['passed']} passed" for name, said in data.items())


def make_checkpoint(check, data):
    folder, _ = check.checkpoint("checkpoint")
    data["bytes"] = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    data["folder"] = str(folder)
    return f"{data['bytes'] / 1e9:.3g} GB"


def serve(check, data, name="checkpoint", clients=None, weights="auto"):
    folder, _ = check.checkpoint(name)
    with llavad(check, "--checkpoint", folder, "--weights", weights) as daemon:
        data["ready_seconds"] = daemon.ready_seconds
        data["chosen"] = next((line for line in daemon.logged().splitlines() if '"kv_cache_why"' in line), "")
        data["rows"] = {}
        for count in clients or check.args.clients:
            data["rows"][count] = bench(check, daemon, count)
        if name == "checkpoint" and weights == "auto":  # sampling, and pictures that were seen before
            count = max(c for c in check.args.clients if c <= 64)
            data["rows"]["top-p"] = bench(check, daemon, count, "--temperature", "0.7", "--top-p", "0.9")
            data["rows"]["4 pictures"] = bench(check, daemon, count, "--pictures", "4")
    return "; ".join(brief(count, row) for count, row in data["rows"].items())


def serve_small(check, data):
    return serve(check, data, "small", [c for c in check.args.clients if c in (1, 64)] or check.args.clients[:1])


def serve_8_bits(check, data):
    data["weights"] = "int8" if check.args.device == "cpu" else "fp8"
    return serve(check, data, clients=[c for c in check.args.clients if c in (1, 64)] or check.args.clients[:1], weights=data["weights"])


def reload(check, data):
    """The longest gap of readers while a second version of the same weights is loaded beside and goes live."""
    folder, known = check.checkpoint("checkpoint")
    root = check.scratch / "published"
    versions = [gpu_checkpoint.publish(folder, root, number, known) for number in (1, 2)]
    gpu_checkpoint.point(root, versions[0])
    clients = min(16, max(check.args.clients))
    serving = 'llava_model_reloads_total{outcome="serving",reason=""}'
    with llavad(check, "--watch", root, "--watch-interval", "100ms", "--canary-percent", "0") as daemon:
        data["without"] = bench(check, daemon, clients)
        live = daemon.metrics().get(serving, 0)
        box = {}

        def load():
            try:
                box["row"] = bench(check, daemon, clients, requests=clients * check.args.requests * 3)
            except Exception as error:  # told below, on the thread that waits
                box["error"] = error
        thread = threading.Thread(target=load)
        thread.start()
        begin = time.monotonic()
        gpu_checkpoint.point(root, versions[1])
        try:
            daemon.wait(lambda: daemon.metrics().get(serving, 0) > live, "the second version serves")
            data["seconds_to_live"] = time.monotonic() - begin
            data["load_was_running"] = thread.is_alive()
        finally:
            thread.join()
        if "error" in box:
            raise box["error"]
        data["with"] = box["row"]
    longest = [1e3 * data[key]["inter_token_seconds"].get("max", 0) for key in ("without", "with")]
    return (f"live after {data['seconds_to_live']:.1f} s, longest gap {longest[1]:.0f} ms, without {longest[0]:.0f} ms"
            + ("" if data["load_was_running"] else " (the load had ended before)"))


def peer(check, *arguments):
    code, text = check.finish([sys.executable, ROOT / "scripts/gpu_peer.py", *arguments])
    if code != 0:
        raise Failed(text.strip().splitlines()[-1] if text.strip() else f"gpu_peer.py ended with {code}")
    return json.loads(text.strip().splitlines()[-1])


def beside_transformers(check, data):
    folder, _ = check.checkpoint("checkpoint")
    batches = sorted({1, max(c for c in check.args.clients if c <= 64)})
    data |= peer(check, "generate", check.args.device, folder, check.args.max_tokens, 100, *batches)
    return "; ".join(f"{batch}: {row['output_tokens_per_second']:.0f} tok/s, {1e3 * row['seconds_per_token']:.1f} ms a token"
                     for batch, row in data["batches"].items())


def ceilings(check, data):
    data |= peer(check, "ceilings", check.args.device)
    return (f"copies {data['copy_bytes_per_second'] / 1e12:.2f} TB/s, products {data['square_flop_per_second'] / 1e12:.0f} TFLOP/s")


def write_png(path, side, numbers):
    """Noise, without a library."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    rows = b"".join(b"\0" + numbers.randbytes(3 * side) for _ in range(side))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
                     + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b""))


def train(check, data):
    """Some steps of the projector and the decoder, in bf16 on a GPU."""
    folder, _ = check.checkpoint("small")
    home = check.scratch / "training"
    (home / "pictures").mkdir(parents=True)
    numbers, rows = random.Random(7), []
    for number in range(8):
        write_png(home / "pictures" / f"{number}.png", check.args.image_side, numbers)
        rows.append({"id": str(number), "image": f"{number}.png", "conversations": [
            {"from": "human", "value": "<image>\nWhat is in the picture?"},
            {"from": "gpt", "value": " ".join(numbers.choices(["a", "red", "circle", "is", "left", "of", "square"], k=40))}]})
    (home / "rows.json").write_text(json.dumps(rows))
    precision = "fp32" if check.args.device == "cpu" else "bf16"
    (home / "recipe.yaml").write_text(
        f"name: check\noutput: run\nprecision: {precision}\ndevice: {check.args.device}\n"
        f"model: {{checkpoint: {folder}}}\ndata: {{files: [rows.json], images: pictures, workers: 1}}\n"
        "save: {every_steps: 100000}\n"
        "stages:\n  - {name: tune, train: [projector, decoder], steps: 5, batch: 8, rate: 1.0e-5}\n")
    code, text = check.finish([check.program("llava-train"), "run", home / "recipe.yaml"])
    if code != 0:
        raise Failed(f"llava-train ended with {code}: {text[-500:]}")
    lines = (home / "run/metrics.jsonl").read_text().splitlines()
    data["steps"] = [step for step in map(json.loads, lines) if "loss" in step]
    losses = [step["loss"] for step in data["steps"]]
    if len(losses) != 5 or not all(0 < loss < 100 for loss in losses):
        raise Failed(f"losses {losses}")
    fastest = min(step["seconds"] for step in data["steps"])
    return f"loss {losses[0]:.3f} to {losses[-1]:.3f}, {fastest:.2f} s a step"


def sanitize(check, data):
    tool = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if tool is None:
        raise Failed("compute-sanitizer is not here")
    program = check.program("attention_property_test")
    for kind in ("memcheck", "racecheck"):
        code, text = check.finish([tool, "--tool", kind, "--error-exitcode", "3", program], LLAVA_TEST_DEVICE=check.args.device)
        data[kind] = {"code": code, "summary": re.findall(r"(?:ERROR|RACECHECK) SUMMARY: .*", text)}
        if code != 0:
            data[kind]["output"] = text[-4000:]
            raise Failed(f"{kind} ended with {code}")
    return "memcheck and racecheck found nothing"


SECTIONS = [
    Section("tests", 20, 90, "kernels, attention, sampler and golden answers on the device", run_tests),
    Section("checkpoint", 5, 60, "random weights of the shape of LLaVA-1.5-7B", make_checkpoint),
    Section("serve", 30, 170, "llavad with no options: clients, top-p, pictures seen before", serve),
    Section("fp8", 25, 60, "llavad with weights: fp8 (on CPUs int8)", serve_8_bits),
    Section("reload", 20, 60, "a second version goes live under load: the longest gap", reload),
    Section("transformers", 30, 100, "the same weights in transformers: alone and as one batch", beside_transformers),
    Section("small", 20, 50, "llavad with a model of 1.4 billion weights", serve_small),
    Section("train", 20, 60, "llava-train: five steps of that model", train),
    Section("ceilings", 10, 20, "copies and products, in torch", ceilings),
    Section("sanitizer", 30, 60, "compute-sanitizer over the attention's tests", sanitize),
]


def run_section(check, section):
    """What is written of it."""
    left = check.end - time.monotonic()
    result = {"name": section.name, "what": section.what, "state": "ok", "seconds": 0.0, "line": "", "data": {}}
    if left < section.least:
        return {**result, "state": "dropped", "line": f"{left:.0f} s left, {section.least} needed"}
    check.section_end = time.monotonic() + min(left, section.limit)
    begin = time.monotonic()
    try:
        result["line"] = section.run(check, result["data"])
    except Late as late:
        result |= {"state": "late", "line": str(late)}
    except Exception as error:  # of whatever kind: the sections behind it still run
        result |= {"state": "failed", "line": f"{error if isinstance(error, Failed) else repr(error)}"}
    result["seconds"] = round(time.monotonic() - begin, 1)
    return result


def numbers(text):
    return [int(number) for number in text.split(",")]


def parse_arguments():
    parser = argparse.ArgumentParser(prog="gpu-check", description="What only a GPU can show, in some minutes.")
    parser.add_argument("--dry-run", action="store_true", help="list the sections and end")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the sections themselves (%(default)s)")
    parser.add_argument("--bin", help="folder of the programs (build/cuda/bin; for cpu build/release/bin)")
    parser.add_argument("--output", default=str(ROOT / "build/gpu-check"), help="folder of the results (%(default)s)")
    parser.add_argument("--scratch", help="folder for 20 GB of weights (the system's for temporary files)")
    parser.add_argument("--seconds", type=float, default=600, help="for all of it (%(default)s)")
    parser.add_argument("--sections", help="only these, by name, with commas")
    parser.add_argument("--tests", default=TESTS, help="test programs (%(default)s)")
    parser.add_argument("--checkpoint", help="a LLaVA to serve instead of random weights")
    parser.add_argument("--small", help="the same of the small one, which is also trained")
    parser.add_argument("--shape", default="7b", choices=gpu_checkpoint.SHAPES, help="of the random weights (%(default)s)")
    parser.add_argument("--small-shape", default="1.4b", choices=gpu_checkpoint.SHAPES, help="of the small ones (%(default)s)")
    parser.add_argument("--clients", type=numbers, default=[1, 8, 64, 256], help="under way at a time (1,8,64,256)")
    parser.add_argument("--requests", type=int, default=4, help="of each client (%(default)s)")
    parser.add_argument("--max-tokens", type=int, default=64, help="of an answer (%(default)s)")
    parser.add_argument("--prompt-words", type=int, default=60, help="of a question (%(default)s)")
    parser.add_argument("--image-side", type=int, default=336, help="of pictures (%(default)s)")
    args = parser.parse_args()
    args.bin = args.bin or str(ROOT / ("build/release/bin" if args.device == "cpu" else "build/cuda/bin"))
    names = [section.name for section in SECTIONS]
    args.sections = args.sections.split(",") if args.sections else names
    unknown = sorted(set(args.sections) - set(names))
    if unknown:
        parser.error(f"--sections: {', '.join(unknown)}, expected some of {', '.join(names)}")
    return args


def main():
    args = parse_arguments()
    chosen = [section for section in SECTIONS if section.name in args.sections]
    if args.dry_run:
        for section in chosen:
            print(f"{section.name:<13}{section.limit:>4} s, {section.least} at least: {section.what}")
        return 0
    if args.device != "cpu" and not Path("/dev/nvidia0").exists():
        print("gpu-check: no GPU here (/dev/nvidia0 is missing)", file=sys.stderr)
        return NO_GPU
    check = Check(args)
    results = []
    try:
        for section in chosen:
            result = run_section(check, section)
            results.append(result)
            (check.output / f"{section.name}.json").write_text(json.dumps(result, indent=1) + "\n")
            print(f"{section.name:<13}{result['state']:<8}{result['seconds']:>6.1f} s  {result['line']}", flush=True)
    finally:
        shutil.rmtree(check.scratch, ignore_errors=True)
    (check.output / "check.json").write_text(json.dumps(
        {"device": args.device, "sections": [{key: result[key] for key in ("name", "state", "seconds", "line")} for result in results]},
        indent=1) + "\n")
    return 1 if any(result["state"] in ("failed", "late") for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
