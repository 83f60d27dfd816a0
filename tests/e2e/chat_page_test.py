"""The chat page in a real headless Chromium, against a real llavad.

Usage: chat_page_test.py LLAVAD CHECKPOINT PICTURE SCREENSHOTS
"""
import sys
import tempfile
import unittest
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))
from llavad import Llavad  # noqa: E402

LLAVAD, CHECKPOINT, PICTURE, SCREENSHOTS = (Path(a) for a in sys.argv[1:5])
# Without the last four Chromium calls home.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]


class ChatPageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Llavad(LLAVAD, CHECKPOINT)
        cls.daemon.__enter__()
        cls.playwright = sync_playwright().start()
        cls.browser = cls.playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.playwright.stop()
        cls.daemon.__exit__()

    def setUp(self):
        self.context = self.browser.new_context(viewport={"width": 1000, "height": 760})
        self.page = self.context.new_page()
        self.complaints = []
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.requests = []
        self.page.on("request", lambda r: self.requests.append(r.url))
        response = self.page.goto(self.daemon.http)
        self.headers = response.headers

    def tearDown(self):
        self.context.close()

    def ask(self, text, settings=()):
        self.page.click("#settings-toggle")
        for name, value in settings:
            self.page.fill(f"#{name}", value)
        self.page.click("#settings-toggle")
        self.page.fill("#question", text)
        self.page.keyboard.press("Enter")

    def attach(self):
        self.page.set_input_files("#file", str(PICTURE))
        expect(self.page.locator("#pictures img")).to_have_count(1)

    def shot(self, name):
        self.page.screenshot(path=str(SCREENSHOTS / f"{name}.png"))

    def test_a_picture_is_asked_about_and_the_answer_streams(self):
        self.attach()
        self.ask("What is in this picture?", [("max_tokens", "8")])
        facts = self.page.locator(".message.assistant .facts").first
        expect(facts).to_contain_text("first token", timeout=60_000)
        self.assertTrue(self.page.locator(".message.assistant .bubble").first.inner_text().strip())
        expect(self.page.locator(".message.user img")).to_have_count(1)
        self.ask("And what else?", [("max_tokens", "8")])  # the picture and the first turn are in the cache
        expect(self.page.locator(".message.assistant .facts").nth(1)).to_contain_text("from cache", timeout=60_000)
        self.shot("light")
        self.page.click("#theme")
        self.shot("dark")
        self.page.set_viewport_size({"width": 390, "height": 760})
        self.shot("phone")
        self.assertEqual(self.complaints, [])

    def test_stop_ends_the_answer_and_the_next_question_is_answered(self):
        self.page.route("**/v1/chat/completions", lambda route: None)  # an answer that takes for ever
        self.ask("Tell me a long story.")
        expect(self.page.locator("#stop")).to_be_visible()
        self.page.keyboard.press("Escape")
        expect(self.page.locator("#send")).to_be_visible()
        expect(self.page.locator(".message.assistant .facts").first).to_have_text("stopped")
        expect(self.page.locator("#question")).to_have_value("Tell me a long story.")
        self.page.unroute("**/v1/chat/completions")
        self.ask("And now?", [("max_tokens", "4")])
        expect(self.page.locator(".message.assistant .facts").nth(1)).to_contain_text("first token", timeout=60_000)

    def test_errors_are_understandable(self):
        with tempfile.NamedTemporaryFile(suffix=".png") as broken:
            broken.write(b"\x89PNG\r\n\x1a\nnot really")
            broken.flush()
            self.page.set_input_files("#file", broken.name)
            self.ask("What is this?")
            failed = self.page.locator(".message.failed .bubble")
            expect(failed).to_contain_text("PNG", timeout=30_000)
            self.shot("error")
        expect(self.page.locator("#question")).to_have_value("What is this?")

    def test_the_page_is_self_contained_and_locked_down(self):
        expect(self.page.locator("#model option")).to_have_count(1)
        policy = self.headers["content-security-policy"]
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn("unsafe-inline", policy)
        self.assertEqual([u for u in self.requests if not u.startswith(self.daemon.http)], [])
        self.assertEqual(self.complaints, [])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
