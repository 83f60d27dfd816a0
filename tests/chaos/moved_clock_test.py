"""The machine's clock is set while the daemon runs, by a day forward and back: canaries are judged, requests and their
deadlines go on as if nothing had happened. The clock is moved for the daemon alone (tests/support/moved_clock.cc)."""
import datetime
import os
import struct
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from published import Published, rolled  # noqa: E402
from reload_daemon import Llavad, Load, pb, question  # noqa: E402

DAY = 86400
FOREVER = "canary_answers: 1000000\ncanary_min_answers: 1000000\ncanary_percent: 50\n"


class MovedClockTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.published = Published(folder.name + "/models")
        self.clock = Path(folder.name) / "clock"
        self.clock.write_bytes(struct.pack("<q", 0))
        self.config = f"watch: {self.published.root}\n"

    def start(self, config):
        return Llavad(self.config + config, LD_PRELOAD=os.environ["MOVED_CLOCK"], LLAVA_MOVED_CLOCK=str(self.clock),
                      ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0")

    def move(self, seconds):
        """The daemon's clock is so much ahead of the machine's from now on."""
        with open(self.clock, "r+b") as file:
            file.write(struct.pack("<q", seconds * 10**9))

    def days_ahead(self, time):
        now = datetime.datetime.now(datetime.timezone.utc).timestamp()
        return round((time.ToDatetime(tzinfo=datetime.timezone.utc).timestamp() - now) / DAY)

    def test_a_canary_is_not_through_because_the_clock_is_set(self):
        self.published.publish()
        with self.start(FOREVER + "canary_time: 2h\n").wait_ready() as daemon, Load(daemon) as load:
            _, new = self.published.publish(rolled(1))
            daemon.wait_state(new, "canary")
            for days in (1, -1, 0):
                self.move(days * DAY)
                load.wait_answers(12)  # each is one more look at the canary's time
                self.assertEqual(daemon.state(new), "canary")
            # And the daemon did see the other time: a version that comes then is of the other day.
            self.move(DAY)
            _, last = self.published.publish(rolled(2))
            daemon.wait_state(last, "canary")
            self.assertEqual(self.days_ahead(daemon.versions()[last].state_time), 1)
        load.check(self)

    def test_a_canary_is_through_in_its_time_although_the_clock_is_set_back(self):
        self.published.publish()
        with self.start(FOREVER + "canary_time: 1s\n").wait_ready() as daemon:
            _, new = self.published.publish(rolled(1))
            daemon.wait_state(new, "canary", "live")
            self.move(-DAY)
            daemon.wait_state(new, "live")
            self.assertEqual(daemon.metrics()['llava_model_canary_verdicts_total{reason="time",verdict="promoted"}'], 1)

    def test_deadlines_are_not_passed_because_the_clock_is_set(self):
        _, version = self.published.publish()
        with self.start("canary_percent: 0\nrequest_timeout: 2m\n").wait_ready() as daemon, Load(daemon) as load:
            for days in (1, -1, 0):
                request = pb.ChatStreamRequest(request=question("Go on.", max_tokens=200, ignore_eos=True))
                stream = daemon.chat.ChatStream(request, timeout=100)
                tokens = len(next(stream).token_ids)
                self.move(days * DAY)
                tokens += sum(len(event.token_ids) for event in stream)
                self.assertEqual(tokens, 200)
                # One that comes now has its time as well.
                self.assertEqual(daemon.chat.Chat(question("And now?"), timeout=100).model_version, version)
                load.wait_answers(3)
            self.assertTrue(daemon.ready())
        load.check(self)
        self.assertEqual(daemon.process.returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
