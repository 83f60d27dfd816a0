"""Spans of requests at a collector, by the protocol's own messages; and vLLM's names of metrics."""
import json
import re
import threading
import unittest
import urllib.request
from concurrent import futures

import grpc

from daemon_process import Daemon, generated, generated_client, wait_until

pb, pb_grpc = generated_client()
otlp, otlp_grpc = generated("opentelemetry/trace_service.proto")
PARENT = "b7ad6b7169203331"


def traceparent(number, flags="01"):
    return f"00-{number:032x}-{PARENT}-{flags}"


class Collector(otlp_grpc.TraceServiceServicer):
    def __init__(self):
        self.spans, self.lock, self.hold = [], threading.Lock(), threading.Event()
        self.hold.set()
        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        otlp_grpc.add_TraceServiceServicer_to_server(self, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def Export(self, request, context):
        self.hold.wait(30)
        with self.lock:
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    self.spans += scope.spans
        return otlp.ExportTraceServiceResponse()

    def of(self, number):
        with self.lock:
            return [span for span in self.spans if span.trace_id.hex() == f"{number:032x}"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.hold.set()
        self.server.stop(None).wait()


def ask(daemon, number, tokens=5, flags="01", **changes):
    body = {"model": "", "max_tokens": tokens, "messages": [{"role": "user", "content": "Hello"}], **changes}
    request = urllib.request.Request(daemon.addresses["http"] + "/v1/chat/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json", "traceparent": traceparent(number, flags)})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def exemplars_of(daemon):
    """{histogram: [trace id]}, from /metrics as a scraper that prefers OpenMetrics gets it."""
    request = urllib.request.Request(daemon.addresses["metrics"], headers={
        "Accept": "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5"})
    with urllib.request.urlopen(request) as reply:
        assert reply.headers["Content-Type"].startswith("application/openmetrics-text"), reply.headers["Content-Type"]
        text = reply.read().decode()
    assert text.endswith("\n# EOF\n"), text[-80:]
    found = {}
    for name, trace, value in re.findall(r'^(\w+)_bucket\{.*\} \d+ # \{trace_id="(\w+)"\} (\S+) \S+$', text, re.M):
        assert float(value) > 0, value
        found.setdefault(name, []).append(trace)
    return found


class TracesTest(unittest.TestCase):
    def test_a_request_by_either_protocol_is_a_trace(self):
        with Collector() as collector, Daemon("--step-ms", "3", config=f"otlp_endpoint: {collector.address}\n") as daemon:
            answer = ask(daemon, 1)
            with daemon.channel() as channel:
                request = pb.ChatRequest(messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=[pb.MessagePart(text="Hello")])],
                                         sampling=pb.SamplingOptions(max_tokens=5))
                pb_grpc.ChatServiceStub(channel).Chat(request, metadata=[("traceparent", traceparent(2))])
            for number in (1, 2):
                wait_until(lambda: len(collector.of(number)) >= 3, "the spans are there")
                spans = {span.name: span for span in collector.of(number)}
                root = spans.pop("chat")
                self.assertEqual(root.parent_span_id.hex(), PARENT)
                self.assertLessEqual({"prefill", "decode"}, set(spans))
                for span in spans.values():
                    self.assertEqual(span.parent_span_id, root.span_id)
                    self.assertLess(span.start_time_unix_nano, span.end_time_unix_nano)
                    self.assertGreaterEqual(span.start_time_unix_nano, root.start_time_unix_nano)
                    self.assertLessEqual(span.end_time_unix_nano, root.end_time_unix_nano + 1_000_000)
                self.assertLessEqual(spans["prefill"].end_time_unix_nano, spans["decode"].start_time_unix_nano)
                values = {attribute.key: attribute.value for attribute in root.attributes}
                self.assertEqual(values["llava.protocol"].string_value, {1: "http", 2: "grpc"}[number])
                self.assertEqual(values["gen_ai.usage.output_tokens"].int_value, 5)
                self.assertEqual(values["gen_ai.usage.input_tokens"].int_value, answer["usage"]["prompt_tokens"])
            logged = [json.loads(line) for line in daemon.logged().splitlines() if '"trace_id"' in line]
            self.assertEqual({line["trace_id"] for line in logged}, {f"{number:032x}" for number in (1, 2)})
            exemplars = exemplars_of(daemon)
            self.assertEqual(set(exemplars), {"llava_request_seconds", "llava_time_to_first_token_seconds"})
            for family in exemplars.values():
                self.assertLessEqual(set(family), {f"{number:032x}" for number in (1, 2)})
            ask(daemon, 3, flags="00")  # its caller does not record it
            ask(daemon, 4)
            wait_until(lambda: collector.of(4), "a later one is there")
            self.assertEqual(collector.of(3), [])
            noted = {trace for family in exemplars_of(daemon).values() for trace in family}
            self.assertIn(f"{4:032x}", noted)
            self.assertNotIn(f"{3:032x}", noted)  # nobody could look it up

    def test_a_collector_that_hangs_or_is_away_delays_nobody(self):
        with Collector() as collector, Daemon(config=f"otlp_endpoint: {collector.address}\n") as daemon:
            collector.hold.clear()
            for number in range(1, 40):
                ask(daemon, number, tokens=1)
            collector.hold.set()
            wait_until(lambda: daemon.metrics()['llava_traces_total{result="exported"}'] +
                       daemon.metrics()['llava_traces_total{result="failed"}'] == 39, "each is counted")
        with Daemon(config="otlp_endpoint: 127.0.0.1:1\n") as daemon:
            ask(daemon, 1)
            wait_until(lambda: daemon.metrics()['llava_traces_total{result="failed"}'] == 1, "it is counted")

    def test_without_a_collector_the_callers_trace_stands_in_the_log_alone(self):
        with Daemon() as daemon:
            ask(daemon, 7)
            self.assertIn(f'"trace_id":"{7:032x}"', daemon.logged())
            self.assertNotIn('llava_traces_total{result="exported"}', daemon.metrics())

    def test_vllms_names(self):
        with Daemon(config="metrics_dialect: vllm\n") as daemon:
            ask(daemon, 1)
            metrics = {name.replace(" ", ""): value for name, value in daemon.metrics().items()}
            model = next(name for name in metrics if name.startswith("vllm:num_requests_running")).partition("{")[2]
            self.assertEqual(metrics["vllm:generation_tokens_total{" + model], metrics["llava_generated_tokens_total"])
            self.assertEqual(metrics["vllm:time_to_first_token_seconds_count{" + model],
                             metrics["llava_time_to_first_token_seconds_count"])
            self.assertIn("vllm:kv_cache_usage_perc{" + model, metrics)
            self.assertIn("vllm:num_requests_waiting{" + model, metrics)
        with Daemon() as daemon:
            self.assertFalse([name for name in daemon.metrics() if name.startswith("vllm:")])


if __name__ == "__main__":
    unittest.main(verbosity=2)
