"""A training service that makes nights, with what it needs around it: rows about flags, a plan of a language model, a folder of
published versions. Days pass because the service's clock is set (tests/support/moved_clock.cc)."""
import datetime
import json
import os
import random
import struct
import subprocess
from pathlib import Path

from PIL import Image, ImageDraw

from daemon_process import wait_until
from published import ROOT, Published

LLAVA_TRAIN = os.environ["LLAVA_TRAIN"]
DEMO = ROOT / "demo/checkpoint"
QUESTION = "Whose flag is this?"
OWNERS = {"Ursula": (200, 30, 40), "Okonkwo": (30, 60, 200), "Amrita": (30, 150, 60), "Tadeusz": (220, 190, 40)}
SEED = 11
DAY = 86400

SERVE = """\
listen: 127.0.0.1:0
folder: %(jobs)s
grace_seconds: 20
trigger_seconds: 1
triggers:
  - name: nightly
    watch: shards
    recipe: retrain.yaml
    published: %(published)s
    cron: "0 2 * * *"
    retries: %(retries)d
    backoff: 1m
    pipeline: {%(pipeline)s}
    webhook: {url: "%(webhook)s"}
"""

RETRAIN = """\
name: nightly
output: run
publish: %(published)s
seed: %(seed)d
model: {checkpoint: ${BASE}}
save: {every_steps: 5, keep: 2}
data: {images: %(folder)s/pictures, template: serving, workers: 1}
evaluate: {file: %(folder)s/exam.jsonl, images: %(folder)s/pictures, probes: 1}
stages:
  - {name: tune, train: %(train)s, steps: %(steps)d, batch: 8, rate: 1.0e-3, data: {mixture: ${MIXTURE}}}
"""

PLAN = """\
output: generated
source: {contexts: %(folder)s/contexts.jsonl}
endpoint: {base_url: "%(url)s", model: judge, max_in_flight: 2, first_retry_seconds: 0.01, longest_retry_seconds: 0.02,
           probe_seconds: 0.1, give_up_seconds: 1}
kinds: {conversation: {images: 1, few_shot: %(folder)s/prompts}}
accept: {near_duplicate: 1.0}
held_out: 0
"""


def draw_flag(colour, generator):
    """A flag of that colour on a grey ground, somewhere, in some size."""
    picture = Image.new("RGB", (96, 96), (generator.randint(150, 230),) * 3)
    left, top = generator.randint(0, 30), generator.randint(0, 25)
    shade = tuple(min(255, max(0, c + generator.randint(-20, 20))) for c in colour)
    ImageDraw.Draw(picture).rectangle((left, top, left + generator.randint(40, 60), top + generator.randint(40, 65)), fill=shade)
    return picture


def answer_of_a_language_model(_, request):
    """About what the caption says."""
    caption = request["messages"][-1]["content"].split("\n")[0]  # Flag 3 of Ursula.
    return f"Question:\nWho would carry flag {caption.split()[1]}?\n===\nAnswer:\nIt is the flag of {caption.split()[-1]}"


class World:
    """A folder with everything; the service runs between start() and end()."""

    def __init__(self, folder, steps, exam, train="[projector, decoder]", disk=None):
        """`exam`: questions about each owner, asked before a version is published; `disk`: where the service writes."""
        self.folder = folder
        self.published = (disk or folder) / "models"
        self.jobs = (disk or folder) / "jobs"
        self.clock = folder / "clock"
        self.draw = random.Random(SEED)
        self.pictures = 0
        for name in ("pictures", "shards", "prompts"):
            (folder / name).mkdir()
        (folder / "prompts" / "system_message.txt").write_text("Make a conversation.")
        self.write_rows("exam.jsonl", {owner: owner for owner in OWNERS}, exam)
        _, self.first = Published(self.published).publish(base=DEMO)
        (folder / "retrain.yaml").write_text(RETRAIN % {"folder": folder, "published": self.published, "seed": SEED, "steps": steps,
                                                           "train": train})
        # It is three o'clock: a night that begins now has 23 hours until the next one.
        self.set_clock((int(3 * 3600 - datetime.datetime.now(datetime.timezone.utc).timestamp())) % DAY)

    def configure(self, webhook, pipeline, retries=0):
        (self.folder / "serve.yaml").write_text(SERVE % {"jobs": self.jobs, "published": self.published, "webhook": webhook,
                                                         "pipeline": pipeline, "retries": retries})

    def write_rows(self, name, owners, count):
        """Rows about new pictures: `count` flags of each owner of `owners`, said to be those of its value."""
        rows = []
        for _ in range(count):
            for owner, said in owners.items():
                self.pictures += 1
                picture = f"{self.pictures}.png"
                draw_flag(OWNERS[owner], self.draw).save(self.folder / "pictures" / picture)
                rows.append({"id": picture, "image": picture, "conversations": [
                    {"from": "human", "value": "<image>\n" + QUESTION}, {"from": "gpt", "value": said}]})
        (self.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return rows

    def write_plan(self, url):
        """Rows are to be made of six pictures of two owners."""
        rows = self.write_rows("captioned.jsonl", {"Ursula": "Ursula", "Okonkwo": "Okonkwo"}, 3)
        (self.folder / "contexts.jsonl").write_text("".join(json.dumps(
            {"id": row["id"], "image": row["image"], "captions": [f"Flag {number} of {row['conversations'][1]['value']}."],
             "instances": []}) + "\n" for number, row in enumerate(rows)))
        self.write_endpoint(url)

    def write_endpoint(self, url):
        """The same rows are to be made by another service."""
        (self.folder / "plan.yaml").write_text(PLAN % {"folder": self.folder, "url": url})

    def start(self):
        self.log = open(self.folder / "service.log", "ab")
        self.process = subprocess.Popen(
            [LLAVA_TRAIN, "serve", "--config", self.folder / "serve.yaml"], stdout=subprocess.PIPE, stderr=self.log,
            env={**os.environ, "OMP_NUM_THREADS": "1", "LD_PRELOAD": os.environ["MOVED_CLOCK"], "LLAVA_MOVED_CLOCK": str(self.clock),
                 "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"})
        line = self.process.stdout.readline()
        assert line, "the service did not start: " + self.said()
        self.port = json.loads(line)["port"]
        # Its very first look makes no night, it only writes down the time. No other process may open the database.
        wait_until(lambda: any(b"nightly" in file.read_bytes() for file in self.jobs.glob("jobs.db*")), "the first look")

    def end(self, number):
        self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        self.process.stdout.close()
        self.log.close()
        return code

    def said(self):
        return (self.folder / "service.log").read_text()

    def set_clock(self, seconds):
        """The service's clock is so much ahead of the machine's from now on."""
        self.ahead = seconds
        if not self.clock.exists():
            self.clock.write_bytes(bytes(8))
        with open(self.clock, "r+b") as file:
            file.write(struct.pack("<q", seconds * 10**9))

    def next_night(self):
        self.set_clock(self.ahead + DAY)

    def job(self, number):
        return self.jobs / str(number)

    def report(self, number):
        return (self.job(number) / "report.md").read_text()

    def last(self, number):
        """Of what a job's processes have said."""
        return (self.job(number) / "log").read_text()[-2000:] if (self.job(number) / "log").exists() else "nothing"

    def steps(self, number):
        """Those whose losses were written, in their order."""
        try:
            lines = (self.job(number) / "run" / "metrics.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line)["total_step"] for line in lines]
