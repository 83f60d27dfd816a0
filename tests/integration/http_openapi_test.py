"""What /openapi.json promises, tried out by schemathesis on a real daemon: documented statuses, bodies and headers,
good requests accepted, bad ones refused, tokens asked for (schemathesis.toml and schemathesis_hooks.py have the exceptions)."""
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from daemon_process import ROOT, Daemon
from http_requests import http

TOKEN = "root"


class OpenApiTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        tokens = Path(cls.folder.name) / "tokens"
        tokens.write_text(f"root chat,admin,tenants sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
        cls.daemon = Daemon(config=f"tokens_file: {tokens}\nbatch_dir: {cls.folder.name}/batches\n"
                                   f"capture_dir: {cls.folder.name}/capture\ncapture_texts: [root]\nmax_n: 16\nlog_level: warning\n")

    @classmethod
    def tearDownClass(cls):
        assert cls.daemon.stop() == 0
        cls.folder.cleanup()

    def test_schemathesis_finds_nothing(self):
        seed = int(os.environ.get("SEED", 1))  # make test does the same each time; look further with others
        print("SEED", seed)
        ran = subprocess.run(
            [sys.executable, Path(sys.executable).with_name("schemathesis"), "--config-file", Path(__file__).with_name("schemathesis.toml"),
             "run", self.daemon.addresses["http"] + "/openapi.json", "-H", f"Authorization: Bearer {TOKEN}",
             "--checks", "all", "--seed", str(seed), "--max-examples", os.environ.get("EXAMPLES", "25"),
             "--suppress-health-check", "all", "--no-color"],
            cwd=self.folder.name, capture_output=True, text=True, timeout=280,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(Path(__file__).parent)})
        self.assertEqual(ran.returncode, 0, ran.stdout[:4000] + "\n...\n" + ran.stdout[-2000:] + ran.stderr[-2000:])
        print(ran.stdout[-600:])

    def test_the_document_names_the_fields_that_the_server_reads(self):
        document = json.loads(http(self.daemon, "/openapi.json")[2])
        described = set(document["components"]["schemas"]["ChatRequest"]["properties"])
        def table(file, begin, end):
            source = (ROOT / "server/api/openai" / file).read_text()
            return set(re.findall(r'^ +\{"(\w+)",', source[source.index(begin):source.index(end)], re.M))
        self.assertEqual(described, table("request.cc", "SamplingReaders() {", "CheckContinuing(") |
                         table("neutral_fields.cc", "kFields[]", "// In stream_options."))


if __name__ == "__main__":
    unittest.main(verbosity=2)
