"""The units: systemd knows every line, rates what they leave open, and gives a stop more time than the drain takes."""
import configparser
import os
import re
import shutil
import subprocess
import unittest
from pathlib import Path

UNITS = Path(__file__).resolve().parents[2] / "deploy/systemd"


def service(name):
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(UNITS / name)
    return parser["Service"]


class SystemdTest(unittest.TestCase):
    def analyze(self, *arguments):
        tool = shutil.which("systemd-analyze")
        if tool is None:
            self.skipTest("no systemd-analyze here")
        return subprocess.run([tool, *arguments], capture_output=True, text=True)

    def test_systemd_understands_the_units(self):
        for name in ("llavad.service", "llava-train.service"):
            said = self.analyze("verify", "--man=no", "--recursive-errors=no", str(UNITS / name))
            lines = [line for line in said.stderr.splitlines()
                     if name in line and "is not executable" not in line]  # of the package, which is not installed here
            self.assertEqual(lines, [])

    def test_they_are_hardened(self):
        for name, most in (("llavad.service", 2.0), ("llava-train.service", 2.5)):
            said = self.analyze("security", "--offline=yes", "--no-pager", str(UNITS / name))
            exposure = float(re.search(r"exposure level for \S+: ([\d.]+)", said.stdout)[1])
            self.assertLessEqual(exposure, most, said.stdout)

    def test_a_stop_has_more_time_than_the_drain(self):
        said = subprocess.run([os.environ["LLAVAD"], "--print-config"], capture_output=True, text=True, check=True).stdout
        drain = int(re.search(r"drain_timeout: (\d+)s", said)[1])
        self.assertGreaterEqual(int(service("llavad.service")["TimeoutStopSec"]), drain + 20)

    def test_a_wrong_setting_is_not_tried_for_ever(self):
        self.assertEqual(service("llavad.service")["RestartPreventExitStatus"], "2")
        for command in (["--max-running", "0", "--check"], ["--checkpoint", "/nowhere", "--check"]):
            said = subprocess.run([os.environ["LLAVAD"], *command], capture_output=True, text=True)
            self.assertEqual(said.returncode, 2, (command, said.stderr))


if __name__ == "__main__":
    unittest.main()
