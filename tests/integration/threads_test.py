"""How many threads compute, and what a daemon that nobody asks costs."""
import os
import signal
import subprocess
import unittest
from pathlib import Path

from daemon_process import Daemon, PROGRAM


def environment_of(pid):
    raw = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(entry.decode().split("=", 1) for entry in raw if b"=" in entry)


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class ThreadsTest(unittest.TestCase):
    def start(self, **changes):
        before = dict(os.environ)
        try:
            for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
                os.environ.pop(name, None)
            os.environ.update(changes)
            daemon = Daemon()
        finally:
            os.environ.clear()
            os.environ.update(before)
        self.addCleanup(daemon.__exit__)
        return daemon

    def test_openmp_is_told_how_many_threads_and_how_briefly_to_wait(self):
        told = environment_of(self.start().process.pid)
        self.assertIn(int(told["OMP_NUM_THREADS"]), range(1, len(os.sched_getaffinity(0)) + 1))
        self.assertLess(int(told["GOMP_SPINCOUNT"]), 100_000)

    def test_what_the_environment_says_stays(self):
        told = environment_of(self.start(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive").process.pid)
        self.assertEqual((told["OMP_NUM_THREADS"], told["OMP_WAIT_POLICY"]), ("1", "passive"))
        self.assertNotIn("GOMP_SPINCOUNT", told)

    def test_the_process_keeps_its_name_and_number(self):
        daemon = self.start()
        name = Path(f"/proc/{daemon.process.pid}/comm").read_text().strip()
        self.assertEqual(name, Path(PROGRAM).name[:15])
        self.assertEqual(os.readlink(f"/proc/{daemon.process.pid}/exe"), str(Path(PROGRAM).resolve()))

    def test_a_daemon_that_nobody_asks_is_asleep(self):
        daemon = self.start()
        before = cpu_seconds(daemon.process.pid)
        with self.assertRaises(subprocess.TimeoutExpired):
            daemon.process.wait(timeout=3)
        self.assertLess(cpu_seconds(daemon.process.pid) - before, 0.3)
        daemon.process.send_signal(signal.SIGTERM)


if __name__ == "__main__":
    unittest.main(verbosity=2)
