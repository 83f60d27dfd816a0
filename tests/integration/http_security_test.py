"""Who may ask, how much, and what leaks: tokens, TLS, CORS, load, draining."""
import hashlib
import ssl
import tempfile
import unittest
import urllib.error
from pathlib import Path

from daemon_process import Daemon, make_certificates, wait_until
from http_requests import CHAT, connect, error_of, http, post, read_all

HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
SECRET = "a-token-that-nobody-guesses"


def tokens_file(folder):
    path = Path(folder) / "tokens"
    path.write_text("".join(f"{who} {roles} sha256:{hashlib.sha256(token.encode()).hexdigest()}\n"
                            for who, roles, token in (("alice", "chat", SECRET), ("root", "admin", "root"))))
    return path


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


class TokensTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.daemon = Daemon(config=f"tokens_file: {tokens_file(cls.folder.name)}\nlog_level: debug\nlog_content: true\n")

    @classmethod
    def tearDownClass(cls):
        assert cls.daemon.stop() == 0
        cls.folder.cleanup()

    def test_roles(self):
        for path, body, role in [(CHAT, HELLO, "chat"), ("/v1/models", None, "chat"), ("/metrics", None, "admin"),
                                 ("/tokenize", {"prompt": "x"}, "chat"), ("/detokenize", {"tokens": [3]}, "chat")]:
            with self.subTest(path=path):
                token, other = (SECRET, "root") if role == "chat" else ("root", SECRET)
                self.assertEqual(http(self.daemon, path, body, headers=bearer(token))[0], 200)
                status, headers, text = http(self.daemon, path, body)
                self.assertEqual((status, headers["WWW-Authenticate"], error_of(text)["type"]),
                                 (401, "Bearer", "authentication_error"))
                self.assertEqual(http(self.daemon, path, body, headers=bearer("guess"))[0], 401)
                status, _, text = http(self.daemon, path, body, headers=bearer(other))
                self.assertEqual((status, error_of(text)["type"]), (403, "permission_error"))
        for path in ("/", "/app.js", "/healthz", "/readyz", "/openapi.json"):
            self.assertEqual(http(self.daemon, path)[0], 200)

    def test_a_token_in_the_url_is_no_token_and_none_is_logged(self):
        self.assertEqual(http(self.daemon, f"/v1/models?token={SECRET}&api_key={SECRET}")[0], 401)
        self.assertEqual(http(self.daemon, f"{CHAT}?key={SECRET}", HELLO, headers=bearer(SECRET))[0], 200)
        self.assertEqual(http(self.daemon, CHAT, {**HELLO, "n": 99}, headers=bearer(SECRET))[0], 400)
        wait_until(lambda: '"alice"' in self.daemon.logged(), "the request is logged")
        self.assertNotIn(SECRET, self.daemon.logged())
        self.assertNotIn(SECRET, http(self.daemon, "/metrics", headers=bearer("root"))[2].decode())

    def test_a_refused_upload_is_refused_before_it_is_sent(self):
        with connect(self.daemon) as connection:
            connection.sendall(b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 60000000\r\n\r\n")
            self.assertIn(b"401 Unauthorized", connection.recv(4096))


class CorsTest(unittest.TestCase):
    ASK = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, content-type"}

    def test_off_unless_configured(self):
        with Daemon() as daemon:
            status, headers, _ = http(daemon, CHAT, method="OPTIONS", headers={"Origin": "https://a.example", **self.ASK})
            self.assertEqual(status, 405)
            _, more, _ = http(daemon, "/v1/models", headers={"Origin": "https://a.example"})
            for name in [*headers, *more]:
                self.assertFalse(name.lower().startswith("access-control"), name)

    def test_the_configured_origins_and_no_other(self):
        with Daemon(config='cors_origins: ["https://a.example", "http://localhost:3000"]\n') as daemon:
            for origin in ("https://a.example", "http://localhost:3000"):
                status, headers, _ = http(daemon, CHAT, method="OPTIONS", headers={"Origin": origin, **self.ASK})
                self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (204, origin))
                self.assertIn("POST", headers["Access-Control-Allow-Methods"])
                self.assertEqual(headers["Access-Control-Allow-Headers"], self.ASK["Access-Control-Request-Headers"])
                self.assertIsNone(headers["Access-Control-Allow-Credentials"])
                for body in (HELLO, {**HELLO, "stream": True}, {}):
                    _, headers, _ = http(daemon, CHAT, body, headers={"Origin": origin})
                    self.assertEqual((headers["Access-Control-Allow-Origin"], headers["Vary"]), (origin, "Origin"))
            for origin in ("https://b.example", "http://a.example", "https://a.example.evil", "null"):
                status, headers, _ = http(daemon, CHAT, method="OPTIONS", headers={"Origin": origin, **self.ASK})
                self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (405, None))
                _, headers, _ = http(daemon, "/v1/models", headers={"Origin": origin})
                self.assertIsNone(headers["Access-Control-Allow-Origin"])


class LoadTest(unittest.TestCase):
    def test_too_much_is_429_with_retry_after_and_counts_like_grpc(self):
        with Daemon("--step-ms", "5", config="queue_requests: 2\n") as daemon:
            long = post(CHAT, {**HELLO, "max_tokens": 300, "ignore_eos": True})
            with connect(daemon) as first, connect(daemon) as second:
                first.sendall(long)
                second.sendall(long)
                wait_until(lambda: daemon.metrics()["llava_requests_running"] == 2, "both run")
                status, headers, body = http(daemon, CHAT, HELLO)
                self.assertEqual((status, error_of(body)["type"]), (429, "rate_limit_error"))
                self.assertGreaterEqual(int(headers["Retry-After"]), 1)
            self.assertEqual(daemon.counted_requests('protocol="http"', 'status="RESOURCE_EXHAUSTED"'), 1)

    def test_draining_is_503_and_accepted_answers_end(self):
        with Daemon("--step-ms", "5") as daemon:
            with connect(daemon) as running, connect(daemon) as idle:
                # Seconds, in which the questions below come also on a busy machine.
                running.sendall(post(CHAT, {**HELLO, "max_tokens": 1500, "ignore_eos": True, "stream": True}))
                wait_until(lambda: daemon.metrics()["llava_requests_running"] == 1, "it runs")
                daemon.terminate()
                wait_until(lambda: '"draining"' in daemon.logged(), "the drain begins")
                status, headers, body = http(daemon, CHAT, HELLO)
                self.assertEqual((status, error_of(body)["type"]), (503, "server_error"))
                self.assertGreaterEqual(int(headers["Retry-After"]), 1)
                status, _, body = http(daemon, "/readyz")
                self.assertEqual((status, b"draining" in body), (503, True))
                self.assertEqual(http(daemon, "/healthz")[0], 200)
                self.assertTrue(read_all(running).rstrip().endswith(b"0"))  # the last chunk
                self.assertEqual(idle.recv(1), b"")
            self.assertEqual(daemon.stop(), 0)


class TlsTest(unittest.TestCase):
    def test_https(self):
        with tempfile.TemporaryDirectory() as folder:
            make_certificates(folder)
            config = f"tls_certificate: {folder}/server.pem\ntls_key: {folder}/server.key\nhttp_request_timeout: 1s\n"
            with Daemon(config=config) as daemon:
                trust = ssl.create_default_context(cafile=f"{folder}/ca.pem")
                self.assertTrue(daemon.addresses["http"].startswith("https://"))
                self.assertEqual(http(daemon, CHAT, HELLO, context=trust)[0], 200)
                status, _, body = http(daemon, CHAT, {**HELLO, "stream": True}, context=trust)
                self.assertTrue(body.endswith(b"data: [DONE]\n\n"))
                with self.assertRaises(urllib.error.URLError):
                    http(daemon, "/healthz", context=ssl.create_default_context())
                old = ssl.create_default_context(cafile=f"{folder}/ca.pem")
                old.maximum_version = ssl.TLSVersion.TLSv1_1
                with self.assertRaises(urllib.error.URLError):
                    http(daemon, "/healthz", context=old)
                with connect(daemon) as plain:  # not TLS
                    plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    self.assertNotIn(b"200 OK", read_all(plain))
                with connect(daemon) as silent:  # never shakes hands
                    self.assertEqual(read_all(silent), b"")

    def test_mutual_tls(self):
        with tempfile.TemporaryDirectory() as folder:
            make_certificates(folder)
            config = (f"tls_certificate: {folder}/server.pem\ntls_key: {folder}/server.key\n"
                      f"tls_client_ca: {folder}/ca.pem\n")
            with Daemon(config=config) as daemon:
                trust = ssl.create_default_context(cafile=f"{folder}/ca.pem")
                with self.assertRaises((urllib.error.URLError, OSError)):
                    http(daemon, "/healthz", context=trust)
                trust.load_cert_chain(f"{folder}/client.pem", f"{folder}/client.key")
                self.assertEqual(http(daemon, "/healthz", context=trust)[0], 200)


class PageTest(unittest.TestCase):
    def test_nothing_inline_and_nothing_from_elsewhere(self):
        with Daemon() as daemon:
            status, headers, body = http(daemon, "/")
            policy = headers["Content-Security-Policy"]
            for word in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"):
                self.assertIn(word, policy)
            self.assertNotIn("unsafe", policy)
            page = body.decode()
            for word in ("<style", "style=", " onclick", "javascript:", "http://", "https://"):
                self.assertNotIn(word, page)
            self.assertEqual(page.count("<script"), page.count('<script type="module" src="'))


if __name__ == "__main__":
    unittest.main(verbosity=2)
