"""gRPC streams whose reader does not keep up, and answers that their deadline cuts off."""
import struct
import unittest

import grpc

from daemon_process import Daemon, generated_client, wait_until

pb, pb_grpc = generated_client()
# The client takes an event only when it is asked for one.
TINY_WINDOW = [("grpc.http2.lookahead_bytes", 1), ("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1)]
LONG = 450  # tokens; the golden checkpoint's context has 512


def ask(text, max_tokens, ignore_eos=True):
    return pb.ChatStreamRequest(request=pb.ChatRequest(
        messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=[pb.MessagePart(text=text)])], return_token_ids=True,
        sampling=pb.SamplingOptions(max_tokens=max_tokens, ignore_eos=ignore_eos)))


def tokens(events):
    return [token for event in events for token in event.token_ids]


class GrpcStreamsTest(unittest.TestCase):
    def test_a_slow_reader_pauses_alone_and_gets_every_token_in_order(self):
        with Daemon() as daemon, daemon.channel() as channel, \
                grpc.insecure_channel(daemon.addresses["grpc"], TINY_WINDOW) as slow_channel:
            stub = pb_grpc.ChatServiceStub(channel)
            expected = tokens(stub.ChatStream(ask("Go on.", LONG)))
            self.assertEqual(len(expected), LONG)
            slow = pb_grpc.ChatServiceStub(slow_channel).ChatStream(ask("Go on.", LONG))
            wait_until(lambda: daemon.metrics()["llava_requests_paused"] == 1, "it pauses")
            steps = daemon.metrics()["llava_step_seconds_count"]
            self.assertLess(steps - LONG, 256)  # what is buffered for it is bounded
            for i in range(8):
                self.assertEqual(len(tokens(stub.ChatStream(ask(f"Question {i}", LONG)))), LONG)
            metrics = daemon.metrics()
            self.assertEqual((metrics["llava_requests_paused"], metrics["llava_requests_running"]), (1, 1))
            self.assertEqual(tokens(slow), expected)
            wait_until(lambda: daemon.metrics()["llava_requests_running"] == 0, "nothing runs")
            self.assertEqual(daemon.metrics()['llava_kv_blocks{state="used"}'], 0)
            self.assertEqual(daemon.stop(), 0)

    def test_streams_that_run_hold_no_message(self):
        # Together more than all messages that may be read at a time, which are three of these.
        side = 2600
        size = 54 + 3 * side * side
        head = b"BM" + struct.pack("<IHHI", size, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
        image = head + bytes(size - len(head))
        config = f"queue_bytes: {64 << 20}\ntenant_bytes: {64 << 20}\nmax_message_bytes: {24 << 20}\n"
        with Daemon(config=config) as daemon, grpc.insecure_channel(daemon.addresses["grpc"], TINY_WINDOW) as channel:
            stub, streams = pb_grpc.ChatServiceStub(channel), []  # (call, tokens of its first event)
            for _ in range(8):
                question = ask("Go on.", 400)  # more than waits for a reader
                question.request.messages[0].parts.add(image=image)
                call = stub.ChatStream(question)
                streams.append((call, len(next(call).token_ids)))
            for call, first in streams:
                self.assertEqual(first + len(tokens(call)), 400)
            self.assertEqual(daemon.stop(), 0)

    def test_a_deadline_ends_an_answer_in_the_middle_and_frees_its_blocks(self):
        def after(timeout):  # the daemon's clock alone
            return {"metadata": [("grpc-timeout", timeout)]}
        with Daemon("--step-ms", "10") as daemon, daemon.channel() as channel, \
                grpc.insecure_channel(daemon.addresses["grpc"], TINY_WINDOW) as slow_channel:
            # The model might end it in time, so it is accepted; it takes 4.5 s at least.
            stub, question = pb_grpc.ChatServiceStub(channel), ask("Go on.", LONG, ignore_eos=False)
            for option in (after("2S"), {"timeout": 2}):
                received = []
                with self.assertRaises(grpc.RpcError) as late:
                    for event in stub.ChatStream(question, **option):
                        received += event.token_ids
                self.assertEqual(late.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
                self.assertTrue(0 < len(received) < LONG)
            with self.assertRaises(grpc.RpcError) as late:
                stub.Chat(question.request, **after("500m"))
            self.assertEqual(late.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
            # The same while it waits for its reader.
            paused = pb_grpc.ChatServiceStub(slow_channel).ChatStream(question, **after("5S"))
            wait_until(lambda: daemon.metrics()["llava_requests_paused"] == 1, "it pauses")
            wait_until(lambda: daemon.metrics()["llava_requests_running"] == 0, "nothing runs")
            with self.assertRaises(grpc.RpcError) as late:  # what was on the way, and then
                list(paused)
            self.assertEqual(late.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
            # gRPC itself ends a call at its deadline: the client may know before the daemon has written it down.
            wait_until(lambda: daemon.counted_requests() == 4, "all four have been counted")
            counted = daemon.counted_requests('protocol="grpc"', 'reason="deadline_exceeded"', 'status="DEADLINE_EXCEEDED"')
            self.assertGreaterEqual(counted, 3)  # the client's own clock may have been a little early
            metrics = daemon.metrics()
            self.assertEqual(metrics['llava_kv_blocks{state="used"}'], 0)
            self.assertLessEqual(metrics["llava_cancel_steps_sum"], metrics["llava_cancel_steps_count"])
            self.assertEqual(daemon.stop(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
