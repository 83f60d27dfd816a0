"""llava-train canary, the last step of a night, against a daemon with TLS and tokens: it waits until a version is live or was taken
back, and says which."""
import hashlib
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import grpc

from daemon_process import make_certificates
from published import Published, rolled
from reload_daemon import Llavad, models_grpc, models_pb

LLAVA_TRAIN = Path(os.environ["LLAVA_TRAIN"]).resolve()
TOKENS = {"boss": "admin", "guest": "chat"}


class ServerVerdictTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        make_certificates(self.folder)
        for name in TOKENS:
            (self.folder / name).write_text(f"the token of {name}".replace(" ", "-") + "\n")
        (self.folder / "tokens").write_text("".join(
            f"{name} {role} sha256:{hashlib.sha256((self.folder / name).read_bytes().strip()).hexdigest()}\n" for name, role in TOKENS.items()))
        self.published = Published(self.folder / "models")
        self.first, _ = self.published.publish()

    def start(self, config):
        """The daemon, and what operators say to it."""
        daemon = Llavad(f"watch: {self.published.root}\nkeep_previous: true\ncanary_percent: 50\ntokens_file: {self.folder / 'tokens'}\n"
                        f"tls_certificate: {self.folder / 'server.pem'}\ntls_key: {self.folder / 'server.key'}\n{config}")
        self.addCleanup(daemon.__exit__)
        self.address = daemon.addresses["grpc"]
        authority = grpc.ssl_channel_credentials((self.folder / "ca.pem").read_bytes())
        token = grpc.access_token_call_credentials((self.folder / "boss").read_text().strip())
        channel = grpc.secure_channel(self.address, grpc.composite_channel_credentials(authority, token))
        self.addCleanup(channel.close)
        daemon.models = models_grpc.ModelServiceStub(channel)
        return daemon

    def asking(self, folder, *options, token="boss", ca="ca.pem"):
        words = [LLAVA_TRAIN, "canary", folder, "--server", self.address, "--ca", self.folder / ca, *options]
        return subprocess.Popen([*words, "--token-file", self.folder / token] if token else words, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)

    def ask(self, *arguments, **how):
        """(exit code, what it said)."""
        with self.asking(*arguments, **how) as process:
            said = process.communicate(timeout=200)[0]
        return process.returncode, said

    def test_it_waits_until_the_version_is_live(self):
        daemon = self.start("canary_time: 1s\n")
        self.assertEqual(self.ask(self.first), (0, f"live at {self.address}\n"))
        folder, version = self.published.publish(rolled(1))
        self.assertEqual(self.ask(folder)[0], 0)
        self.assertEqual(daemon.state(version), "live")
        self.assertEqual(self.ask(self.first)[0], 0)  # it was, and is kept

    def test_it_says_why_the_version_was_taken_back(self):
        daemon = self.start("canary_time: 1h\n")
        self.assertEqual(self.ask(self.first)[0], 0)
        folder, version = self.published.publish(rolled(1))
        daemon.wait_state(version, "canary")
        code, said = self.ask(folder, "--wait", "1")
        self.assertEqual(code, 75)
        self.assertIn(f"no verdict within 1s: version {version[:12]} is canary at {self.address}", said)
        with self.asking(folder) as process:
            daemon.models.Rollback(models_pb.RollbackRequest(reason="odd answers"))
            said = process.communicate(timeout=200)[0]
        self.assertEqual((process.returncode, said.splitlines()[-1]), (3, "rolled back: by boss: odd answers"))

    def test_what_the_daemon_could_not_note_is_noted(self):
        """The daemon watches a copy: its note is not where the versions were published, as if it might not write there."""
        daemon = self.start("canary_time: 1h\n")
        self.assertEqual(self.ask(self.first)[0], 0)
        folder, version = self.published.publish(rolled(1))
        daemon.wait_state(version, "canary")
        elsewhere = self.folder / "elsewhere"
        shutil.copytree(self.published.root, elsewhere, symlinks=True)
        daemon.models.Rollback(models_pb.RollbackRequest(reason="odd answers"))
        note = elsewhere / ".rolled-back" / version
        self.assertFalse(note.exists())
        code, said = self.ask(elsewhere / Path(folder).name, "--wait", "2")
        self.assertEqual((code, said.splitlines()[-1]), (3, "rolled back: by boss: odd answers"))
        self.assertEqual(note.read_text(), "by boss: odd answers")

    def test_what_the_daemon_cannot_load_is_no_verdict_on_the_version(self):
        self.start("canary_time: 1s\n")
        folder, _ = self.published.write(rolled(1))
        os.truncate(folder / "model.safetensors", 1000)
        self.published.point(folder)
        code, said = self.ask(folder)
        self.assertEqual(code, 1)
        self.assertRegex(said, r"does not take the version: .*verifying.*model\.safetensors")

    def test_strangers_are_told_nothing_and_believed_nothing(self):
        self.start("canary_time: 1s\n")
        for token in ("guest", None):
            code, said = self.ask(self.first, token=token)
            self.assertEqual((code, self.address in said), (1, True), said)
        for ca in ("client.pem", "tokens"):
            self.assertEqual(self.ask(self.first, "--wait", "1", ca=ca)[0], 75)


if __name__ == "__main__":
    unittest.main(verbosity=2)
