"""Files and batches over HTTP, with the `openai` package: /v1/files and /v1/batches."""
import hashlib
import json
import signal
import socket
import statistics
import tempfile
import unittest
from pathlib import Path

import openai

from daemon_process import Daemon, wait_until
from http_requests import CHAT, error_of, http, question

ENDED = ("completed", "failed", "expired", "cancelled")
SLOW = ("--step-ms", "20")


def row(name, text="What is it?", **fields):
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 4, **fields}
    return {"custom_id": name, "method": "POST", "url": CHAT, "body": body}


def lines(*rows):
    return b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in rows)


def rows_of(text):
    return {line["custom_id"]: line for line in map(json.loads, text.splitlines())}


class BatchesTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.dir = self.folder / "batches"

    def daemon(self, *flags, config=""):
        daemon = Daemon(*flags, config=f"batch_dir: {self.dir}\n{config}")
        self.addCleanup(daemon.__exit__)
        return daemon

    def client(self, daemon, key="none", **options):
        return openai.OpenAI(base_url=daemon.addresses["http"] + "/v1", api_key=key, max_retries=0, **options)

    def begin(self, client, *rows, endpoint=CHAT, **options):
        file = client.files.create(file=("rows.jsonl", lines(*rows)), purpose="batch")
        return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **options)

    def end(self, client, batch, state="completed"):
        seen = [batch.status]

        def has_ended():
            seen.append(client.batches.retrieve(batch.id).status)
            return seen[-1] in ENDED
        wait_until(has_ended, lambda: f"{batch.id} ends: {client.batches.retrieve(batch.id)}")
        order = ["validating", "in_progress", "finalizing", "cancelling", *ENDED]
        self.assertEqual(seen, sorted(seen, key=order.index))
        ended = client.batches.retrieve(batch.id)
        self.assertEqual(ended.status, state, ended)
        return ended

    def rows(self, client, ended):
        """What was answered, and what was not, by custom_id."""
        files = (ended.output_file_id, ended.error_file_id)
        return [rows_of(client.files.content(file).text) if file else {} for file in files]

    def test_a_batch_from_its_file_to_its_answers(self):
        daemon = self.daemon()
        client = self.client(daemon)
        content = lines(row("a"), row("b", model="nobody"), b"\n", row("c", temperature=-1), row("d", "Another?", logprobs=True))
        file = client.files.create(file=("../../etc/r\u00f6ws.jsonl", content.rstrip(b"\n")), purpose="batch")
        self.assertEqual((file.filename, file.bytes, file.purpose), ("../../etc/r\u00f6ws.jsonl", len(content) - 1, "batch"))
        self.assertEqual(client.files.retrieve(file.id), file)
        self.assertEqual(client.files.content(file.id).content, content.rstrip(b"\n"))
        batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"of": "me"})
        self.assertEqual((batch.status, batch.metadata, batch.expires_at - batch.created_at), ("validating", {"of": "me"}, 86400))
        ended = self.end(client, batch)
        counts = ended.request_counts
        self.assertEqual((counts.total, counts.completed, counts.failed), (4, 2, 2))
        times = [ended.created_at, ended.in_progress_at, ended.finalizing_at, ended.completed_at]
        self.assertEqual(times, sorted(times))
        self.assertIsNone(ended.errors)
        answers, failures = self.rows(client, ended)
        self.assertEqual((set(answers), set(failures)), ({"a", "d"}, {"b", "c"}))
        self.assertEqual((failures["b"]["response"]["status_code"], failures["c"]["response"]["status_code"]), (404, 400))
        self.assertEqual(failures["c"]["response"]["body"]["error"]["param"], "temperature")
        live = json.loads(http(daemon, CHAT, row("a")["body"])[2])
        of_batch = answers["a"]["response"]["body"]
        self.assertEqual(of_batch["choices"], live["choices"])
        self.assertEqual(of_batch["system_fingerprint"], live["system_fingerprint"])
        self.assertEqual(answers["a"]["response"]["request_id"], f"{batch.id}.1")
        self.assertTrue(answers["d"]["response"]["body"]["choices"][0]["logprobs"]["content"])

        listed = {file.id: file for file in client.files.list()}
        self.assertEqual(set(listed), {file.id, ended.output_file_id, ended.error_file_id})
        self.assertEqual(listed[ended.output_file_id].purpose, "batch_output")
        self.assertEqual([file.id for file in client.files.list(purpose="batch")], [file.id])
        self.assertEqual([batch.id for batch in client.batches.list()], [batch.id])
        metrics = daemon.metrics()
        rows = [metrics[f'llava_batch_rows_total{{outcome="{outcome}"}}'] for outcome in ("answered", "refused", "postponed")]
        self.assertEqual((rows, metrics["llava_batch_rows_in_flight"]), ([2, 2, 0], 0))
        self.assertTrue(client.files.delete(file.id).deleted)
        with self.assertRaises(openai.NotFoundError):
            client.files.retrieve(file.id)

    def test_scores_have_batches_too(self):
        client = self.client(self.daemon())
        asked = {"custom_id": "s", "method": "POST", "url": "/v1/score",
                 "body": {"messages": [{"role": "user", "content": "Wet?"}], "choices": ["Yes", "No"]}}
        answers, _ = self.rows(client, self.end(client, self.begin(client, asked, endpoint="/v1/score")))
        self.assertEqual(len(answers["s"]["response"]["body"]["choices"]), 2)

    def test_lists_come_in_pages(self):
        client = self.client(self.daemon())
        made = [self.begin(client, row("a")).id for _ in range(5)]
        page = client.batches.list(limit=2)
        self.assertTrue(page.has_more)
        self.assertEqual(sorted(batch.id for batch in page), sorted(made))  # all pages, one after the other
        self.assertEqual(len({file.id for file in client.files.list(purpose="batch", order="asc", limit=2)}), 5)
        with self.assertRaisesRegex(openai.BadRequestError, "limit: is '.*', expected a number"):
            client.batches.list(limit=0)

    def test_faulty_lines_are_named_and_nothing_is_asked(self):
        daemon = self.daemon()
        client = self.client(daemon)
        wrong = {**row("e"), "url": "/v1/embeddings"}
        batch = self.begin(client, row("a"), b"{nothing\n", b'{"custom_id": "\xff"}\n', row("a"), wrong, row("f", stream=True),
                           {**row("g"), "method": "GET"}, {**row("h"), "extra": 1})
        ended = self.end(client, batch, "failed")
        self.assertEqual([(error.line, error.code, error.param) for error in ended.errors.data], [
            (2, "invalid_line", None), (3, "invalid_line", None), (4, "duplicate_custom_id", "custom_id"), (5, "invalid_line", "url"),
            (6, "invalid_line", "body.stream"), (7, "invalid_line", "method"), (8, "invalid_line", "extra")])
        self.assertEqual((ended.output_file_id, ended.error_file_id), (None, None))
        self.assertEqual(daemon.counted_requests(), 0)
        empty = self.end(client, self.begin(client, b"\n\n"), "failed")
        self.assertEqual(empty.errors.data[0].code, "empty_file")
        many = self.end(client, self.begin(client, b"x\n" * 100_000), "failed")
        self.assertEqual(len(many.errors.data), 100)

    def test_what_is_refused_says_why(self):
        client = self.client(self.daemon(config="max_message_bytes: 64KiB\n"))
        file = client.files.create(file=("rows.jsonl", lines(row("a"))), purpose="batch")
        for wrong, said in (({"endpoint": "/v1/embeddings"}, "endpoint: is '/v1/embeddings', expected"), ({"completion_window": "soon"}, "completion_window: "),
                            ({"completion_window": "31d"}, "completion_window: "), ({"metadata": {"a": "b" * 600}}, "metadata: ")):
            with self.assertRaisesRegex(openai.BadRequestError, said):
                client.batches.create(**{"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h", **wrong})
        for unknown in ("file-0", "../lock", ""):
            with self.assertRaises(openai.NotFoundError):
                client.batches.create(input_file_id=unknown, endpoint=CHAT, completion_window="24h")
        with self.assertRaisesRegex(openai.BadRequestError, "purpose: is 'fine-tune', expected batch"):
            client.files.create(file=("a", b"x"), purpose="fine-tune")
        with self.assertRaisesRegex(openai.BadRequestError, "file: has a file name"):
            client.files.create(file=("a" * 300, b"x"), purpose="batch")
        large = client.files.create(file=("a", b"x" * 100_000), purpose="batch")
        self.assertEqual(large.bytes, 100_000, "files are not bound to what memory holds")

    def test_without_a_folder_there_are_none(self):
        with Daemon() as daemon:
            for method, path in (("GET", "/v1/files"), ("POST", "/v1/batches"), ("GET", "/v1/files/file-1/content")):
                status, _, text = http(daemon, path, b"{}" if method == "POST" else None, method)
                self.assertEqual((status, "batch_dir" in error_of(text)["message"]), (404, True), text)

    def test_a_tenant_sees_nothing_of_others(self):
        tokens = self.folder / "tokens"
        tokens.write_text("".join(f"{name} {role} sha256:{hashlib.sha256(name.encode()).hexdigest()}\n"
                                  for name, role in (("ann", "chat"), ("bob", "chat"), ("eve", "admin"))))
        daemon = self.daemon(config=f"tokens_file: {tokens}\nbatch_tenant_bytes: 20KiB\n")
        ann, bob = self.client(daemon, "ann"), self.client(daemon, "bob")
        ended = self.end(ann, self.begin(ann, row("a")))
        for file in (ended.input_file_id, ended.output_file_id):
            for call in (bob.files.retrieve, bob.files.content, bob.files.delete):
                with self.assertRaises(openai.NotFoundError):
                    call(file)
        for call in (bob.batches.retrieve, bob.batches.cancel):
            with self.assertRaises(openai.NotFoundError):
                call(ended.id)
        with self.assertRaises(openai.NotFoundError):
            bob.batches.create(input_file_id=ended.input_file_id, endpoint=CHAT, completion_window="24h")
        self.assertEqual((list(bob.files.list()), list(bob.batches.list())), ([], []))
        with self.assertRaises(openai.PermissionDeniedError):
            self.client(daemon, "eve").files.list()
        ann.files.create(file=("b", b"x" * 15_000), purpose="batch")
        with self.assertRaisesRegex(openai.BadRequestError, "no room for 15000 more bytes of this tenant's files"):
            ann.files.create(file=("b", b"x" * 15_000), purpose="batch")
        bob.files.create(file=("b", b"x" * 15_000), purpose="batch")

    def test_a_batch_that_finds_no_room_keeps_what_was_answered(self):
        client = self.client(self.daemon(config="batch_bytes: 6KiB\nbatch_in_flight: 1\n"))
        ended = self.end(client, self.begin(client, *(row(f"r{i}") for i in range(20))), "failed")
        self.assertEqual(ended.errors.data[0].code, "no_room")
        answers, _ = self.rows(client, ended)
        self.assertEqual(set(answers), {f"r{i}" for i in range(ended.request_counts.completed)})
        self.assertGreater(len(answers), 0)

    def count(self, client, batch):
        return client.batches.retrieve(batch.id).request_counts.completed

    def recorded(self, batch):
        """Rows as they lie on the disk while a batch runs."""
        record = json.loads((self.dir / "batches" / f"{batch.id}.json").read_text())
        path = self.dir / "files" / f"{record['output']}.data"
        text = path.read_bytes() if path.exists() else b""
        return [json.loads(line)["custom_id"] for line in text[:text.rfind(b"\n") + 1].splitlines()]

    def test_killed_and_started_again_it_has_every_row_once(self):
        daemon = self.daemon(*SLOW, config="batch_in_flight: 4\n")
        batch = self.begin(self.client(daemon), *(row(f"r{i}", f"Number {i}?") for i in range(60)))
        before = []
        for killed in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            wait_until(lambda: len(self.recorded(batch)) > len(before) + 4, "rows are answered")
            daemon.process.send_signal(killed)
            code = daemon.process.wait(timeout=60)
            self.assertEqual(code, -killed if killed == signal.SIGKILL else 0, daemon.logged())
            kept = self.recorded(batch)
            self.assertEqual(kept[:len(before)], before)
            before = kept
            daemon = self.daemon(*SLOW, config="batch_in_flight: 4\n")
            self.assertGreaterEqual(self.count(self.client(daemon), batch), len(before), "the first answer says how many rows are done")
        client = self.client(daemon)
        ended = self.end(client, client.batches.retrieve(batch.id))
        text = client.files.content(ended.output_file_id).text
        self.assertEqual(sorted(json.loads(line)["custom_id"] for line in text.splitlines()), sorted(f"r{i}" for i in range(60)))
        self.assertEqual([json.loads(line)["custom_id"] for line in text.splitlines()][:len(before)], before)
        self.assertEqual((ended.request_counts.total, ended.request_counts.completed), (60, 60))

    def test_cancelled_while_it_runs(self):
        daemon = self.daemon(*SLOW, config="batch_in_flight: 2\n")
        client = self.client(daemon)
        batch = self.begin(client, *(row(f"r{i}", max_tokens=20) for i in range(200)))
        waiting = [self.begin(client, row("a", max_tokens=50)) for _ in range(5)][-1]
        wait_until(lambda: self.count(client, batch) > 2, "rows are answered")
        with self.assertRaisesRegex(openai.BadRequestError, "cancel the batch first"):
            client.files.delete(batch.input_file_id)
        self.assertEqual(client.batches.cancel(batch.id).status, "cancelling")
        client.batches.cancel(waiting.id)
        ended = self.end(client, client.batches.retrieve(batch.id), "cancelled")
        answers, failures = self.rows(client, ended)
        self.assertEqual((len(answers), failures), (ended.request_counts.completed, {}))
        self.assertLess(len(answers), 200)
        self.end(client, client.batches.retrieve(waiting.id), "cancelled")
        self.assertEqual(client.batches.cancel(batch.id).status, "cancelled")
        self.assertTrue(client.files.delete(batch.input_file_id).deleted)

    def test_rows_are_few_at_a_time_and_people_go_first(self):
        daemon = self.daemon(*SLOW, config="batch_in_flight: 12\nmax_running: 2\n")
        client = self.client(daemon)
        batch = self.begin(client, *(row(f"r{i}", max_tokens=6) for i in range(80)))
        wait_until(lambda: self.count(client, batch) > 0, "rows are answered")
        waited = []
        for _ in range(5):
            under_way = sum(value for name, value in daemon.metrics().items()
                            if name.startswith(("llava_requests_running", "llava_requests_waiting")))
            self.assertLessEqual(under_way, 12 + 3)  # the two that ran, and a question, may have just ended
            waited.append(json.loads(http(daemon, CHAT, row("x")["body"])[2])["usage"]["timings"]["queue_seconds"])
        ended = self.end(client, batch)
        self.assertEqual(ended.request_counts.completed, 80)
        of_rows = [line["response"]["body"]["usage"]["timings"]["queue_seconds"] for line in self.rows(client, ended)[0].values()]
        # People wait for one of the two that run; rows also for the ten before them.
        self.assertLess(statistics.median(waited), statistics.median(of_rows))

    def test_a_row_may_have_pictures(self):
        daemon = self.daemon()
        client = self.client(daemon)
        asked = row("a", messages=question("What is this?", "landscape.png"))
        broken = row("b", messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}])
        answers, failures = self.rows(client, self.end(client, self.begin(client, asked, broken)))
        live = json.loads(http(daemon, CHAT, asked["body"])[2])
        self.assertEqual(answers["a"]["response"]["body"]["choices"], live["choices"])
        self.assertGreater(answers["a"]["response"]["body"]["usage"]["prompt_tokens_details"]["image_tokens"], 0)
        self.assertEqual(failures["b"]["response"]["status_code"], 400)

    def test_a_full_queue_is_waited_for(self):
        client = self.client(self.daemon(config="batch_in_flight: 16\nqueue_requests: 2\n"))
        ended = self.end(client, self.begin(client, *(row(f"r{i}") for i in range(40))))
        self.assertEqual((ended.request_counts.completed, ended.request_counts.failed), (40, 0))

    def test_one_server_at_a_time_has_the_folder(self):
        self.daemon()
        with self.assertRaisesRegex(AssertionError, "batch_dir: .*: another process works there"):
            Daemon(config=f"batch_dir: {self.dir}\n")

    def memory(self, daemon):
        """The most that the process has had, in bytes."""
        status = Path(f"/proc/{daemon.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024

    def test_memory_does_not_grow_with_an_upload(self):
        daemon = self.daemon(config="max_message_bytes: 1MiB\nbatch_tenant_bytes: 200MiB\n")
        client = self.client(daemon)
        client.files.create(file=("small", b"x" * 1000), purpose="batch")
        before = self.memory(daemon)
        large = self.folder / "large"
        with open(large, "wb") as file:
            for _ in range(150):
                file.write(b"x" * (1 << 20))
        with open(large, "rb") as file:
            kept = client.files.create(file=("large", file), purpose="batch")
        self.assertEqual(kept.bytes, 150 << 20)
        self.assertLess(self.memory(daemon) - before, 16 << 20)
        # Another does not fit: it is refused on its way, and leaves nothing.
        with open(large, "rb") as file, self.assertRaises((openai.BadRequestError, openai.APIConnectionError)):
            client.files.create(file=("large", file), purpose="batch")
        kept_bytes = {kept.bytes, 1000}
        wait_until(lambda: {path.stat().st_size for path in (self.dir / "files").glob("*.data")} == kept_bytes, "nothing of it stays")
        client.files.create(file=("rest", b"x" * (40 << 20)), purpose="batch")

    def test_an_upload_that_breaks_off_leaves_nothing(self):
        daemon = self.daemon()
        port = int(daemon.addresses["http"].rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 9000000\r\n"
                           b"\r\n--b\r\nContent-Disposition: form-data; name=file; filename=rows\r\n\r\n" + b"x" * 2_000_000)
            wait_until(lambda: [path for path in (self.dir / "files").glob("*.data") if path.stat().st_size > 1_000_000], "it arrives")
            self.assertEqual(list(self.client(daemon).files.list()), [], "it is nobody's yet")
        wait_until(lambda: not list((self.dir / "files").iterdir()), "nothing of it stays")

    def test_a_large_file_comes_back_in_pieces(self):
        client = self.client(self.daemon())
        content = bytes(range(256)) * 20_000
        file = client.files.create(file=("rows.jsonl", content), purpose="batch")
        self.assertEqual(client.files.content(file.id).content, content)


if __name__ == "__main__":
    unittest.main(verbosity=2)
