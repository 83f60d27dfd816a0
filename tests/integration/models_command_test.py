"""`llava models ...` against llavad itself: what each command does, prints and exits with, and who may."""
import os
import re
import signal
import subprocess
import tempfile
import unittest

import grpc

from daemon_process import wait_until
from http_security_test import SECRET, tokens_file
from published import Published, rolled
from reload_daemon import Llavad, models_pb

LLAVA = os.environ["LLAVA"]
CODE = grpc.StatusCode
OK, REQUEST_ERROR, SERVER_ERROR, NETWORK_ERROR = 0, 1, 2, 3


class ModelsCommandTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.published = Published(folder.name + "/models")
        self.tokens = tokens_file(folder.name)

    def start(self, config=""):
        """The daemon, live with the version self.old."""
        self.folder, self.old = self.published.publish()
        config += f"watch: {self.published.root}\ntokens_file: {self.tokens}\ncanary_answers: 100000\n"
        self.daemon = Llavad(config).wait_ready()
        self.addCleanup(self.daemon.__exit__)

    def command(self, *words, token="root"):
        return [LLAVA, "models", *words, "--server", self.daemon.addresses["grpc"]] + ["--token", token] * bool(token)

    def llava(self, *words, code=OK, token="root"):
        """Standard output, or of a failing command the standard error."""
        done = subprocess.run(self.command(*words, token=token), capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(bool(done.stderr), code != OK, done.stderr)
        return done.stderr if code else done.stdout

    def states(self):
        """{the first 12 digits of a version: (state, percent)}, as `llava models list` prints them."""
        return {m[1]: (m[2], int(m[3]))
                for m in re.finditer(r"^(\w{12})  (\w+) +(\d+)%", self.llava("list"), re.MULTILINE)}

    def wait_state(self, version, state):
        wait_until(lambda: self.states().get(version[:12], ("",))[0] == state, f"{version[:12]} {state}")

    def test_a_version_from_load_to_unload(self):
        self.start()
        self.assertEqual(self.states(), {self.old[:12]: ("live", 100)})
        self.assertIn(str(self.folder), self.llava("list"))
        folder, new = self.published.write(rolled(1))
        self.assertIn("canary", self.llava("load", str(folder)))
        self.assertEqual(self.states(), {self.old[:12]: ("live", 90), new[:12]: ("canary", 10)})
        self.assertEqual(self.llava("traffic", "25"), "")
        self.assertEqual(self.states(), {self.old[:12]: ("live", 75), new[:12]: ("canary", 25)})
        self.llava("promote")
        self.assertEqual(self.states(), {self.old[:12]: ("kept", 0), new[:12]: ("live", 100)})
        self.llava("rollback", "odd answers")
        self.assertEqual(self.states()[self.old[:12]], ("live", 100))
        self.wait_state(new, "rejected")
        self.assertIn("(rolled back: by root: odd answers)", self.llava("list"))
        self.assertRegex(self.llava("list", "--events"), rf"{new[:12]}  rejected  rolled back: by root: odd answers")
        self.assertIn("canary", self.llava("load", str(folder)))  # asked for again
        self.llava("promote")
        self.llava("unload", self.old[:8])
        self.wait_state(self.old, "freed")

    def test_reload_takes_what_latest_names(self):
        self.start("canary_percent: 0\n")
        _, new = self.published.publish(rolled(1))
        self.assertRegex(self.llava("reload"), rf"^{new[:12]}  live")
        self.llava("rollback")
        self.wait_state(new, "rejected")
        self.assertRegex(self.llava("reload"), rf"^{new[:12]}  live")  # also after it was rolled back

    def test_what_cannot_be_done_is_said(self):
        self.start()
        for words, said, code in [
                (("promote",), "there is no canary to promote", REQUEST_ERROR),
                (("rollback",), "there is no previous version in memory", REQUEST_ERROR),
                (("traffic", "25"), "there is no canary", REQUEST_ERROR),
                (("traffic", "101"), "traffic is 1.01, expected 0 to 1", REQUEST_ERROR),
                (("unload", self.old), "is live, expected kept or canary", REQUEST_ERROR),
                (("unload", "0123456789ab"), "there is no version 0123456789ab", REQUEST_ERROR),
                (("unload", self.old[:7]), "is too short, expected at least 8", REQUEST_ERROR),
                (("load", "/no/such/folder"), "/no/such/folder", REQUEST_ERROR),
                (("load",), "dir is required", REQUEST_ERROR),
                (("traffic", "much"), "much", REQUEST_ERROR),
                (("explode",), "subcommand is required", REQUEST_ERROR)]:
            with self.subTest(words):
                self.assertIn(said, self.llava(*words, code=code))
        folder, torn = self.published.write(rolled(1))
        (folder / "model.safetensors").write_bytes(b"torn")
        self.assertIn("model.safetensors", self.llava("load", str(folder), code=SERVER_ERROR))
        self.assertEqual(self.states()[torn[:12]], ("rejected", 0))
        self.assertEqual(self.states()[self.old[:12]], ("live", 100))
        nobody = subprocess.run([LLAVA, "models", "list", "--server", "127.0.0.1:1"], capture_output=True, timeout=60)
        self.assertEqual(nobody.returncode, NETWORK_ERROR)

    def test_watch_prints_what_happens_until_it_is_stopped(self):
        self.start("canary_percent: 0\n")
        with subprocess.Popen(self.command("watch"), stdout=subprocess.PIPE, text=True) as watch:
            self.assertRegex(watch.stdout.readline(), rf"^{self.old[:12]}  live +100%")
            _, new = self.published.publish(rolled(1))
            states = []
            while "live" not in states:
                version, state = watch.stdout.readline().split()[1:3]
                if version == new[:12]:
                    states.append(state)
            self.assertEqual(states, ["discovered", "verifying", "loading", "warming", "probing", "live"])
            watch.send_signal(signal.SIGTERM)
            self.assertEqual(watch.wait(timeout=60), -signal.SIGTERM)
        # And when the server goes, the command says so.
        with subprocess.Popen(self.command("watch"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
            watch.stdout.readline()
            self.assertEqual(self.daemon.stop(), 0)
            self.assertIn("the server is stopping", watch.communicate(timeout=60)[1])
            self.assertEqual(watch.returncode, NETWORK_ERROR)

    def test_watchers_are_bounded(self):
        self.start()
        admin = [("authorization", "Bearer root")]
        watches = [self.daemon.models.Watch(models_pb.WatchRequest(), metadata=admin) for _ in range(64)]
        for watch in watches:
            next(watch)
        said = self.llava("watch", code=SERVER_ERROR)
        self.assertIn("64 calls wait or watch already, the most there may be", said)
        self.assertEqual(self.states(), {self.old[:12]: ("live", 100)})  # what does not wait is answered
        for watch in watches:
            watch.cancel()

    def test_only_an_admin_may(self):
        self.start()
        for words in [("list",), ("load", str(self.folder)), ("reload",), ("traffic", "10"), ("promote",), ("rollback",),
                      ("unload", self.old), ("watch",)]:
            with self.subTest(words):
                self.assertIn("admin", self.llava(*words, token=SECRET, code=REQUEST_ERROR))
                self.llava(*words, token="guess", code=REQUEST_ERROR)
                self.llava(*words, token=None, code=REQUEST_ERROR)
        calls = [("List", models_pb.ListRequest()), ("Load", models_pb.LoadRequest(path=str(self.folder))),
                 ("Reload", models_pb.ReloadRequest()), ("SetTraffic", models_pb.SetTrafficRequest(share=1)),
                 ("Promote", models_pb.PromoteRequest()), ("Rollback", models_pb.RollbackRequest()),
                 ("Unload", models_pb.UnloadRequest(version=self.old)), ("Watch", models_pb.WatchRequest())]
        for name, request in calls:
            for token, code in [(SECRET, CODE.PERMISSION_DENIED), ("guess", CODE.UNAUTHENTICATED),
                                (None, CODE.UNAUTHENTICATED)]:
                with self.subTest(name, token=token), self.assertRaises(grpc.RpcError) as refused:
                    answer = getattr(self.daemon.models, name)(
                        request, metadata=[("authorization", f"Bearer {token}")] * bool(token))
                    if name == "Watch":
                        next(answer)
                self.assertEqual(refused.exception.code(), code)
        self.assertEqual(self.states(), {self.old[:12]: ("live", 100)})


if __name__ == "__main__":
    unittest.main(verbosity=2)
