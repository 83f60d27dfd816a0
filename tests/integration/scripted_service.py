"""A service of OpenAI's chat completions that does what a test tells it to, hostile things among them. Standard library only."""
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(text, model="judge", finish="stop"):
    return json.dumps({"model": model, "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}],
                       "usage": {"prompt_tokens": 20, "completion_tokens": 5}}).encode()


class Service:
    """`script(n, request)` says what to do with the n-th request (from 0): a text is answered with, anything else is one
    of the names below. Counts what it was asked."""

    def __init__(self, script):
        self.script = script
        self.requests = []
        self.headers = []
        self.lock = threading.Lock()
        self.released = threading.Event()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with service.lock:
                    number = len(service.requests)
                    service.requests.append(body)
                    service.headers.append(dict(self.headers))
                try:
                    service.act(self, service.script(number, body))
                except OSError:
                    pass  # the client has had enough
                self.close_connection = True

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def act(self, handler, what):
        def send(status, body, **headers):
            handler.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
        if what == "half":
            send(200, completion("never whole")[:40])
        elif what == "hang":
            self.released.wait(60)
        elif what == "busy":
            send(429, b'{"error": {"message": "slow down"}}', Retry_After="0")
        elif what == "html":
            send(200, b"<html><body>It works!</body></html>", Content_Type="text/html")
        elif what == "other_model":
            send(200, completion("9 9", model="something-else"))
        elif what == "gzip_bomb":
            import gzip
            send(200, gzip.compress(bytes(50 << 20)), Content_Encoding="gzip")
        elif what == "endless":
            handler.send_response(200)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            while not self.released.is_set():
                handler.wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        elif what == "unauthorized":
            key = handler.headers.get("Authorization", "")
            send(401, json.dumps({"error": {"message": "Incorrect API key provided: " + key}}).encode())
        elif what == "too_long":
            send(400, b'{"error": {"message": "the prompt is too long"}}')
        elif what == "cut":
            send(200, completion("cut off", finish="length"))
        else:
            send(200, completion(what))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
