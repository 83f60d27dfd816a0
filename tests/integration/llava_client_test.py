"""The `llava` command as a person uses it, in a real (pseudo) terminal, against a daemon."""
import base64
import contextlib
import hashlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import tempfile
import termios
import unittest
from pathlib import Path

from PIL import Image

from daemon_process import IMAGES, Daemon, generated_client, make_certificates, wait_until
from http_requests import CHAT, http

LLAVA = os.environ["LLAVA"]
PICTURE = IMAGES / "landscape.png"


def decode_sixels(text):
    """The picture of a sixel string, as Pillow's."""
    width, height = map(int, re.search(r'\x1bPq"1;1;(\d+);(\d+)', text).groups())
    image, palette = Image.new("RGB", (width, height)), {}
    body = text[text.index('"1;1;'):text.index("\x1b\\")]
    x = y = color = 0
    for token in re.finditer(r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)([?-~])|([?-~])|(\$)|(-)", body.split(";", 3)[3].lstrip("0123456789")):
        number, red, green, blue, chosen, count, repeated, one, home, down = token.groups()
        if number:
            palette[int(number)] = tuple(round(int(c) * 2.55) for c in (red, green, blue))
        elif chosen:
            color = palette[int(chosen)]
        elif home or down:
            x, y = 0, y + 6 * bool(down)
        else:
            for _ in range(int(count or 1)):
                for bit in range(6):
                    if (ord(repeated or one) - 63) >> bit & 1:
                        image.putpixel((x, y + bit), color)
                x += 1
    return image


class Terminal:
    """A program in a pseudo terminal of its own."""

    def __init__(self, *args, **environment):
        self.screen = ""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            sanitizers = {name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}
            os.execve(LLAVA, [LLAVA, *args],
                      {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **sanitizers, **environment})

    def until(self, text, seconds=120):
        """Reads until `text` was shown; what was shown up to its end."""
        while text not in self.screen:
            if not select.select([self.master], [], [], seconds)[0]:
                raise AssertionError(f"{text!r} was not shown, but: {self.screen!r}")
            self.screen += os.read(self.master, 65536).decode(errors="replace")
        shown, self.screen = self.screen.split(text, 1)
        return shown

    def end_input(self):
        """Control-D. libedit shows its prompt before it takes the terminal over: until then the kernel would swallow it."""
        wait_until(lambda: not termios.tcgetattr(self.master)[3] & termios.ICANON, "libedit reads the keys itself")
        self.type("\x04")

    def type(self, text):
        os.write(self.master, text.encode())

    def wait(self):
        # What it still has to say must be read, else a full terminal holds it back for good.
        with contextlib.suppress(OSError):  # EIO: the program has closed its side
            while select.select([self.master], [], [], 30)[0]:
                self.screen += os.read(self.master, 65536).decode(errors="replace")
            os.kill(self.pid, signal.SIGKILL)  # silent, and still there: say what it showed
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.master)
        if code == -signal.SIGKILL:
            raise AssertionError(f"did not end; it had shown {self.screen[-2000:]!r}")
        return code


class LlavaClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon("--step-ms", "5")
        cls.folder = tempfile.TemporaryDirectory()
        cls.home = Path(cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        assert cls.daemon.stop() == 0
        cls.folder.cleanup()

    def chat(self, *args):
        return subprocess.run([LLAVA, "chat", "--server", self.daemon.addresses["grpc"], *args], capture_output=True,
                              text=True, timeout=60, env={**os.environ, "HOME": str(self.home)})

    def terminal(self, *args):
        return Terminal("chat", "--server", self.daemon.addresses["grpc"], *args, HOME=str(self.home))

    def test_one_question(self):
        plain = self.chat("--image", str(PICTURE), "--max-tokens", "6", "What is this?")
        self.assertEqual((plain.returncode, plain.stderr), (0, ""))
        as_json = self.chat("--image", str(PICTURE), "--max-tokens", "6", "--json", "What is this?")
        self.assertEqual(json.loads(as_json.stdout)["text"] + "\n", plain.stdout)
        self.assertEqual(self.chat("--image", "/nowhere.png", "x").returncode, 1)
        gone = subprocess.run([LLAVA, "chat", "--server", "127.0.0.1:1", "x"], capture_output=True, text=True, timeout=60)
        self.assertEqual(gone.returncode, 3)

    def test_mutual_tls_and_tokens(self):
        folder = self.home
        make_certificates(folder)
        tokens = folder / "tokens"
        tokens.write_text(f"alice chat sha256:{hashlib.sha256(b'secret').hexdigest()}\n")
        tls = ["--ca", f"{folder}/ca.pem", "--cert", f"{folder}/client.pem", "--key", f"{folder}/client.key"]
        with Daemon(config=f"tls_certificate: {folder}/server.pem\ntls_key: {folder}/server.key\n"
                    f"tls_client_ca: {folder}/ca.pem\ntokens_file: {tokens}\n") as daemon:
            for flags, token, code in ((tls, "secret", 0), (tls, "guess", 1), (tls, "", 1), (tls[:2], "secret", 3), ([], "secret", 3)):
                with self.subTest(flags=flags, token=token):
                    ran = subprocess.run([LLAVA, "chat", "--server", daemon.addresses["grpc"], *flags, "--max-tokens", "2", "Hi"],
                                         capture_output=True, text=True, timeout=60, env={**os.environ, "LLAVA_TOKEN": token})
                    self.assertEqual(ran.returncode, code, ran.stderr)
                    self.assertNotIn("secret", ran.stderr)

    def test_health(self):
        def health(*args):
            return subprocess.run([LLAVA, "health", "--server", *args], capture_output=True, text=True, timeout=60)
        serving = health(self.daemon.addresses["grpc"])
        self.assertEqual((serving.returncode, serving.stdout, serving.stderr), (0, "SERVING\n", ""))
        chat = health(self.daemon.addresses["grpc"], "--service", "llava.v1.ChatService")
        self.assertEqual((chat.returncode, chat.stdout), (0, "SERVING\n"))
        self.assertEqual(health(self.daemon.addresses["grpc"], "--service", "nobody").returncode, 1)
        self.assertEqual(health("127.0.0.1:1").returncode, 3)
        with Daemon("--step-ms", "20") as daemon, daemon.channel() as channel:
            chat, chat_grpc = generated_client()
            parts = [chat.MessagePart(text="Go on.")]
            request = chat.ChatRequest(messages=[chat.ChatMessage(role=chat.ROLE_USER, parts=parts)],
                                       sampling=chat.SamplingOptions(max_tokens=200, ignore_eos=True))
            answer = chat_grpc.ChatServiceStub(channel).ChatStream(chat.ChatStreamRequest(request=request))
            next(answer)
            daemon.terminate()
            wait_until(lambda: health(daemon.addresses["grpc"]).stdout == "NOT_SERVING\n", "it drains")
            self.assertEqual(health(daemon.addresses["grpc"]).returncode, 2)
            self.assertEqual(health(daemon.addresses["grpc"], "--service", "liveness").stdout, "SERVING\n")
            answer.cancel()

    def test_a_saved_conversation_can_be_sent_again_over_http(self):
        file = self.home / "saved.json"
        answer = self.chat("--image", str(PICTURE), "--max-tokens", "6", "--system", "Be brief.", "--save", str(file), "What?")
        saved = json.loads(file.read_text())
        self.assertEqual([m["role"] for m in saved["messages"]], ["system", "user", "assistant"])
        self.assertEqual(saved["messages"][2]["content"][0]["text"] + "\n", answer.stdout)
        said = saved["messages"].pop()
        status, _, body = http(self.daemon, CHAT, {**saved, "max_tokens": 6})
        self.assertEqual((status, json.loads(body)["choices"][0]["message"]["content"]), (200, said["content"][0]["text"]))
        wrong = self.chat("--max-tokens", "2", "--save", "/nowhere/x", "Hi")
        self.assertIn("/nowhere/x", wrong.stderr)

    def test_ctrl_c_stops_the_answer_and_not_the_program(self):
        terminal = self.terminal("--max-tokens", "4000", "--thumbnail", "none")
        terminal.until("> ")
        terminal.type("Tell me a long story\n")
        wait_until(lambda: self.daemon.metrics()["llava_requests_running"] == 1, "the answer begins")
        terminal.type("\x03")
        wait_until(lambda: self.daemon.metrics()["llava_requests_running"] == 0, "the answer is stopped")
        terminal.until("> ")
        terminal.type("\x03")  # nothing to stop
        terminal.type("/image /nowhere.png\n")
        terminal.until("/nowhere.png: no such file")
        terminal.type("/quit\n")
        self.assertEqual(terminal.wait(), 0)
        once = self.terminal("--max-tokens", "4000", "A long story")
        wait_until(lambda: self.daemon.metrics()["llava_requests_running"] == 1, "the answer begins")
        os.kill(once.pid, signal.SIGINT)
        self.assertEqual(once.wait(), 130)

    def test_lines_of_earlier_days_come_back(self):
        first = self.terminal("--max-tokens", "2")
        first.until("> ")
        first.type("What is unforgettable?\n")
        first.until("> ")
        first.end_input()
        self.assertEqual(first.wait(), 0)
        history = self.home / ".local/state/llava"
        self.assertEqual(history.stat().st_mode & 0o077, 0)
        second = self.terminal("--max-tokens", "2")
        second.until("> ")
        second.type("\x1b[A")
        second.until("What is unforgettable?")
        second.type("\n")
        second.until("> ")
        second.type("/quit\n")
        self.assertEqual(second.wait(), 0)

    def test_thumbnails(self):
        original = Image.open(PICTURE).convert("RGB")
        def shown(kind, picture=PICTURE):
            return self.chat("--max-tokens", "1", "--thumbnail", kind, "--image", str(picture), "x").stderr
        kitty = shown("kitty")
        width, height = map(int, re.search(r"s=(\d+),v=(\d+)", kitty).groups())
        self.assertAlmostEqual(width / height, original.width / original.height, delta=0.1)
        data = base64.b64decode("".join(re.findall(r"\x1b_G[^;]*;([^\x1b]*)\x1b\\", kitty)))
        small = Image.frombytes("RGB", (width, height), data)
        def mean(image):
            return image.convert("RGB").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
        def close(one, other, delta):
            for a, b in zip(mean(one), mean(other), strict=True):
                self.assertAlmostEqual(a, b, delta=delta)
        close(small, original, 3)
        close(decode_sixels(shown("sixel")), original, 8)
        blocks = shown("blocks")
        lines = blocks.rstrip("\n").split("\n")
        self.assertEqual({line.count("\u2580") for line in lines}, {min(40, original.width)})
        for kind in ("JPEG", "WEBP", "BMP"):
            other = self.home / f"picture.{kind.lower()}"
            original.save(other)
            self.assertIn("\u2580", shown("blocks", other), kind)
        (self.home / "text.png").write_text("no picture")
        self.assertIn("no thumbnail", shown("blocks", self.home / "text.png"))
        self.assertEqual(shown("auto"), "")  # standard error is no terminal here

    def test_the_terminal_is_asked_for_what_it_can(self):
        terminal = self.terminal("--max-tokens", "1", "--image", str(PICTURE), "x")
        terminal.until("\x1b[c")
        terminal.type("\x1b[?62;4;22c")
        terminal.until("\x1bPq")
        terminal.until("\x1b\\")
        terminal.until("\n")
        self.assertEqual(terminal.wait(), 0)
        kitty = Terminal("chat", "--server", self.daemon.addresses["grpc"], "--max-tokens", "1", "--image", str(PICTURE), "x",
                         KITTY_WINDOW_ID="1")
        kitty.until("\x1b_Ga=T")
        kitty.until("m=0;")
        kitty.until("\x1b\\")
        self.assertEqual(kitty.wait(), 0)

    def test_manual_page_and_completion_say_what_help_says(self):
        def run(*args):
            return subprocess.run([LLAVA, *args], capture_output=True, text=True, check=True).stdout
        page = run("--man").replace("\\-", "-")
        for command in ([], ["chat"], ["bench"], ["jobs", "watch"]):
            text = run(*command, "--help")
            flags = set(re.findall(r"(--[a-z][a-z-]*)", text.split("Options:")[1].split("Subcommands:")[0]))
            script = run("--completion", "bash") + (
                f'\nCOMP_WORDS=(llava {" ".join(command)} ""); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _llava'
                '\nprintf "%s\\n" "${COMPREPLY[@]}"\n')
            offered = set(subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split())
            fish = run("--completion", "fish")
            for flag in flags:
                self.assertIn(flag, page)
                self.assertIn(flag, offered)
                self.assertIn(f" -l {flag[2:]}", fish)
        self.assertTrue(run("--completion", "zsh").startswith("#compdef llava\nautoload"))
        roff = subprocess.run(["groff", "-man", "-Tutf8", "-ww"], input=run("--man"), capture_output=True, text=True)
        self.assertEqual((roff.returncode, roff.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main(verbosity=2)
