"""The work that every engine is given, and how it is measured.

A request is one picture of its own (no cache helps) and about 60 tokens of text; 64 new tokens, greedy, the end of the answer
ignored. A wave is `concurrency` requests sent at once; two waves when it is 1.
"""
import io
import json
import os
import random
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from PIL import Image, ImageDraw

NEW_TOKENS = 64
WORDS = ("the statement value object name class function method module import return list string number expression type "
         "attribute argument call define loop index error raise handle with").split()


def text(i):
    rng = random.Random(1000 + i)
    return f"Request {i}: " + " ".join(rng.choice(WORDS) for _ in range(40)) + "?"


def picture(i, width=512, height=384):
    rng = random.Random(i)
    shade = Image.linear_gradient("L").resize((width, height)).rotate(rng.randrange(360))
    image = Image.merge("RGB", (shade, shade.transpose(Image.Transpose.ROTATE_180), shade.point(lambda v: 255 - v)))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, r = rng.randrange(width), rng.randrange(height), rng.randrange(10, 90)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(rng.randrange(256) for _ in range(3)))
    return image


def jpeg(i):
    buffer = io.BytesIO()
    picture(i).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def requests_in(concurrency):
    return max(2, concurrency)


def memory(pid, field):
    """Bytes of VmRSS (now) or VmHWM (at the peak)."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_seconds():
    """CPU seconds that everything on the machine used, and what its host took away."""
    with open("/proc/stat") as file:
        values = [int(x) for x in file.readline().split()[1:]]
    return (sum(values[:3]) + sum(values[5:8])) / os.sysconf("SC_CLK_TCK")


class Wave:
    """Arrival times of the tokens of one wave. start(i), token(i, n) from any thread; then row()."""

    def __init__(self, engine, concurrency, pid):
        self.engine, self.concurrency, self.pid = engine, concurrency, pid
        self.started, self.tokens = {}, {}

    def start(self, i):
        self.started[i] = time.perf_counter()
        self.tokens[i] = []

    def token(self, i, count=1):
        self.tokens[i] += [time.perf_counter()] * count

    def __enter__(self):
        self.cpu, self.machine, self.begin = cpu_seconds(self.pid), machine_seconds(), time.perf_counter()
        return self

    def __exit__(self, *_):
        self.wall = time.perf_counter() - self.begin
        self.cpu = cpu_seconds(self.pid) - self.cpu
        self.machine = machine_seconds() - self.machine
        self.peak = memory(self.pid, "VmHWM")

    def row(self):
        first = [self.tokens[i][0] - self.started[i] for i in self.tokens]
        gaps = [(t[-1] - t[0]) / (len(t) - 1) for t in self.tokens.values()]
        count = sum(len(t) for t in self.tokens.values())
        assert count == NEW_TOKENS * len(self.tokens), (count, len(self.tokens))
        return {"engine": self.engine, "concurrency": self.concurrency, "tokens_s": round(count / self.wall, 2),
                "ttft_p50_s": round(statistics.median(first), 3), "ttft_max_s": round(max(first), 3),
                "token_p50_ms": round(1000 * statistics.median(gaps), 1), "peak_mib": self.peak >> 20,
                "cores": round(self.cpu / self.wall, 2),
                "others_cores": round(max(0.0, self.machine - self.cpu) / self.wall, 2),
                "cpu_ms_token": round(1000 * self.cpu / count, 1)}


def run_wave(wave, one):
    """one(i) for every request of the wave, `concurrency` at a time."""
    lock = threading.Lock()
    numbers = iter(range(requests_in(wave.concurrency)))

    def client(_):
        while True:
            with lock:
                i = next(numbers, None)
            if i is None:
                return
            wave.start(i)
            one(i)
    with wave, ThreadPoolExecutor(wave.concurrency) as pool:
        list(pool.map(client, range(wave.concurrency)))
    return wave.row()


def report(row, path):
    print(json.dumps(row), flush=True)
    if path:
        with open(path, "a") as file:
            file.write(json.dumps(row) + "\n")
