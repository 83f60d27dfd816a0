"""A judge that knows the truth, in the place of GPT-4: an OpenAI-compatible service that reads a LLaVA-Bench prompt and scores.

It takes the truth from the prompt's context. An answer's score, 1 to 10, is what of the question's key it says (0.6) and how many
of the things that it speaks of are there as it says (0.4). Both answers are scored by the same rule, whoever gave them.
"""
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import questions
import world


def claims(answer):
    """(size, colour, shape, place) of each thing that is spoken of; "" is left open. Sentences that deny or suppose are none."""
    for sentence in re.split(r"[.!?]\s*", answer):
        if re.search(r"\b(no|none|No|Without|would|without)\b", sentence):
            continue
        for size, colour, shape, place in world.THING.findall(sentence):
            if colour:
                yield size, colour, shape, place


def is_so(claim, truth):
    size, colour, shape, place = claim
    return any(t.colour == colour and t.shape == shape and size in ("", t.size) and place in ("", t.place) for t in truth.things)


def score(question, answer, truth):
    key = questions.key_of(question, truth)
    if key is None:
        return None
    said = sum(bool(re.search(rf"\b{re.escape(part)}\b", answer, re.I)) for part in key) / len(key)
    found = [is_so(claim, truth) for claim in claims(answer)]
    true = sum(found) / len(found) if found else (1.0 if said else 0.0)
    return round(1 + 9 * (0.6 * said + 0.4 * true * (said > 0 or bool(found))))


def review(prompt):
    """The two scores on the first line, and why."""
    def section(begin, end):
        match = re.search(re.escape(begin) + r"\n(.*?)" + re.escape(end), prompt, re.S)
        return match.group(1).strip() if match else ""

    truth = world.parse_context(section("[Context]", "[Question]"))
    question = section("[Question]", "[Assistant 1]")
    answers = [section(f"[Assistant {n}]", f"[End of Assistant {n}]") for n in (1, 2)]
    scores = [score(question, answer, truth) for answer in answers] if truth else [None]
    if None in scores:
        return "This question is none of our world."
    return f"{scores[0]} {scores[1]}\nThe key is {'; '.join(questions.key_of(question, truth))}."


class Service:
    """An OpenAI-compatible service on a free port of this machine, while it is entered: answer(messages) is the text."""

    model = "truth"

    def __init__(self, answer):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                message = {"role": "assistant", "content": answer(request["messages"])}
                body = json.dumps({"model": request["model"], "choices": [{"finish_reason": "stop", "message": message}],
                                   "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def judge():
    return Service(lambda messages: review(messages[-1]["content"]))
