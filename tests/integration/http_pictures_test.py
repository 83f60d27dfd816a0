"""Pictures as raw bytes in a form, and from other servers when the operator allows them."""
import base64
import http.server
import json
import os
import ssl
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

from daemon_process import IMAGES, Daemon, make_certificates, wait_until
from http_requests import CHAT, connect, error_of, http as call, question

PNG = (IMAGES / "landscape.png").read_bytes()


def form(*parts):
    """(Content-Type, body) of a multipart/form-data form of (name, bytes) pairs."""
    boundary = "a-boundary-that-no-picture-has"
    body = b"".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="x; name=y"\r\n'
                    "Content-Type: application/octet-stream\r\n\r\n".encode() + content + b"\r\n"
                    for name, content in parts)
    return f'multipart/form-data; boundary="{boundary}"', body + f"--{boundary}--\r\n".encode()


def asking(*urls):
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": "What is this?"}]}],
            "max_tokens": 8, "return_token_ids": True}


def ids(body):
    return json.loads(body)["choices"][0]["token_ids"]


class Origin:
    """A web server on 127.0.0.1 whose answers are functions of a handler, by path."""

    def __init__(self, tls_folder=None):
        self.answers, self.asked, self.release = {}, [], threading.Event()
        origin = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                origin.asked.append(self.path)
                origin.answers[self.path.split("?")[0]](self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls_folder:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(f"{tls_folder}/server.pem", f"{tls_folder}/server.key")
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()


def sends(content, status=200, **headers):
    def answer(handler):
        handler.send_response(status)
        for name, value in {"content_length": len(content), **headers}.items():
            handler.send_header(name.replace("_", "-"), str(value))
        handler.end_headers()
        handler.wfile.write(content)
    return answer


class FormTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        cls.expected = ids(call(cls.daemon, CHAT, {**asking(), "messages": question("What is this?", "landscape.png")})[2])

    @classmethod
    def tearDownClass(cls):
        assert cls.daemon.stop() == 0

    def send(self, *parts):
        content_type, body = form(*parts)
        return call(self.daemon, CHAT, body, headers={"Content-Type": content_type})

    def test_a_named_part_and_a_loose_one_give_the_answer_of_a_data_uri(self):
        for request in (asking("cid:cat"), asking()):
            status, _, body = self.send(("request", json.dumps(request).encode()), ("cat", PNG))
            self.assertEqual((status, ids(body)), (200, self.expected))

    def test_the_same_picture_is_the_same_prefix_however_it_came(self):
        _, _, body = self.send(("request", json.dumps(asking()).encode()), ("cat", PNG))
        self.assertGreater(json.loads(body)["usage"]["prompt_tokens_details"]["cached_tokens"], 0)

    def test_forms_that_are_wrong(self):
        request = json.dumps(asking()).encode()
        for parts, param in [([("cat", PNG)], "request"), ([("request", b"{")], None),
                             ([("request", json.dumps(asking("cid:dog")).encode()), ("cat", PNG)],
                              "messages[0].content[0].image_url.url"),
                             ([("request", request), ("cat", b"not a picture")], "cat"),
                             ([("request", b'{"messages": []}'), ("cat", PNG)], "messages")]:
            with self.subTest(param=param):
                status, _, body = self.send(*parts)
                self.assertEqual((status, error_of(body)["param"]), (400, param))
        for content_type, body in [("multipart/form-data", b"--x--"), ("multipart/form-data; boundary=x", b"--y--"),
                                   ("multipart/form-data; boundary=x", b"--x\r\n\r\nno name\r\n--x--"),
                                   ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"'),
                                   ("multipart/form-data; boundary=x",
                                    b'--x\r\nContent-Disposition: form-data; name="request"\r\n\r\n{}')]:
            status, _, answer = call(self.daemon, CHAT, body, headers={"Content-Type": content_type})
            self.assertEqual(status, 400, body)
            self.assertIn("form", error_of(answer)["message"])


class UrlTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        make_certificates(cls.folder.name)
        cls.origin, cls.secure, cls.elsewhere = Origin(), Origin(cls.folder.name), Origin()
        cls.url = f"http://127.0.0.1:{cls.origin.port}"
        hosts = ", ".join(f'"{host}:{port}"' for host, port in [
            ("127.0.0.1", cls.origin.port), ("localhost", cls.origin.port), ("[fd00::1]", cls.origin.port),
            ("localhost", cls.secure.port), ("127.0.0.1", cls.secure.port), ("192.168.77.1", 80)])
        limits = "image_url_timeout: 1s\nmax_image_bytes: 64KiB\nmax_message_bytes: 128KiB\n"
        # localhost may be ::1, too.
        with mock.patch.dict(os.environ, SSL_CERT_FILE=f"{cls.folder.name}/ca.pem"):
            cls.daemon = Daemon(config=f"image_url_hosts: [{hosts}]\nimage_url_networks: [127.0.0.0/8, \"::1/128\"]\n" + limits)
        cls.strict = Daemon(config=f"image_url_hosts: [{hosts}]\n")
        cls.off = Daemon()

    @classmethod
    def tearDownClass(cls):
        for server in (cls.origin, cls.secure, cls.elsewhere):
            server.close()
        for daemon in (cls.daemon, cls.strict, cls.off):
            assert daemon.stop() == 0
        cls.folder.cleanup()

    def setUp(self):
        for server in (self.origin, self.secure, self.elsewhere):
            server.answers = {"/cat.png": sends(PNG)}
            server.asked = []

    def ask(self, *urls, daemon=None):
        status, _, body = call(daemon or self.daemon, CHAT, asking(*urls))
        return (status, ids(body)) if status == 200 else (status, error_of(body)["message"])

    def refused(self, url, word, daemon=None):
        status, message = self.ask(url, daemon=daemon)
        self.assertEqual(status, 400, message)
        self.assertIn(word, message)
        self.assertTrue(message.startswith("messages[0].content[0].image_url.url: "), message)

    def test_an_allowed_picture_gives_the_answer_of_its_bytes(self):
        data = "data:image/png;base64," + base64.b64encode(PNG).decode()
        expected = self.ask(data)
        self.assertEqual(self.ask(self.url + "/cat.png?size=big"), expected)
        self.assertEqual(self.origin.asked, ["/cat.png?size=big"])
        self.assertEqual(self.ask(f"HTTP://localhost:{self.origin.port}/cat.png#top"), expected)
        self.assertEqual(self.ask(f"https://localhost:{self.secure.port}/cat.png"), expected)
        self.assertEqual(self.ask(self.url + "/cat.png", data)[0], 200)

    def test_off_by_default(self):
        self.refused(self.url + "/cat.png", "not fetched", daemon=self.off)
        self.assertEqual(self.origin.asked, [])

    def test_an_allowed_host_in_a_private_network_is_refused(self):
        for url in (self.url + "/cat.png", f"http://localhost:{self.origin.port}/cat.png", "http://192.168.77.1/"):
            self.refused(url, "not public", daemon=self.strict)
        self.refused("http://192.168.77.1/", "not public")  # in neither network
        self.refused(f"http://[fd00::1]:{self.origin.port}/cat.png", "not public")
        self.assertEqual(self.origin.asked, [])

    def test_other_hosts_ports_and_spellings_are_refused(self):
        for url in (f"http://127.0.0.1:{self.elsewhere.port}/cat.png", "http://127.0.0.1/cat.png",
                    "http://169.254.169.254/latest/meta-data/", f"http://2130706433:{self.origin.port}/cat.png",
                    f"http://127.1:{self.origin.port}/cat.png", f"http://0x7f000001:{self.origin.port}/cat.png",
                    f"http://localhost.:{self.origin.port}/cat.png"):
            self.refused(url, "image_url_hosts")
        self.refused(f"http://user@127.0.0.1:{self.origin.port}/cat.png", "user name")
        self.refused(f"http://127.0.0.1%00.example.org:{self.origin.port}/", "malformed")
        self.refused("http://", "malformed")
        self.refused("http://a b/", "malformed")
        self.assertEqual(self.origin.asked, [])

    def test_redirects_are_checked_like_the_first_url(self):
        for n, place in enumerate(["/cat.png", self.url + "/cat.png", "cat.png"]):
            self.origin.answers[f"/moved{n}"] = sends(b"", 302, location=place)
            self.assertEqual(self.ask(f"{self.url}/moved{n}")[0], 200)
        for place, word in [(f"http://127.0.0.1:{self.elsewhere.port}/cat.png", "image_url_hosts"),
                            ("http://169.254.169.254/", "image_url_hosts"), ("http://192.168.77.1/", "not public"),
                            (f"http://[fd00::1]:{self.origin.port}/cat.png", "not public"),
                            ("file:///etc/passwd", "http: or https:"), ("http://", "malformed")]:
            self.origin.answers["/away"] = sends(b"", 307, location=place)
            self.refused(self.url + "/away", word)
        self.origin.answers["/loop"] = sends(b"", 301, location="/loop")
        self.refused(self.url + "/loop", "too often")
        self.secure.answers["/down"] = sends(b"", 302, location=self.url + "/cat.png")
        self.refused(f"https://localhost:{self.secure.port}/down", "insecure")
        self.assertEqual(self.elsewhere.asked, [])

    def test_size_and_time_have_limits(self):
        big = b"x" * (65 << 10)
        self.origin.answers["/big"] = sends(big)
        self.refused(self.url + "/big", "more than 65536 bytes")

        def endless(handler):
            handler.send_response(200)
            handler.end_headers()
            try:
                while True:
                    handler.wfile.write(big)
            except OSError:
                pass
        self.origin.answers["/endless"] = endless
        self.refused(self.url + "/endless", "more than 65536 bytes")
        self.origin.answers["/slow"] = lambda handler: self.origin.release.wait(20)
        self.refused(self.url + "/slow", "too long")
        large = PNG + b"\0" * (50 << 10)
        self.origin.answers["/large"] = sends(large)
        status, message = self.ask(*[self.url + "/large"] * 3)  # 128 KiB for all of a request
        self.assertEqual(status, 400)
        self.assertIn("more than", message)

    def test_what_a_server_may_answer(self):
        self.origin.answers["/gone"] = sends(b"", 404)
        self.refused(self.url + "/gone", "404")
        self.origin.answers["/page"] = sends(b"<html>")
        status, message = self.ask(self.url + "/page")
        self.assertEqual(status, 400)
        self.origin.answers["/rude"] = lambda handler: handler.wfile.write(b"\x16\x03\x01 hello\r\n\r\n")
        self.refused(self.url + "/rude", "cannot be fetched")
        self.refused(f"https://localhost:{self.origin.port}/cat.png", "cannot be fetched")  # no TLS there

    def test_a_client_that_leaves_during_the_fetch_leaves_nothing_behind(self):
        files = Path(f"/proc/{self.daemon.process.pid}/fd")
        before = len(list(files.iterdir()))
        begun = threading.Event()

        def hold(handler):
            begun.set()
            self.origin.release.wait(20)
        self.origin.answers["/hold"] = hold
        with connect(self.daemon) as connection:
            body = json.dumps(asking(self.url + "/hold")).encode()
            connection.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (CHAT.encode(), len(body), body))
            self.assertTrue(begun.wait(30))
        wait_until(lambda: len(list(files.iterdir())) <= before, "the connections are closed")

    def test_wrong_entries_are_named(self):
        for config, word in [("image_url_hosts: [a/b]", "a/b"), ("image_url_networks: [10.0.0.0/99]", "10.0.0.0/99"),
                             ("cors_origins: [example.org]", "example.org")]:
            with self.assertRaisesRegex(AssertionError, word):
                Daemon(config=config + "\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
