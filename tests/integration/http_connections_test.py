"""Connections as clients should not treat them: slow, malformed, half-closed, abandoned, too many."""
import json
import resource
import select
import socket
import threading
import unittest

from daemon_process import Daemon, wait_until
from http_requests import CHAT, connect, http, post, read_all

HELLO = {"messages": [{"role": "user", "content": "Go on"}], "ignore_eos": True}


def drip(connection, data, pause):
    """Sends byte after byte until the server has had enough; what it said."""
    for byte in data:
        if select.select([connection], [], [], pause)[0]:
            break
        connection.sendall(bytes([byte]))
    return read_all(connection)


class ConnectionsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon("--step-ms", "2", config="http_request_timeout: 1s\nhttp_idle_timeout: 2s\n"
                            "max_message_bytes: 2MiB\n")

    @classmethod
    def tearDownClass(cls):
        assert cls.daemon.stop() == 0

    def requests(self, state):
        return self.daemon.metrics()[f"llava_requests_{state}"]

    def wait_until_idle(self):
        # The gauges are of moments that follow each other: the last blocks may be freed behind the last request.
        wait_until(lambda: self.requests("running") == 0 and self.daemon.metrics()['llava_kv_blocks{state="used"}'] == 0,
                   "nothing runs, no block is used")

    def test_pipelined_and_chunked_requests(self):
        with connect(self.daemon) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 3 +
                               b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            self.assertEqual(read_all(connection).count(b"200 OK"), 4)
        body = json.dumps({**HELLO, "max_tokens": 2}).encode()
        with connect(self.daemon) as connection:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                               b"Transfer-Encoding: chunked\r\n\r\n")
            for i in range(0, len(body), 7):
                piece = body[i:i + 7]
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            connection.sendall(b"0\r\n\r\n")
            self.assertIn(b"200 OK", read_all(connection))

    def test_slow_and_malformed_clients_are_dropped(self):
        with connect(self.daemon) as connection:  # never finishes its header
            connection.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
            self.assertEqual(read_all(connection), b"")
        with connect(self.daemon) as connection:  # never finishes its body
            connection.sendall(b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            self.assertEqual(read_all(connection), b"")
        with connect(self.daemon) as connection:  # says nothing
            self.assertEqual(read_all(connection), b"")
        for bad, status in ((b"\x16\x03\x01 not http\r\n\r\n", b"400 Bad Request"),
                            (b"GET / HTTP/1.1\r\nX: " + b"y" * 20000 + b"\r\n\r\n", b"431 Request Header Fields Too Large")):
            with connect(self.daemon) as connection:
                connection.sendall(bad)
                self.assertIn(status, read_all(connection))

    def test_pipelined_answers_come_in_order(self):
        with connect(self.daemon) as connection:
            first, second = ({**HELLO, "max_tokens": n, "stream": n == 30} for n in (30, 3))
            connection.sendall(post(CHAT, first) + post(CHAT, second) + post("/healthz", b"", "Connection: close"))
            answers = read_all(connection)
        self.assertEqual(answers.count(b"HTTP/1.1 200 OK"), 2)
        self.assertLess(answers.index(b"[DONE]"), answers.index(b'"chat.completion"'))
        self.assertLess(answers.index(b'"chat.completion"'), answers.index(b"405 Method Not Allowed"))

    def test_a_next_request_that_begins_during_an_answer(self):
        """Its first bytes come while the client is watched, the others when the answer is there: one read at a time."""
        nothing = threading.Event()
        for _ in range(5):
            with connect(self.daemon) as connection:
                connection.sendall(post(CHAT, {**HELLO, "max_tokens": 30, "stream": True}))
                connection.recv(10)
                next_one = post(CHAT, {**HELLO, "max_tokens": 3}, "Connection: close")
                connection.sendall(next_one[:1])
                nothing.wait(0.05)
                connection.sendall(next_one[1:20])
                nothing.wait(0.3)
                connection.sendall(next_one[20:])
                self.assertIn(b'"chat.completion"', read_all(connection))

    def test_slowloris_ends_within_the_request_timeout(self):
        endless = b"GET /healthz HTTP/1.1\r\n" + b"X-Slow: y\r\n" * 1000
        with connect(self.daemon) as header, connect(self.daemon) as body, connect(self.daemon) as chunks:
            body.sendall(b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")
            chunks.sendall(b"POST /tokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            self.assertEqual(drip(header, endless, 0.05), b"")
            self.assertEqual(drip(body, b" " * 5000, 0.05), b"")
            self.assertEqual(drip(chunks, b"1\r\n \r\n" * 1000, 0.05), b"")

    def test_a_reader_that_does_not_read_is_dropped(self):
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            host, port = self.daemon.addresses["http"].split("//")[1].split(":")
            connection.connect((host, int(port)))
            connection.sendall(post(CHAT, {**HELLO, "max_tokens": 1000, "stream": True, "logprobs": True,
                                           "top_logprobs": 20, "n": 4}))
            wait_until(lambda: self.requests("running") > 0, "it runs")
            self.wait_until_idle()

    def test_half_closed(self):
        with connect(self.daemon) as connection:  # before the request is whole: nothing to answer
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost:")
            connection.shutdown(socket.SHUT_WR)
            self.assertNotIn(b"200 OK", read_all(connection))
        with connect(self.daemon) as connection:  # answered at once
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            self.assertIn(b"200 OK", read_all(connection))
        for stream in (False, True):  # an answer under way: the client counts as gone, and is told so
            with self.subTest(stream=stream), connect(self.daemon) as connection:
                connection.sendall(post(CHAT, {**HELLO, "max_tokens": 400, "stream": stream}))
                wait_until(lambda: self.requests("running") == 1, "it runs")
                connection.shutdown(socket.SHUT_WR)
                answer = read_all(connection)
                self.wait_until_idle()
                self.assertEqual(answer.startswith(b"HTTP/1.1 499 Client Closed Request\r\n"), not stream)
                self.assertIn(b"closes its sending half counts as gone", answer)
                self.assertIn(b'"code":"cancelled"', answer)
                self.assertNotIn(b"[DONE]", answer)
        with connect(self.daemon) as connection:  # all at once, as by `nc -N`: the answer has not begun
            connection.sendall(post(CHAT, {**HELLO, "max_tokens": 400}))
            connection.shutdown(socket.SHUT_WR)
            self.assertIn(b"499", read_all(connection)[:20])
            self.wait_until_idle()

    def test_malformed_bodies(self):
        for request, status in [
                (b"POST /tokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
                (b"POST /tokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n300000\r\n", b"413"),
                (b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"400"),
                (b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", b"400"),
                (b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", b"400")]:
            with self.subTest(request=request), connect(self.daemon) as connection:
                connection.sendall(request + b"x" * (0x300000 if status == b"413" else 0))
                self.assertIn(b"HTTP/1.1 " + status, read_all(connection)[:20])


class BodiesTest(unittest.TestCase):
    def test_bodies_that_are_announced_or_answered_leave_room_for_others(self):
        with Daemon("--step-ms", "2", config="queue_requests: 64\n") as daemon:  # 64 MiB a body, 768 MiB of all
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
            stream = json.dumps({**HELLO, "stream": True, "max_tokens": 400}).encode()
            held = [connect(daemon) for _ in range(42)]
            for connection in held[:14]:
                connection.sendall(head + b"Content-Length: 67108864\r\n\r\n{")
            for connection in held[14:28]:
                connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
            for connection in held[28:]:
                connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(stream), stream))
                self.assertIn(b"200 OK", connection.recv(4096))
            self.assertEqual(http(daemon, CHAT, {**HELLO, "max_tokens": 1})[0], 200)
            for connection in held:
                connection.close()

    def test_a_tenant_is_text(self):
        with Daemon() as daemon:
            for path, asked in ((CHAT, {**HELLO, "max_tokens": 1}), ("/tokenize", {"prompt": "x"})):
                for name in (b"\xff\xfe", b"evil\tname"):
                    with self.subTest(path=path, name=name), connect(daemon) as connection:
                        body = json.dumps(asked).encode()
                        connection.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Tenant: %s\r\n"
                                           b"Content-Length: %d\r\n\r\n%s" % (path.encode(), name, len(body), body))
                        self.assertIn(b"400 Bad Request", read_all(connection)[:30])
            daemon.metrics()  # UTF-8


class ManyConnectionsTest(unittest.TestCase):
    def test_ten_thousand_idle_connections_do_not_stop_the_others(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 10_300:
            self.skipTest(f"the hard limit of open files is {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

        def open_files():
            resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))  # what a shell gives: the daemon raises it
        with Daemon(config="http_idle_timeout: 1h\n", preexec=open_files) as daemon:
            def resident():
                with open(f"/proc/{daemon.process.pid}/status") as status:
                    return int(next(line for line in status if line.startswith("VmRSS")).split()[1])
            before = resident()
            connections = [connect(daemon) for _ in range(10_000)]
            for connection in connections[::100]:  # some have been used
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertIn(b"200 OK", connection.recv(4096))
            status, _, body = http(daemon, CHAT, {**HELLO, "max_tokens": 5})
            self.assertEqual((status, json.loads(body)["usage"]["completion_tokens"]), (200, 5))
            print(f"{(resident() - before) / 10_000:.1f} KiB a connection")
            self.assertEqual(daemon.stop(), 0)  # they do not hold it up
            self.assertEqual({connection.recv(1) for connection in connections}, {b""})
            for connection in connections:
                connection.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
