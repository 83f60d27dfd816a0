"""What the tests of the HTTP API share: requests as they stand on the wire."""
import base64
import json
import socket
import urllib.error
import urllib.request

from daemon_process import IMAGES

CHAT = "/v1/chat/completions"


def picture(name):
    return {"type": "image_url", "image_url": {
        "url": "data:image/png;base64," + base64.b64encode((IMAGES / name).read_bytes()).decode()}}


def question(text, *pictures):
    return [{"role": "user", "content": [*map(picture, pictures), {"type": "text", "text": text}]}]


def http(daemon, path, body=None, method=None, headers=(), context=None):
    """(status, headers, body)"""
    data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
    request = urllib.request.Request(daemon.addresses["http"] + path, data, dict(headers), method=method)
    try:
        with urllib.request.urlopen(request, timeout=120, context=context) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def error_of(body):
    return json.loads(body)["error"]


def connect(daemon):
    host, port = daemon.addresses["http"].split("//")[1].split(":")
    return socket.create_connection((host, int(port)), timeout=120)


def post(path, body, *headers):
    """The bytes of a POST."""
    body = json.dumps(body).encode() if isinstance(body, dict) else body
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def read_all(connection):
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data
