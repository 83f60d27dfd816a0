"""Pictures that cost much for their bytes: they are bounded, they end with their clients, and others do not wait for them."""
import hashlib
import struct
import tempfile
import unittest

import grpc

from daemon_process import IMAGES, Daemon, generated_client, wait_until
from http_requests import CHAT, http

pb, pb_grpc = generated_client()

FLOOD = 30


def segment(marker, data):
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def huffman(kind, symbol):
    """A table whose only code, one bit, is `symbol`."""
    return segment(0xC4, bytes([kind << 4, 1]) + bytes(15) + bytes([symbol]))


def progressive_jpeg(side, scans):
    """Grey; each scan goes through all pixels and says in a few bytes that nothing changes."""
    blocks = ((side + 7) // 8) ** 2
    runs = []
    while blocks > 0:  # of blocks without coefficients, 15 bits each
        run = max(16384, min(blocks, 32767))
        runs.append(f"0{run - 16384:014b}")
        blocks -= run
    bits = "".join(runs)
    bits += "1" * (-len(bits) % 8)
    data = bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    first = segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + bytes((((side + 7) // 8) ** 2 + 7) // 8)
    more = b"".join(segment(0xDA, bytes([1, 1, 0, 1, 63, 0x01 if i == 0 else 0x10])) + data for i in range(scans - 1))
    return (b"\xff\xd8" + segment(0xDB, b"\0" + b"\1" * 64) + segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0")
            + huffman(0, 0) + huffman(1, 0xE0) + first + more + b"\xff\xd9")


def ask(text, *pictures):
    parts = [pb.MessagePart(image=picture) for picture in pictures] + [pb.MessagePart(text=text)]
    return pb.ChatRequest(messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=parts)],
                          sampling=pb.SamplingOptions(max_tokens=4, ignore_eos=True))


def bearer(who):
    return [("authorization", f"Bearer {who}")]


class HostilePicturesTest(unittest.TestCase):
    def daemon(self, config=""):
        tokens = tempfile.NamedTemporaryFile("w")
        self.addCleanup(tokens.close)
        for who in ("mallory", "bob"):
            tokens.write(f"{who} chat sha256:{hashlib.sha256(who.encode()).hexdigest()}\n")
        tokens.flush()
        daemon = Daemon(config=f"tokens_file: {tokens.name}\nqueue_pixels: 1000000000\ntenant_pixels: 1000000000\n{config}")
        self.addCleanup(daemon.__exit__)
        return daemon

    def flood(self, daemon, channel):
        """Mallory's calls, most of which wait for a decoder; a second or so of computing each."""
        picture = progressive_jpeg(3000, 100)
        stub = pb_grpc.ChatServiceStub(channel)
        calls = [stub.Chat.future(ask(f"What is it? {i}", picture), metadata=bearer("mallory")) for i in range(FLOOD)]
        wait_until(lambda: daemon.metrics()["llava_requests_preparing"] >= FLOOD - 5, "the flood waits")
        return calls

    def test_others_do_not_wait(self):
        daemon = self.daemon()
        with daemon.channel() as channel:
            calls = self.flood(daemon, channel)
            stub = pb_grpc.ChatServiceStub(channel)
            for i in range(5):
                stub.Chat(ask(f"Hello {i}"), metadata=bearer("bob"), timeout=60)
            status, _, _ = http(daemon, CHAT, {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4},
                                headers={"Authorization": "Bearer bob"})
            self.assertEqual(status, 200)
            status, _, _ = http(daemon, "/tokenize", {"prompt": "Hello " * 20_000}, headers={"Authorization": "Bearer bob"})
            self.assertEqual(status, 200)
            self.assertGreater(sum(not call.done() for call in calls), FLOOD // 2)
            for _ in range(3):  # a picture waits for those that are being decoded
                stub.Chat(ask("What is this?", (IMAGES / "landscape.png").read_bytes()), metadata=bearer("bob"), timeout=60)
            self.assertGreater(sum(not call.done() for call in calls), FLOOD // 4)
            for call in calls:
                call.cancel()

    def test_what_nobody_waits_for_is_not_decoded(self):
        daemon = self.daemon()
        decoded = "llava_decode_image_seconds_count"
        with daemon.channel() as channel:
            calls = self.flood(daemon, channel)
            for call in calls:
                call.cancel()
            before = daemon.metrics()[decoded]
            wait_until(lambda: daemon.counted_requests() == FLOOD, "all calls have ended")
            self.assertEqual(daemon.metrics()["llava_requests_preparing"], 0)
            self.assertLessEqual(daemon.metrics()[decoded], before + 4)  # those that were nearly done when they were told
            self.assertGreater(daemon.counted_requests('status="CANCELLED"'), FLOOD // 2)

    def test_a_deadline_ends_the_decoding_too(self):
        daemon = self.daemon()
        with daemon.channel() as channel:
            stub = pb_grpc.ChatServiceStub(channel)
            with self.assertRaises(grpc.RpcError) as late:
                stub.Chat(ask("What?", *[progressive_jpeg(3000, 100)] * 16), metadata=bearer("mallory"), timeout=0.5)
            self.assertEqual(late.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
            wait_until(lambda: daemon.metrics()["llava_requests_preparing"] == 0, "the decoder has stopped")
            self.assertLess(daemon.metrics()["llava_decode_image_seconds_count"], 16)

    def test_sigterm_does_not_wait_for_decoders(self):
        daemon = self.daemon("drain_timeout: 100ms\n")
        with daemon.channel() as channel:
            calls = self.flood(daemon, channel)
            self.assertEqual(daemon.stop(), 1)
            codes = {call.code() for call in calls if call.code() != grpc.StatusCode.OK}
            self.assertEqual(codes, {grpc.StatusCode.UNAVAILABLE})
            self.assertGreater(sum(call.code() == grpc.StatusCode.UNAVAILABLE for call in calls), FLOOD // 2)

    def test_more_scans_than_pixels_allow_are_refused_by_name(self):
        daemon = self.daemon()
        with daemon.channel() as channel:
            stub = pb_grpc.ChatServiceStub(channel)
            for side, scans in ((7064, 99), (640, 5000)):
                with self.assertRaises(grpc.RpcError) as refused:
                    stub.Chat(ask("What?", progressive_jpeg(side, scans)), metadata=bearer("mallory"))
                self.assertEqual(refused.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
                self.assertIn("messages[0].parts[0].image: ", refused.exception.details())
                self.assertIn(f"{scans} scans of {side * side} pixels", refused.exception.details())


if __name__ == "__main__":
    unittest.main()
