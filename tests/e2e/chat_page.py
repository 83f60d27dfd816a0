"""What the tests of the chat page share: a real headless Chromium before a real llavad on the demo model.

A test's usage: x_test.py LLAVAD ROOT SCREENSHOTS [TEST...]
"""
import base64
import json
import sys
import unittest
import urllib.request
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))
from llavad import Llavad  # noqa: E402

LLAVAD, ROOT, SCREENSHOTS = (Path(a) for a in sys.argv[1:4])
PICTURE = ROOT / "demo/pictures/three-shapes.png"
# What the person's clipboard and mouse do, as events: {kind: (event, where the files are)}.
TRANSFER = """([kind, name, data]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: name.endsWith(".txt") ? "text/plain" : "image/png" }));
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true })
    : new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
}"""
# Whether the browser's store holds the shown conversation with all its messages. An answer is kept a moment after it
# is shown.
KEPT = """async () => {
  const done = (r) => new Promise((resolve, reject) => { r.onsuccess = () => resolve(r.result); r.onerror = () => reject(r.error); });
  const database = await done(indexedDB.open("llavad"));
  const tree = await done(database.transaction("trees").objectStore("trees").get(location.hash.slice(1)));
  database.close();
  const texts = [];
  for (let id = tree?.tip ?? null; id !== null; id = tree.turns[id].parent) texts.unshift(tree.turns[id].text.trim());
  const shown = [...document.querySelectorAll(".message .bubble")].map((bubble) => bubble.innerText.trim());
  return JSON.stringify(texts) === JSON.stringify(shown);
}"""
# Without the last four Chromium calls home.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]


class ChatPageCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Llavad(LLAVAD, ROOT / "demo/checkpoint")
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
        # Requests through a service worker would not be seen here; installing has its own test.
        self.context = self.browser.new_context(viewport={"width": 1000, "height": 760}, service_workers="block")
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

    def attach(self, picture=PICTURE):
        self.page.set_input_files("#file", str(picture))
        expect(self.page.locator("#pictures img")).to_have_count(1)

    def reload(self):
        """When the conversation, of plain texts, is kept."""
        self.page.wait_for_function(KEPT, timeout=60_000)
        self.page.reload()

    def transfer(self, kind, name, content):
        self.page.evaluate(TRANSFER, [kind, name, base64.b64encode(content).decode()])

    def api_answer(self, picture, question):
        url = "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
        body = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}},
                                                          {"type": "text", "text": question}]}]}
        request = urllib.request.Request(self.daemon.http + "/v1/chat/completions", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)["choices"][0]["message"]["content"].strip()

    def shot(self, name):
        self.page.screenshot(path=str(SCREENSHOTS / f"{name}.png"))

    def answered(self, text):
        before = self.page.locator(".message.assistant .facts").count()
        self.ask(text, [("max_tokens", "4")])
        expect(self.page.locator(".message.assistant .facts").nth(before)).to_contain_text("first token", timeout=60_000)

    def answer_yes(self):
        """Every question, without the server."""
        self.page.route("**/v1/chat/completions", lambda route: route.fulfill(content_type="text/event-stream", body=(
            'data: {"choices": [{"delta": {"content": "yes"}}]}\n\ndata: [DONE]\n\n')))

    def shown(self):
        return self.page.locator(".message").evaluate_all(
            "all => all.map((m) => [m.className, m.innerText, [...m.querySelectorAll('img')].map((i) => [i.alt, i.src])])")

    def answer_with(self, text, **more):
        """Every question, with `text` in pieces of 7 characters, without the server."""
        pieces = [text[i:i + 7] for i in range(0, len(text), 7)]
        body = "".join("data: %s\n\n" % json.dumps({"choices": [{"delta": {"content": piece}}], **more}) for piece in pieces)
        self.page.route("**/v1/chat/completions", lambda route: route.fulfill(
            content_type="text/event-stream", body=body + "data: [DONE]\n\n"))


def main():
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
