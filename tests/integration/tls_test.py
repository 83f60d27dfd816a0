"""Which TLS the two ports speak, and to whom."""
import socket
import ssl
import subprocess
import tempfile
import unittest
from pathlib import Path

import grpc

from daemon_process import Daemon, make_certificates

CHECK = "/grpc.health.v1.Health/Check"


def read(folder, name):
    return (Path(folder) / name).read_bytes()


class TlsTest(unittest.TestCase):
    MUTUAL = False

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        make_certificates(cls.folder)
        config = f"tls_certificate: {cls.folder}/server.pem\ntls_key: {cls.folder}/server.key\n"
        if cls.MUTUAL:
            config += f"tls_client_ca: {cls.folder}/ca.pem\n"
        cls.daemon = Daemon(config=config)
        cls.addClassCleanup(cls.daemon.log.close)
        cls.addClassCleanup(cls.daemon.stop)
        cls.ports = {"grpc": int(cls.daemon.addresses["grpc"].rsplit(":", 1)[1]),
                     "http": int(cls.daemon.addresses["http"].rsplit(":", 1)[1])}

    def handshake(self, port, set_up=lambda context: None, alpn=("h2", "http/1.1")):
        """The version and cipher; raises what the handshake, or the first byte after it, fails with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(f"{self.folder}/ca.pem")
        context.set_alpn_protocols(list(alpn))
        set_up(context)
        with socket.create_connection(("127.0.0.1", port), timeout=120) as raw:
            with context.wrap_socket(raw, server_hostname="localhost") as tls:
                if self.MUTUAL and port == self.ports["http"]:
                    tls.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    tls.recv(1)
                return tls.version(), tls.cipher()[0]

    def check(self, **credentials):
        with self.daemon.channel(**credentials) as channel:
            try:
                channel.unary_unary(CHECK)(b"", timeout=120)
                return grpc.StatusCode.OK
            except grpc.RpcError as error:
                return error.code()


class VersionsTest(TlsTest):
    def test_what_is_spoken(self):
        for port in self.ports.values():
            self.assertEqual(self.handshake(port)[0], "TLSv1.3")

            def tls12(context):
                context.maximum_version = ssl.TLSVersion.TLSv1_2
            version, cipher = self.handshake(port, tls12)
            self.assertEqual(version, "TLSv1.2")
            self.assertTrue("GCM" in cipher or "CHACHA20" in cipher, cipher)

    def test_what_is_refused(self):
        for name, port in self.ports.items():
            for cipher in ("ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "ECDHE-ECDSA-AES128-SHA256",
                           "ECDHE-ECDSA-AES256-SHA", "ECDHE-ECDSA-CAMELLIA256-SHA384"):
                with self.subTest(port=name, cipher=cipher), self.assertRaises(OSError):
                    def old(context, cipher=cipher):
                        context.maximum_version = ssl.TLSVersion.TLSv1_2
                        context.set_ciphers(cipher + ":@SECLEVEL=0")
                    self.handshake(port, old)
            with self.subTest(port=name, version="1.1"):
                said = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_1",
                                       "-cipher", "ALL:@SECLEVEL=0"], stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
                self.assertNotEqual(said.returncode, 0)


class MutualTest(TlsTest):
    MUTUAL = True

    def stranger(self):
        """A key pair of another authority of the same name, and one that signs itself."""
        other = tempfile.TemporaryDirectory()
        self.addCleanup(other.cleanup)
        make_certificates(other.name)
        return other.name

    def test_grpc_takes_only_clients_of_its_authority(self):
        ca = read(self.folder, "ca.pem")
        mine = dict(private_key=read(self.folder, "client.key"), certificate_chain=read(self.folder, "client.pem"))
        self.assertEqual(self.check(root_certificates=ca, **mine), grpc.StatusCode.OK)
        self.assertEqual(self.check(root_certificates=ca), grpc.StatusCode.UNAVAILABLE)
        other = self.stranger()
        for name in ("client", "ca"):
            theirs = dict(private_key=read(other, f"{name}.key"), certificate_chain=read(other, f"{name}.pem"))
            self.assertEqual(self.check(root_certificates=ca, **theirs), grpc.StatusCode.UNAVAILABLE, name)
        with self.daemon.channel() as plain:
            with self.assertRaises(grpc.RpcError) as caught:
                plain.unary_unary(CHECK)(b"", timeout=120)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(self.check(root_certificates=ca, **mine), grpc.StatusCode.OK)

    def test_grpc_takes_no_expired_certificate(self):
        def openssl(*args):
            subprocess.run(["openssl", *args], cwd=self.folder, check=True, capture_output=True)
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=late",
                "-keyout", "late.key", "-out", "late.csr")
        openssl("x509", "-req", "-in", "late.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "-1", "-out", "late.pem")
        late = dict(private_key=read(self.folder, "late.key"), certificate_chain=read(self.folder, "late.pem"))
        self.assertEqual(self.check(root_certificates=read(self.folder, "ca.pem"), **late), grpc.StatusCode.UNAVAILABLE)

    def test_http_takes_only_clients_of_its_authority(self):
        port = self.ports["http"]
        self.handshake(port, lambda context: context.load_cert_chain(f"{self.folder}/client.pem", f"{self.folder}/client.key"))
        with self.assertRaises(OSError):
            self.handshake(port)
        other = self.stranger()
        with self.assertRaises(OSError):
            self.handshake(port, lambda context: context.load_cert_chain(f"{other}/client.pem", f"{other}/client.key"))


del TlsTest  # is no test by itself

if __name__ == "__main__":
    unittest.main()
