"""SIGHUP: certificates, tokens and the log's level are read again, and nobody who is connected notices."""
import hashlib
import signal
import socket
import ssl
import subprocess
import tempfile
import unittest
from pathlib import Path

import grpc

from daemon_process import Daemon, generated_client, make_certificates, wait_until
from http_requests import http

pb, pb_grpc = generated_client()


def question(max_tokens):
    parts = [pb.MessagePart(text="Go on.")]
    return pb.ChatRequest(messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=parts)], return_token_ids=True,
                          sampling=pb.SamplingOptions(max_tokens=max_tokens, ignore_eos=True))


class HangUpTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        make_certificates(self.folder)
        self.write_tokens("old")
        self.daemon = Daemon("--step-ms", "10", config=self.files())
        self.addCleanup(self.daemon.__exit__)

    def files(self, more=""):
        return (f"tls_certificate: {self.folder}/server.pem\ntls_key: {self.folder}/server.key\n"
                f"tokens_file: {self.folder}/tokens\n{more}")

    def write_tokens(self, secret):
        (self.folder / "tokens").write_text(f"alice chat,admin sha256:{hashlib.sha256(secret.encode()).hexdigest()}\n")

    def renew(self, days):
        """Another certificate for the same key, from the same authority."""
        subprocess.run(["openssl", "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                        "-CAcreateserial", "-days", str(days), "-extfile", "names", "-out", "server.pem"],
                       cwd=self.folder, check=True, capture_output=True)

    def hang_up(self):
        """Sends it and waits until the tokens, the last that is read again, have been told of."""
        def told():
            return self.daemon.logged().count('"what":"tokens"') + self.daemon.logged().count('"what":"configuration"')
        before = told()
        self.daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: told() > before, "what came of SIGHUP is told")

    def certificates(self):
        """What a new client of gRPC and one of HTTP are shown."""
        context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        context.set_alpn_protocols(["h2", "http/1.1"])
        shown = []
        for address in (self.daemon.addresses["grpc"], self.daemon.addresses["http"].removeprefix("https://")):
            host, port = address.split(":")
            with socket.create_connection((host, int(port)), timeout=120) as connection:
                with context.wrap_socket(connection, server_hostname="localhost") as tls:
                    shown.append(ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True)).strip())
        return shown

    def file(self):
        return (self.folder / "server.pem").read_text().strip()

    def ask(self, secret, stub=None, max_tokens=2):
        stub = stub or pb_grpc.ChatServiceStub(self.channel())
        return stub.ChatStream(pb.ChatStreamRequest(request=question(max_tokens)), timeout=120,
                               metadata=[("authorization", f"Bearer {secret}")])

    def code(self, secret):
        try:
            list(self.ask(secret))
            return grpc.StatusCode.OK
        except grpc.RpcError as error:
            return error.code()

    def channel(self):
        channel = self.daemon.channel(root_certificates=(self.folder / "ca.pem").read_bytes())
        self.addCleanup(channel.close)
        return channel

    def test_new_files_are_for_those_who_come_and_streams_go_on(self):
        self.assertEqual(self.certificates(), [self.file()] * 2)
        expiry = self.daemon.metrics()["llava_certificate_expiry_timestamp_seconds"]
        channel = self.channel()
        answer = self.ask("old", pb_grpc.ChatServiceStub(channel), max_tokens=300)
        next(answer)
        self.renew(days=9)
        self.write_tokens("new")
        self.hang_up()
        self.assertEqual(self.certificates(), [self.file()] * 2)
        self.assertGreater(self.daemon.metrics()["llava_certificate_expiry_timestamp_seconds"], expiry + 5 * 86400)
        self.assertEqual((self.code("new"), self.code("old")), (grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED))
        for secret, status in (("new", 200), ("old", 401)):
            context = ssl.create_default_context(cafile=self.folder / "ca.pem")
            context.check_hostname = False
            self.assertEqual(http(self.daemon, "/v1/models", headers={"Authorization": f"Bearer {secret}"}, context=context)[0], status)
        # The stream that was open, and a further call on its connection.
        self.assertEqual(sum(len(event.token_ids) for event in answer), 299)
        self.assertGreater(len(list(self.ask("new", pb_grpc.ChatServiceStub(channel)))), 0)

    def test_what_is_no_good_is_named_and_the_old_stays(self):
        before = self.file()
        (self.folder / "server.pem").write_text("nonsense\n")
        (self.folder / "tokens").write_text("alice chat\n")
        self.hang_up()
        self.assertEqual(self.certificates(), [before] * 2)
        self.assertEqual(self.code("old"), grpc.StatusCode.OK)
        logged = self.daemon.logged()
        self.assertIn("server.pem: holds no PEM certificate", logged)
        self.assertIn("tokens:1: 2 words, expected", logged)
        # A certificate that is not the key's; then what is right again.
        (self.folder / "server.pem").write_text((self.folder / "client.pem").read_text())
        self.hang_up()
        self.assertEqual(self.certificates(), [before] * 2)
        self.renew(days=5)
        self.write_tokens("third")
        self.hang_up()
        self.assertEqual(self.certificates(), [self.file()] * 2)
        self.assertEqual(self.code("third"), grpc.StatusCode.OK)

    def test_the_configuration_is_read_again(self):
        def configure(text):
            Path(self.daemon.config.name).write_text(
                Path(self.daemon.config.name).read_text().split("tls_certificate")[0] + text)
        configure(self.files("log_level: error\nmax_n: 3\n"))
        self.hang_up()
        self.assertIn('"options":["max_n"]', self.daemon.logged())
        ends = self.daemon.logged().count('"request ended"')
        self.assertEqual(self.code("old"), grpc.StatusCode.OK)
        configure(self.files("log_level: info\nmax_n: many\n"))
        self.hang_up()
        self.assertIn("max_n: is 'many', expected", self.daemon.logged())
        self.assertEqual(self.code("old"), grpc.StatusCode.OK)
        self.assertEqual(self.daemon.logged().count('"request ended"'), ends)
        # Without TLS and tokens the daemon would be open to everybody: not by a signal.
        configure("log_level: info\n")
        self.hang_up()
        self.assertEqual(self.code("guess"), grpc.StatusCode.UNAUTHENTICATED)
        configure(self.files("log_level: info\n"))
        self.hang_up()
        self.assertEqual(self.code("old"), grpc.StatusCode.OK)
        wait_until(lambda: self.daemon.logged().count('"request ended"') > ends, "the level is info again")


if __name__ == "__main__":
    unittest.main(verbosity=2)
