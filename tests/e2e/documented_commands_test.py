"""The commands of README.md and docs/api.md as a person pastes them, against a real llavad on the demo model.

Usage: documented_commands_test.py LLAVAD LLAVA ROOT
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from llavad import Llavad  # noqa: E402

LLAVAD, LLAVA, ROOT = (Path(a) for a in sys.argv[1:4])
NAME = "llava-1.5-7b-hf"  # the documents' model


def blocks(document, language):
    """The fenced blocks of one language, without the indentation of a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", (ROOT / document).read_text(), re.M | re.S)
    return [re.sub(rf"^{indent}", "", text, flags=re.M) for indent, text in found]


class DocumentedCommandsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.work = Path(cls.folder.name)
        shutil.copy(ROOT / "demo/pictures/circles.jpg", cls.work / "cat.jpg")
        (cls.work / NAME).symlink_to(ROOT / "demo/checkpoint")
        cls.daemon = Llavad(LLAVAD, cls.work / NAME)
        cls.daemon.__enter__()
        places = {"127.0.0.1:8080": cls.daemon.http.removeprefix("http://"), "127.0.0.1:50051": cls.daemon.grpc,
                  "127.0.0.1:9090": cls.daemon.base.removeprefix("http://"), f"/models/{NAME}": str(cls.work / NAME)}
        cls.places = lambda self, text: re.sub("|".join(map(re.escape, places)), lambda m: places[m[0]], text)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.__exit__()
        cls.folder.cleanup()

    def shell(self, command, **environment):
        path = f"{LLAVA.parent}:{LLAVAD.parent}:{os.environ['PATH']}"
        ran = subprocess.run(["bash", "-euo", "pipefail", "-c", self.places(command)], capture_output=True, text=True, timeout=120,
                             cwd=self.work, env={**os.environ, "PATH": path, "HOME": str(self.work), **environment})
        self.assertEqual(ran.returncode, 0, command + ran.stdout + ran.stderr)
        return ran.stdout

    def lines(self, document, program):
        """Each command of the document's plain blocks that begins with `program`, continued lines joined."""
        text = "\n".join(blocks(document, "")).replace("\\\n", " ")
        commands = [line.split("  #")[0].strip() for line in text.splitlines() if re.match(rf"\s*({program})\b", line)]
        self.assertTrue(commands, (document, program))
        return commands

    def test_curl(self):
        for document in ("README.md", "docs/api.md"):
            for command in self.lines(document, "curl .*completions"):
                self.assertIn('"finish_reason":"stop"', self.shell(command))
        for command in self.lines("README.md", "curl .*readyz"):
            self.assertEqual(self.shell(command), "ready\n")

    def test_python(self):
        for document in ("README.md", "docs/api.md"):
            for program in blocks(document, "python"):
                (self.work / "program.py").write_text(self.places(program))
                self.assertTrue(self.shell(f"{sys.executable} program.py").strip())

    def test_llava(self):
        for document in ("README.md", "docs/api.md"):
            for command in self.lines(document, "llava chat|llava models list"):
                self.assertTrue(self.shell(command.replace("llava chat", f"llava chat --server {self.daemon.grpc}")
                                           .replace("models list", f"models list --server {self.daemon.grpc}")).strip())
        for command in self.lines("docs/api.md", "llava bench"):
            self.assertIn("output tokens/s", self.shell(command + f" --server {self.daemon.grpc} --max-tokens 4"))
        for command in self.lines("docs/api.md", "source|llava --man"):
            self.shell(command)

    def test_llavad(self):
        for command in self.lines("README.md", "llavad inspect|llavad generate"):
            self.assertTrue(self.shell(command).strip())

    def test_every_link_leads_somewhere(self):
        for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
            text = re.sub(r"```.*?```", "", document.read_text(), flags=re.S)
            for target in re.findall(r"\]\(([^)\s]+)\)", text):
                if "://" in target:
                    continue
                path, _, anchor = target.partition("#")
                other = (document.parent / path).resolve() if path else document
                self.assertTrue(other.exists(), (document.name, target))
                if anchor:
                    headings = [re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).strip().replace(" ", "-")
                                for line in other.read_text().splitlines() if line.startswith("#")]
                    self.assertIn(anchor, headings, document.name)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
