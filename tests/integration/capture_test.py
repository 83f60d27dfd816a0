"""Turns that a daemon captures, and what people say of them: over HTTP and gRPC, into shards on the disk."""
import hashlib
import http.client as http_client
import json
import signal
import tempfile
import threading
import unittest
from pathlib import Path

import grpc

from daemon_process import IMAGES, Daemon, generated, wait_until
from http_requests import CHAT, error_of, http, question

chat_pb2, chat_grpc, feedback_pb2, feedback_grpc = generated("llava/v1/chat.proto", "llava/v1/feedback.proto")
PEOPLE = ("ann", "bob", "eve")  # with pictures, without, not at all
AGREED = "capture_pictures: [ann]\ncapture_texts: [bob]\n"


class CaptureTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.dir = self.folder / "capture"
        self.tokens = self.folder / "tokens"
        roles = {name: "chat" for name in PEOPLE} | {"root": "chat,admin,tenants"}
        self.tokens.write_text("".join(f"{name} {role} sha256:{hashlib.sha256(name.encode()).hexdigest()}\n"
                                       for name, role in roles.items()))

    def daemon(self, *flags, config=AGREED):
        daemon = Daemon(*flags, config=f"capture_dir: {self.dir}\ntokens_file: {self.tokens}\n{config}")
        self.addCleanup(daemon.__exit__)
        return daemon

    def ask(self, daemon, path, body=None, who="ann", method=None, **headers):
        """(status, what was answered)"""
        headers = {"Authorization": f"Bearer {who}", **{name.replace("_", "-"): value for name, value in headers.items()}}
        status, _, text = http(daemon, path, body, method, headers)
        return status, json.loads(text)

    def chat(self, daemon, text, *pictures, who="ann", before=(), **fields):
        """The answer, and its id."""
        body = {"messages": [*before, *question(text, *pictures)], "max_tokens": 8, **fields}
        status, answer = self.ask(daemon, CHAT, body, who)
        self.assertEqual(status, 200, answer)
        return answer["choices"][0]["message"]["content"], answer["id"]

    def shards(self):
        return sorted(path for path in (self.dir / "shards").iterdir() if path.name.isdigit())

    def rows(self):
        """The rows of all closed shards, each with its shard's folder and its verdict."""
        rows = []
        for shard in self.shards():
            file = shard / "verdicts.jsonl"
            verdicts = {v["row"]: v for v in map(json.loads, file.read_text().splitlines())} if file.exists() else {}
            for row in map(json.loads, (shard / "rows.jsonl").read_text().splitlines()):
                rows.append({**row, "shard": shard, "verdict": verdicts.get(row["capture"]["row"])})
        return rows

    def test_off_unless_it_is_asked_for(self):
        daemon = Daemon()
        self.addCleanup(daemon.__exit__)
        http(daemon, CHAT, {"messages": question("Hi."), "max_tokens": 2})
        status, _, text = http(daemon, "/v1/feedback", {"id": "x", "verdict": "up"})
        self.assertEqual((status, "capture_dir" in error_of(text)["message"]), (404, True))
        with self.assertRaisesRegex(AssertionError, "capture_dir: is empty, expected a folder"):
            Daemon(config="capture_texts: [ann]\n")

    def test_a_turn_is_a_row_of_llava_with_its_picture_and_its_verdict(self):
        daemon = self.daemon()
        first, first_id = self.chat(daemon, "What is it?", "gray.png", temperature=0.5, seed=7)
        before = [*question("What is it?", "gray.png"), {"role": "assistant", "content": first}]
        second, second_id = self.chat(daemon, "Sure?", before=before)
        self.assertEqual(self.ask(daemon, "/v1/feedback", {"id": first_id, "verdict": "up"})[0], 200)
        wrong = {"id": second_id, "verdict": "down", "correction": "I am."}
        self.assertEqual(self.ask(daemon, "/v1/feedback", wrong), (200, {"object": "feedback", "id": second_id, "verdict": "down"}))
        version = self.ask(daemon, "/v1/models")[1]["data"][0]["version"]
        self.assertEqual(daemon.metrics()['llava_feedback_total{verdict="down"}'], 1)
        self.assertEqual(daemon.metrics()["llava_captured_turns_total"], 2)
        self.assertGreater(daemon.metrics()["llava_captured_bytes"], 0)
        self.assertEqual(daemon.stop(), 0)
        one, two = self.rows()
        picture = (IMAGES / "gray.png").read_bytes()
        digest = hashlib.sha256(picture).hexdigest()
        self.assertEqual((one["id"], one["image"]), (first_id.removeprefix("chatcmpl-"), [digest + ".png"]))
        self.assertEqual((one["shard"] / "pictures" / one["image"][0]).read_bytes(), picture)
        self.assertEqual(one["conversations"], [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": first}])
        self.assertEqual(two["conversations"][1:], [{"from": "gpt", "value": first, "weight": 0},
                                                    {"from": "human", "value": "Sure?"}, {"from": "gpt", "value": second}])
        about = one["capture"]
        self.assertEqual((about["tenant"], about["digests"], about["version"], about["model"]), ("ann", [digest], version, "golden"))
        self.assertEqual((about["sampling"]["temperature"], about["sampling"]["seed"]), (0.5, 7))
        self.assertEqual((one["verdict"]["verdict"], two["verdict"]["verdict"], two["verdict"]["correction"]), ("up", "down", "I am."))
        self.assertEqual(about["conversation"], two["capture"]["conversation"])
        self.assertEqual(len(list((one["shard"] / "pictures").iterdir())), 1, "each picture once")

    def test_nobody_s_turn_without_agreement_and_nobody_s_picture(self):
        daemon = self.daemon()
        self.assertEqual([self.ask(daemon, "/v1/feedback", who=who)[1] for who in PEOPLE],
                         [{"object": "feedback.terms", "texts": texts, "pictures": pictures, "retention_seconds": 30 * 86400 if texts else 0}
                          for texts, pictures in ((True, True), (True, False), (False, False))])
        _, own = self.chat(daemon, "Bob's text.", who="bob")
        self.chat(daemon, "Bob's picture.", "gray.png", who="bob")
        _, eves = self.chat(daemon, "Eve's text.", who="eve")
        self.assertEqual(self.ask(daemon, "/v1/feedback", {"id": eves, "verdict": "up"}, "eve")[0], 404)
        self.assertEqual(self.ask(daemon, "/v1/feedback", {"id": own, "verdict": "up"}, "ann")[0], 404)
        self.assertEqual(daemon.metrics()['llava_capture_dropped_turns_total{reason="pictures"}'], 1)
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual([row["conversations"][0]["value"] for row in self.rows()], ["Bob's text."])
        self.assertFalse(list(self.dir.glob("shards/*/pictures/*")))

    def test_what_is_no_plain_turn_is_left_out_and_counted(self):
        daemon = self.daemon()
        self.chat(daemon, "Two, please.", n=2)
        self.chat(daemon, "What does <image> mean?")
        self.ask(daemon, "/v1/score", {"messages": question("Yes?"), "choices": ["a", "b"]})
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
        self.chat(daemon, "Call.", tools=[tool], tool_choice="none")
        metrics = daemon.metrics()
        dropped = {name: value for name, value in metrics.items() if name.startswith("llava_capture_dropped_turns_total")}
        self.assertEqual(dropped, {f'llava_capture_dropped_turns_total{{reason="{reason}"}}': 1 for reason in ("choices", "mark", "score")})
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual([row["conversations"][0]["value"] for row in self.rows()], ["Call."], "functions that were not offered")

    def test_over_grpc(self):
        daemon = self.daemon()
        metadata = [("authorization", "Bearer ann")]
        with daemon.channel() as channel:
            request = chat_pb2.ChatRequest(messages=[chat_pb2.ChatMessage(
                role=chat_pb2.ROLE_USER, parts=[chat_pb2.MessagePart(image=(IMAGES / "portrait.jpg").read_bytes()),
                                                chat_pb2.MessagePart(text="Who?")])])
            request.sampling.max_tokens = 4
            answer, call = chat_grpc.ChatServiceStub(channel).Chat.with_call(request, metadata=metadata)
            answer_id = dict(call.initial_metadata())["x-request-id"]
            feedback = feedback_grpc.FeedbackServiceStub(channel)
            terms = feedback.GetTerms(feedback_pb2.GetTermsRequest(), metadata=metadata)
            self.assertEqual((terms.texts, terms.pictures, terms.retention.seconds), (True, True, 30 * 86400))
            feedback.Give(feedback_pb2.GiveRequest(id=answer_id, verdict=feedback_pb2.VERDICT_UP), metadata=metadata)
            for request, code, word in ((feedback_pb2.GiveRequest(id=answer_id), grpc.StatusCode.INVALID_ARGUMENT, "VERDICT_UP"),
                                        (feedback_pb2.GiveRequest(id="no one", verdict=1), grpc.StatusCode.INVALID_ARGUMENT, "no one"),
                                        (feedback_pb2.GiveRequest(id="none", verdict=1), grpc.StatusCode.NOT_FOUND, "none"),
                                        (feedback_pb2.GiveRequest(id=answer_id, verdict=1, tenant="bob"),
                                         grpc.StatusCode.PERMISSION_DENIED, "tenant")):
                with self.assertRaises(grpc.RpcError) as caught:
                    feedback.Give(request, metadata=metadata)
                self.assertEqual((caught.exception.code(), word in caught.exception.details()), (code, True), caught.exception)
            with self.assertRaises(grpc.RpcError) as caught:
                feedback.Give(feedback_pb2.GiveRequest(id=answer_id, verdict=1))
            self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAUTHENTICATED)
            root = [("authorization", "Bearer root")]
            forgotten = feedback.Forget(feedback_pb2.ForgetRequest(id=answer_id, tenant="ann"), metadata=root)
            self.assertEqual((forgotten.rows_deleted, forgotten.rows_kept, list(forgotten.versions)), (1, 0, []))
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual(self.rows(), [])

    def test_a_stream_is_captured_when_it_has_ended(self):
        daemon = self.daemon()
        text = http(daemon, CHAT, {"messages": question("Stream."), "max_tokens": 4, "stream": True}, headers={"Authorization": "Bearer ann"}.items())[2]
        events = [json.loads(line[6:]) for line in text.decode().splitlines() if line.startswith("data: {")]
        said = "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])
        self.assertEqual(self.ask(daemon, "/v1/feedback", {"id": events[0]["id"], "verdict": "up"})[0], 200)
        self.assertEqual(daemon.stop(), 0)
        row, = self.rows()
        self.assertEqual((row["conversations"][-1]["value"], row["capture"]["finish"]), (said, "length"))

    def test_a_conversation_is_forgotten(self):
        daemon = self.daemon()
        first, first_id = self.chat(daemon, "Forget me.")
        self.chat(daemon, "And this.", before=[*question("Forget me."), {"role": "assistant", "content": first}])
        _, other = self.chat(daemon, "Keep me.", "gray.png")
        self.assertEqual(self.ask(daemon, f"/v1/feedback/{first_id}", who="bob", method="DELETE")[0], 404)
        status, forgotten = self.ask(daemon, f"/v1/feedback/{first_id}", method="DELETE")
        self.assertEqual((status, forgotten), (200, {"object": "feedback.forgotten", "id": first_id, "rows_deleted": 2, "rows_kept": 0,
                                                     "versions": [], "runs": 0}))
        self.assertEqual(self.ask(daemon, "/v1/feedback", {"id": first_id, "verdict": "up"})[0], 404)
        self.assertEqual(self.ask(daemon, "/v1/feedback", {"id": other, "verdict": "up"})[0], 200)
        self.assertEqual(daemon.stop(), 0)
        row, = self.rows()
        self.assertEqual((row["conversations"][0]["value"], row["verdict"]["verdict"]), ("<image>\nKeep me.", "up"))
        self.assertNotIn("Forget me.", "".join(path.read_text() for path in self.dir.rglob("*.jsonl")))

    def test_killed_it_has_kept_what_was_answered_and_finds_it_again(self):
        daemon = self.daemon()
        _, answer = self.chat(daemon, "Still there?")
        wait_until(lambda: daemon.metrics()["llava_captured_turns_total"] == 1, "it is written")
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait(30)
        daemon = self.daemon()
        self.assertEqual(len(self.rows()), 1)
        self.assertEqual(self.ask(daemon, "/v1/feedback", {"id": answer, "verdict": "up"})[0], 200)
        with self.assertRaisesRegex(AssertionError, "capture_dir: .*: another process captures there"):
            self.daemon()

    def test_killed_under_load_it_has_every_verdict_that_it_took(self):
        taken = []

        def person(daemon, number):
            for turn in range(1000):
                body = {"messages": question(f"Person {number}, turn {turn}."), "max_tokens": 2}
                try:
                    _, answer = self.ask(daemon, CHAT, body)
                    if self.ask(daemon, "/v1/feedback", {"id": answer["id"], "verdict": "up"})[0] == 200:
                        taken.append(answer["id"].removeprefix("chatcmpl-"))
                except (OSError, ValueError, http_client.HTTPException):
                    return  # the daemon is no more

        for at_least in (20, 40, 60):
            daemon = self.daemon(config=AGREED + "capture_shard_time: 200ms\n")
            people = [threading.Thread(target=person, args=(daemon, number)) for number in range(4)]
            for each in people:
                each.start()
            wait_until(lambda: len(taken) >= at_least, "verdicts are taken")
            daemon.process.send_signal(signal.SIGKILL)
            daemon.process.wait(30)
            for each in people:
                each.join()
        self.assertEqual(self.daemon().stop(), 0)
        judged = {row["id"] for row in self.rows() if row["verdict"] and row["verdict"]["verdict"] == "up"}
        self.assertEqual(set(taken) - judged, set())

    def test_shards_are_closed_while_it_runs_and_agreements_are_read_again(self):
        daemon = self.daemon(config=AGREED + "capture_shard_time: 100ms\n")
        self.chat(daemon, "One.")
        wait_until(lambda: len(self.shards()) == 1, "the shard is closed")
        config = Path(daemon.config.name)
        config.write_text(config.read_text().replace("[ann]", "[eve]"))
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.ask(daemon, "/v1/feedback", who="eve")[1]["pictures"], "what was agreed to is read again")
        self.chat(daemon, "Not this.")
        self.chat(daemon, "But this.", who="eve")
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual([row["conversations"][0]["value"] for row in self.rows()], ["One.", "But this."])


if __name__ == "__main__":
    unittest.main(verbosity=2)
