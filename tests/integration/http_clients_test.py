"""Real HTTP clients, and bad ones, against the daemon."""
import asyncio
import base64
import json
import socket
import unittest
import urllib.error
import urllib.request

import openai
from langchain_openai import ChatOpenAI

from daemon_process import IMAGES, Daemon, generated_client, wait_until

pb, pb_grpc = generated_client()


def picture(name):
    return {"type": "image_url", "image_url": {
        "url": "data:image/png;base64," + base64.b64encode((IMAGES / name).read_bytes()).decode()}}


def question(text, *pictures):
    return [{"role": "user", "content": [*map(picture, pictures), {"type": "text", "text": text}]}]


def http(daemon, path, body=None, method=None, headers=()):
    """(status, headers, body)"""
    data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
    request = urllib.request.Request(daemon.addresses["http"] + path, data, dict(headers), method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def connect(daemon):
    host, port = daemon.addresses["http"].removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def read_all(connection):
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


class HttpClientsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon("--step-ms", "2", config="http_request_timeout: 1s\nhttp_idle_timeout: 2s\n"
                            "max_message_bytes: 2MiB\n")
        cls.client = openai.OpenAI(base_url=cls.daemon.addresses["http"] + "/v1", api_key="none", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        assert cls.daemon.stop() == 0

    def complete(self, messages, **options):
        return self.client.chat.completions.create(model="golden", messages=messages, **options)

    def test_openai_whole_streamed_and_async_agree_with_grpc(self):
        messages = question("What is this?", "landscape.png")
        whole = self.complete(messages, max_tokens=16)
        streamed = list(self.complete(messages, max_tokens=16, stream=True, stream_options={"include_usage": True}))
        text = "".join(c.choices[0].delta.content or "" for c in streamed if c.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(streamed[-1].usage.completion_tokens, 16)
        self.assertEqual(whole.choices[0].finish_reason, "length")

        async def several():
            async with openai.AsyncOpenAI(base_url=self.daemon.addresses["http"] + "/v1", api_key="none") as client:
                return await asyncio.gather(*[client.chat.completions.create(
                    model="golden", messages=messages, max_tokens=16) for _ in range(16)])
        for answer in asyncio.run(several()):
            self.assertEqual(answer.choices[0].message.content, text)

        with self.daemon.channel() as channel:
            part = pb.MessagePart
            answer = pb_grpc.ChatServiceStub(channel).Chat(pb.ChatRequest(
                messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=[
                    part(image=(IMAGES / "landscape.png").read_bytes()), part(text="What is this?")])],
                sampling=pb.SamplingOptions(max_tokens=16)))
        self.assertEqual(answer.choices[0].text, text)
        self.assertEqual(answer.model_version, whole.system_fingerprint)
        self.assertGreater(self.complete(question("Which colours?", "landscape.png"), max_tokens=2)
                           .usage.prompt_tokens_details.cached_tokens, 0)

    def test_langchain(self):
        chat = ChatOpenAI(base_url=self.daemon.addresses["http"] + "/v1", api_key="none", model="golden",
                          temperature=0, max_tokens=6)
        self.assertEqual(chat.invoke("Hello").content, "".join(c.content for c in chat.stream("Hello")))

    def test_options(self):
        answer = self.complete([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
                               n=2, temperature=1, seed=5, max_completion_tokens=4, logprobs=True, top_logprobs=2,
                               presence_penalty=0.5, logit_bias={"5": 1}, user="alice", stop=["zzz"],
                               extra_body={"return_token_ids": True, "ignore_eos": True})
        self.assertEqual(len(answer.choices), 2)
        for choice in answer.choices:
            self.assertEqual(len(choice.logprobs.content), 4)
            self.assertEqual(len(choice.logprobs.content[0].top_logprobs), 2)
            self.assertEqual(len(choice.model_extra["token_ids"]), 4)

    def test_errors_name_the_field(self):
        hello = [{"role": "user", "content": "Hello"}]
        for body, status, param in [
                ({}, 400, "messages"), ({"messages": hello, "tools": [{}]}, 400, "tools"),
                ({"messages": hello, "response_format": {"type": "json_object"}}, 400, "response_format"),
                ({"messages": hello, "temperature": 1000}, 400, "temperature"),
                ({"messages": hello, "temperature": "hot"}, 400, "temperature"),
                ({"messages": hello, "max_tokens": 0}, 400, "max_tokens"),
                ({"messages": hello, "no_such": 1}, 400, "no_such"), ({"messages": hello, "n": 99}, 400, "n"),
                ({"messages": [{"role": "tool", "content": "x"}]}, 400, "messages[0].role"),
                ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, 400, "messages[0].content[0]"),
                ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {
                    "url": "http://169.254.169.254/"}}]}]}, 400, "messages[0].content[0].image_url.url"),
                ({"messages": hello, "model": "nobody"}, 404, "model"), (b"{", 400, None), (b"[1]", 400, None)]:
            with self.subTest(body=body):
                got, _, text = http(self.daemon, "/v1/chat/completions", body)
                error = json.loads(text)["error"]
                self.assertEqual((got, error["param"]), (status, param), error)
        self.assertEqual(http(self.daemon, "/v1/chat/completions", method="GET")[0], 405)
        self.assertEqual(http(self.daemon, "/nothing")[0], 404)
        self.assertEqual(http(self.daemon, "/v1/chat/completions", b"x" * (3 << 20))[0], 413)

    def test_tokenize_and_back(self):
        tokens = json.loads(http(self.daemon, "/tokenize", {"prompt": "Hello there"})[2])["tokens"]
        text = json.loads(http(self.daemon, "/detokenize", {"tokens": tokens})[2])["prompt"]
        self.assertEqual(text, "Hello there")
        self.assertEqual(http(self.daemon, "/detokenize", {"tokens": [-1]})[0], 400)

    def test_the_page_is_served_with_a_strict_policy(self):
        status, headers, body = http(self.daemon, "/")
        self.assertEqual(status, 200)
        self.assertIn(b"<!doctype html>", body)
        self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
        for name in ("app.js", "api.js", "pictures.js", "style.css", "icon.svg"):
            self.assertEqual(http(self.daemon, "/" + name)[0], 200)

    def test_pipelined_and_chunked_requests(self):
        with connect(self.daemon) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 3 +
                               b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            self.assertEqual(read_all(connection).count(b"200 OK"), 4)
        body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}).encode()
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
        for bad in (b"\x16\x03\x01 not http\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"y" * 20000 + b"\r\n\r\n"):
            with connect(self.daemon) as connection:
                connection.sendall(bad)
                self.assertIn(b"400 Bad Request", read_all(connection))

    def test_a_client_that_vanishes_frees_its_blocks(self):
        body = json.dumps({"messages": [{"role": "user", "content": "Go on"}], "max_tokens": 400,
                           "ignore_eos": True, "stream": True}).encode()
        for stream in (True, False):
            with self.subTest(stream=stream):
                sent = body if stream else body.replace(b'"stream": true', b'"stream": false')
                with connect(self.daemon) as connection:
                    connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
                                       % len(sent) + sent)
                    wait_until(lambda: self.daemon.metrics()["llava_requests_running"] == 1, "it runs")
                wait_until(lambda: self.daemon.metrics()["llava_requests_running"] == 0, "it is gone")
                self.assertEqual(self.daemon.metrics()['llava_kv_blocks{state="used"}'], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
