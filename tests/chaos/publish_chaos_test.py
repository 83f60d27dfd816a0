"""The trainer is killed, or its disk is full, while it publishes to a folder that a daemon watches. After each: the right
version serves, nothing was rejected or lost, and nothing leaks. LLAVA_KILLS: how often it is killed, 12 if not set."""
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from daemon_process import wait_until  # noqa: E402
from published import ROOT, Published, rolled  # noqa: E402
from reload_daemon import Llavad, Load, models_pb  # noqa: E402

TRAIN = os.environ["LLAVA_TRAIN"]
DEMO = ROOT / "demo/checkpoint"
SEED = 11
KILLS = int(os.environ.get("LLAVA_KILLS", 12))


class SmallDisk:
    """A file system of `mib` MiB, for as long as the test runs; skips it where none can be mounted."""

    def __init__(self, test, mib):
        folder = tempfile.TemporaryDirectory()
        test.addCleanup(folder.cleanup)
        self.path = Path(folder.name)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "none", self.path], capture_output=True)
        if mounted.returncode:
            test.skipTest(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
        test.addCleanup(subprocess.run, ["umount", "--lazy", self.path], check=True)

    def fill(self):
        """Not a byte is free; returns the file that has them all."""
        hog = self.path / "hog"
        with open(hog, "wb", buffering=0) as out:
            for piece in (1 << 16, 1):
                try:
                    while out.write(b"x" * piece) == piece:
                        continue
                except OSError:
                    pass
        return hog


class PublishChaosTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.root = self.folder / "models"

    def recipe(self, name, seed):
        """One step from the demo checkpoint: every seed is another version."""
        path = self.folder / f"{name}.yaml"
        path.write_text(
            f"name: {name}\noutput: {self.folder / name}\npublish: {self.root}\nseed: {seed}\n"
            f"model: {{checkpoint: {DEMO}}}\nsave: {{every_steps: 1000, keep: 1}}\n"
            "stages:\n  - {name: answers, train: [projector], steps: 2, batch: 1, rate: 1.0e-3, warmup_ratio: 0.0,\n"
            f"     data: {{template: serving, workers: 1, scenes: {{count: 2, seed: {seed}, level: one, turns: 1}}}}}}\n")
        return path

    def trainer(self, recipe):
        return subprocess.Popen([TRAIN, "run", recipe], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                env={**os.environ, "OMP_NUM_THREADS": "1"})

    def train(self, recipe):
        """To its end: (exit code, standard error)."""
        run = self.trainer(recipe)
        return run.wait(timeout=120), run.communicate()[1]

    def latest(self):
        """The version that `latest` names, each of whose files is as its manifest says."""
        folder = self.root / "latest"
        text = (folder / "manifest.json").read_bytes()
        for file in json.loads(text)["files"]:
            data = (folder / file["path"]).read_bytes()
            self.assertEqual((len(data), hashlib.sha256(data).hexdigest()), (file["size"], file["sha256"]), file["path"])
        return hashlib.sha256(text).hexdigest()

    def watched(self, keep=False, log=None):
        return Llavad(f"watch: {self.root}\ncanary_percent: 0\nkeep_previous: {str(keep).lower()}\n", log)

    def files_of(self, version):
        """The names in the folder that is being written; nothing when there is none."""
        try:
            return os.listdir(self.root / version)
        except FileNotFoundError:
            return []

    def kill_at(self, run, moment):
        """SIGKILL as soon as so many files stand in the staging folder, or with moment 0 as soon as the folder has its
        name; or the run is through before."""
        before = len(list(self.root.glob("v*")))
        while run.poll() is None:
            if (len(self.files_of(".publishing")) >= moment) if moment else (len(list(self.root.glob("v*"))) > before):
                break
        run.kill()
        run.communicate()

    def left(self):
        """What a killed trainer left in the folder, for the log."""
        newest = max(path.name for path in self.root.glob("v*"))
        named = "newest is latest" if newest == os.readlink(self.root / "latest") else "newest is not yet latest"
        return f"{len(self.files_of('.publishing'))} files staged, {named}"

    def test_the_trainer_is_killed_while_it_publishes(self):
        print("seed", SEED)
        draw = random.Random(SEED)
        self.assertEqual(self.train(self.recipe("first", 1))[0], 0)
        first = self.latest()
        files = len(os.listdir(self.root / "latest"))
        with self.watched().wait_ready() as daemon, Load(daemon, people=2) as load:
            self.assertEqual(daemon.ask()[0], first)
            # The thread that loads beside what is served stays from the first such version on.
            self.assertEqual(self.train(self.recipe("second", 2))[0], 0)
            daemon.wait_state(self.latest(), "live")
            wait_until(lambda: daemon.loaded() == 1, "the first one is freed")
            before = daemon.holds()
            found = []
            for attempt in range(KILLS):
                recipe = self.recipe(f"killed-{attempt}", 100 + attempt)
                moment = draw.choice([0, files - 1, files, draw.randint(1, files)])
                self.kill_at(self.trainer(recipe), moment)
                found.append((moment, self.left()))
                daemon.wait_state(self.latest(), "live")  # complete, and what the daemon has
                load.wait_answers(2)
            print(*found, sep="\n")
            # The last one again, to its end: what the killed ones left is not in its way.
            self.assertEqual(self.train(recipe)[0], 0)
            last = self.latest()
            daemon.wait_state(last, "live")
            load.wait_answers(4, last)
            self.assertEqual(self.files_of(".publishing"), [])
            rejected = [v.reason for v in daemon.versions().values() if v.state == models_pb.VERSION_STATE_REJECTED]
            self.assertEqual(rejected, [])
            wait_until(lambda: daemon.loaded() == 1, "only the last one is in memory")
            wait_until(lambda: daemon.holds() == before, f"files and threads as before, {before}")
        load.check(self)
        self.assertEqual(daemon.process.returncode, 0)

    def test_the_disk_is_full_while_the_trainer_publishes(self):
        size = sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file())
        self.root = SmallDisk(self, 2 + 3 * size // 2 // (1 << 20)).path
        self.assertEqual(self.train(self.recipe("first", 1))[0], 0)
        first = self.latest()
        with self.watched().wait_ready() as daemon, Load(daemon, people=2) as load:
            second = self.recipe("second", 2)
            code, said = self.train(second)
            self.assertNotEqual(code, 0)
            self.assertRegex(said, r"copying to .*: .* \(\d+ bytes are free there\)")
            self.assertEqual(self.latest(), first)
            load.wait_answers(4, first)
            self.assertEqual(list(daemon.versions()), [first])  # nothing else was even seen
            subprocess.run(["mount", "-o", f"remount,size={2 + 4 * size // (1 << 20)}m", self.root], check=True)
            self.assertEqual(self.train(second)[0], 0)
            self.assertNotEqual(self.latest(), first)
            daemon.wait_state(self.latest(), "live")
            load.wait_answers(4, self.latest())
        load.check(self)

    def test_the_disk_is_full_while_a_version_is_rolled_back(self):
        disk = SmallDisk(self, 4)
        self.root = disk.path
        published = Published(self.root)
        _, old = published.publish()
        with self.watched(keep=True).wait_ready() as daemon, Load(daemon, people=2) as load:
            _, new = published.publish(rolled(1))
            daemon.wait_state(new, "live")
            hog = disk.fill()
            daemon.models.Rollback(models_pb.RollbackRequest(reason="odd answers"))
            self.assertEqual(daemon.ask()[0], old)
            daemon.wait_state(new, "rejected")
            self.assertIn("odd answers", daemon.versions()[new].reason)
            self.assertIn("not noted for others", daemon.versions()[new].reason)
            self.assertIn("No space left on device", daemon.logged())
            load.wait_answers(4, old)
            self.assertEqual(daemon.state(new), "rejected")  # and is not tried again
            hog.unlink()
            _, last = published.publish(rolled(2))
            daemon.wait_state(last, "live")
            load.wait_answers(4, last)
        load.check(self)

    def test_the_log_is_on_a_full_disk(self):
        published = Published(self.root)
        _, old = published.publish()
        with self.watched(keep=True, log="/dev/full").wait_ready() as daemon:
            with Load(daemon, people=2) as load:
                load.wait_answers(4, old)
                _, new = published.publish(rolled(1))
                daemon.wait_state(new, "live")
                load.wait_answers(4, new)
                daemon.models.Rollback(models_pb.RollbackRequest(reason="odd answers"))
                load.wait_answers(4, old)
            load.check(self)
            self.assertEqual(daemon.stop(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
