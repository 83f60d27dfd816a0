"""What a tenant sent is not seen by another in what the caches spare: neither in counts nor in the encoder's runs."""
import hashlib
import json
import tempfile
import unittest

from daemon_process import IMAGES, Daemon, generated_client
from http_requests import CHAT, http, question

pb, pb_grpc = generated_client()

PICTURE = "landscape.png"
TEXT = "What is in this picture, and what is it about? Say it in one sentence."
ROLES = {"alice": "chat", "bob": "chat", "proxy": "chat,tenants", "root": "admin"}


class CacheIsolationTest(unittest.TestCase):
    def setUp(self):
        self.tokens = tempfile.NamedTemporaryFile("w")
        self.addCleanup(self.tokens.close)
        for who, roles in ROLES.items():
            self.tokens.write(f"{who} {roles} sha256:{hashlib.sha256(who.encode()).hexdigest()}\n")
        self.tokens.flush()

    def daemon(self, config=""):
        daemon = Daemon(config=f"tokens_file: {self.tokens.name}\n{config}")
        self.addCleanup(daemon.__exit__)
        return daemon

    def over_grpc(self, daemon, who, salt="", tenant=""):
        """(cached tokens, cached pictures)"""
        parts = [pb.MessagePart(image=(IMAGES / PICTURE).read_bytes()), pb.MessagePart(text=TEXT)]
        request = pb.ChatRequest(messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=parts)], cache_salt=salt, tenant=tenant,
                                 sampling=pb.SamplingOptions(max_tokens=4, ignore_eos=True))
        with daemon.channel() as channel:
            usage = pb_grpc.ChatServiceStub(channel).Chat(request, metadata=[("authorization", f"Bearer {who}")]).usage
        return usage.cached_tokens, usage.cached_images

    def over_http(self, daemon, who, salt=None, **fields):
        """Cached tokens."""
        body = {"messages": question(TEXT, PICTURE), "max_tokens": 4, "ignore_eos": True, "cache_salt": salt, **fields}
        status, _, text = http(daemon, CHAT, body, headers={"Authorization": f"Bearer {who}"})
        self.assertEqual(status, 200, text)
        return json.loads(text)["usage"]["prompt_tokens_details"]["cached_tokens"]

    def encoded(self, daemon):
        return sum(value for name, value in daemon.metrics().items()
                   if name.startswith("llava_image_cache_requests_total") and 'miss' in name)

    def test_tenants_are_apart(self):
        daemon = self.daemon()
        self.assertEqual(self.over_grpc(daemon, "bob"), (0, 0))
        cached, pictures = self.over_grpc(daemon, "bob")
        self.assertGreater(cached, 16)
        self.assertEqual(pictures, 1)
        encoded = self.encoded(daemon)
        self.assertEqual(self.over_grpc(daemon, "alice"), (0, 0))
        self.assertEqual(self.encoded(daemon), encoded + 1)
        self.assertEqual(self.over_http(daemon, "alice"), cached)  # her own, whatever the protocol
        self.assertEqual(self.over_http(daemon, "proxy"), 0)
        self.assertEqual(self.over_http(daemon, "proxy", user="alice"), cached)
        self.assertEqual(self.over_grpc(daemon, "proxy", tenant="carol"), (0, 0))

    def test_a_salt_divides_a_tenants_caches(self):
        daemon = self.daemon()
        self.assertEqual(self.over_grpc(daemon, "alice"), (0, 0))
        self.assertEqual(self.over_grpc(daemon, "alice", "pepper"), (0, 0))
        self.assertEqual(self.over_grpc(daemon, "bob", "pepper"), (0, 0))
        cached, pictures = self.over_grpc(daemon, "alice", "pepper")
        self.assertGreater(cached, 16)
        self.assertEqual(pictures, 1)
        self.assertEqual(self.over_http(daemon, "alice", "pepper"), cached)
        self.assertEqual(self.over_http(daemon, "alice", "salt"), 0)
        self.assertEqual(self.over_http(daemon, "alice", ""), cached)  # none

    def test_one_organisation_may_share(self):
        daemon = self.daemon("cache_isolation: none\n")
        self.assertEqual(self.over_grpc(daemon, "bob"), (0, 0))
        cached, pictures = self.over_grpc(daemon, "alice")
        self.assertGreater(cached, 16)
        self.assertEqual(pictures, 1)
        self.assertEqual(self.over_grpc(daemon, "alice", "pepper"), (0, 0))
        self.assertEqual(self.over_grpc(daemon, "bob", "pepper"), (cached, 1))


if __name__ == "__main__":
    unittest.main()
