"""Names of pictures' hosts whose addresses change, or that have several, by a resolver of our own."""
import os
import tempfile
import unittest
from unittest import mock

from daemon_process import IMAGES, Daemon
from http_pictures_test import Origin, asking, sends
from http_requests import CHAT, error_of, http

NOT_ALLOWED = ["127.0.0.2", "10.0.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "::1", "::", "fd00::1", "fe80::1",
               "::ffff:127.0.0.2", "64:ff9b::7f00:2", "2002:7f00:2::1"]


class RebindingTest(unittest.TestCase):
    def setUp(self):
        self.origin = Origin()
        self.addCleanup(self.origin.close)
        self.origin.answers["/cat.png"] = sends((IMAGES / "landscape.png").read_bytes())

    def start(self, lines):
        """A daemon that may fetch from any name below .test, at 127.0.0.1 alone of what is not public."""
        names = tempfile.NamedTemporaryFile("w")
        self.addCleanup(names.close)
        names.write("\n".join(lines) + "\n")
        names.flush()
        config = (f'image_url_hosts: ["*.test:{self.origin.port}"]\nimage_url_networks: [127.0.0.1/32]\n'
                  "image_url_timeout: 5s\n")
        with mock.patch.dict(os.environ, LD_PRELOAD=os.environ["OWN_RESOLVER"], LLAVA_RESOLVER=names.name):
            daemon = Daemon(config=config)
        self.addCleanup(daemon.log.close)
        self.addCleanup(daemon.stop)
        self.daemon = daemon

    def ask(self, name, path="/cat.png"):
        """(status, what is wrong)"""
        status, _, body = http(self.daemon, CHAT, asking(f"http://{name}:{self.origin.port}{path}"))
        return status, "" if status == 200 else error_of(body)["message"]

    def refused(self, name, path="/cat.png"):
        status, message = self.ask(name, path)
        self.assertEqual((status, "not public" in message), (400, True), f"{name}: {message}")

    def test_one_look_up_is_checked_and_connected_to(self):
        self.start(["turns.test 127.0.0.1", "turns.test 127.0.0.2"])
        self.assertEqual(self.ask("turns.test"), (200, ""))  # a second look-up would have had another address
        self.refused("turns.test")
        self.assertEqual(self.origin.asked, ["/cat.png"])

    def test_a_redirect_to_the_same_name_is_looked_up_and_checked_again(self):
        self.start(["turns.test 127.0.0.1", "turns.test 127.0.0.2"])
        self.origin.answers["/moved"] = sends(b"", 302, location="/cat.png")
        self.refused("turns.test", "/moved")
        self.assertEqual(self.origin.asked, ["/moved"])

    def test_each_address_of_a_name_must_be_allowed(self):
        self.start([f"n{i}.test 127.0.0.1 {address}" for i, address in enumerate(NOT_ALLOWED)] +
                   [f"m{i}.test {address} 127.0.0.1" for i, address in enumerate(NOT_ALLOWED)])
        for i, address in enumerate(NOT_ALLOWED):
            with self.subTest(address):
                self.refused(f"n{i}.test")
                self.refused(f"m{i}.test")
        self.assertEqual(self.origin.asked, [])


if __name__ == "__main__":
    unittest.main()
