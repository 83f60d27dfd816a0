"""The chat page: questions, pictures, settings, errors.

Usage: chat_page_test.py LLAVAD ROOT SCREENSHOTS [TEST...]
"""
import json
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect

sys.path.insert(0, str(Path(__file__).parent))
from chat_page import PICTURE, ROOT, ChatPageCase, main  # noqa: E402


class ChatPageTest(ChatPageCase):
    def test_a_picture_is_asked_about_and_the_answer_streams(self):
        self.attach()
        self.ask("What is in this picture?", [("max_tokens", "8")])
        facts = self.page.locator(".message.assistant .facts").first
        expect(facts).to_contain_text("first token", timeout=60_000)
        self.assertTrue(self.page.locator(".message.assistant .bubble").first.inner_text().strip())
        expect(self.page.locator(".message.user img")).to_have_count(1)
        expect(facts).to_contain_text("tokens/s")
        self.ask("And what else?", [("max_tokens", "8")])  # the picture and the first turn are in the cache
        expect(self.page.locator(".message.assistant .facts").nth(1)).to_contain_text("from cache", timeout=60_000)
        self.shot("light")
        self.page.click("#theme")
        self.shot("dark")
        self.page.set_viewport_size({"width": 390, "height": 760})
        self.shot("phone")
        self.assertEqual(self.complaints, [])

    def test_the_answer_is_the_true_one(self):
        for case in json.loads((ROOT / "demo/questions.json").read_text()):
            picture = ROOT / case["picture"]
            answer = self.api_answer(picture, case["question"])
            if picture.suffix == ".png" and case["answer"].lower() in answer.lower():
                break
        else:
            self.fail("the demo model answers no question truly")
        self.attach(picture)
        self.ask(case["question"])
        expect(self.page.locator(".message.assistant .facts").first).to_contain_text("first token", timeout=60_000)
        expect(self.page.locator(".message.assistant .bubble").first).to_have_text(answer)

    def test_pictures_are_picked_dropped_pasted_and_removed(self):
        pictures = self.page.locator("#pictures img")
        self.page.set_input_files("#file", [str(PICTURE), str(ROOT / "demo/pictures/word.png")])
        expect(pictures).to_have_count(2)
        self.transfer("dragenter", "a.png", PICTURE.read_bytes())
        expect(self.page.locator("#drop")).to_be_visible()
        self.shot("drop")
        self.transfer("drop", "a.png", PICTURE.read_bytes())
        expect(self.page.locator("#drop")).to_be_hidden()
        expect(pictures).to_have_count(3)
        self.transfer("paste", "b.png", PICTURE.read_bytes())
        expect(pictures).to_have_count(4)
        self.transfer("paste", "notes.txt", b"words")
        expect(self.page.locator("#status")).to_contain_text("notes.txt")
        expect(pictures).to_have_count(4)
        self.page.get_by_label("Remove b.png").click()
        expect(pictures).to_have_count(3)

    def test_by_keyboard_alone(self):
        expect(self.page.locator("#question")).to_be_focused()
        self.page.keyboard.type("Hello")
        self.page.keyboard.press("Shift+Enter")
        self.page.keyboard.type("there")
        expect(self.page.locator("#question")).to_have_value("Hello\nthere")
        self.page.keyboard.press("Enter")
        expect(self.page.locator(".message.assistant .facts").first).to_contain_text("first token", timeout=60_000)
        expect(self.page.locator("#question")).to_be_focused()
        self.page.keyboard.press("Shift+Tab")
        expect(self.page.locator("#attach")).to_be_focused()
        self.page.locator("#new-chat").focus()
        self.page.keyboard.press("Enter")
        expect(self.page.locator(".message")).to_have_count(0)
        expect(self.page.locator("#question")).to_be_focused()

    def test_settings_and_version_go_into_the_request_and_the_token_into_a_header(self):
        versions = ["a" * 64, "b" * 64]
        self.page.route("**/v1/models", lambda route: route.fulfill(json={"object": "list", "data": [
            {"id": "demo", "version": version} for version in versions]}))
        sent = []
        def answer(route):
            sent.append(route.request)
            route.fulfill(status=429, headers={"Retry-After": "3"}, json={"error": {"message": "the queue is full"}})
        self.page.route("**/v1/chat/completions", answer)
        self.page.reload()
        expect(self.page.locator("#model option")).to_have_count(3)
        self.page.select_option("#model", "demo@" + versions[1])
        self.ask("Well?", [("temperature", "0.7"), ("top_p", "0.5"), ("top_k", "9"), ("seed", "4"), ("token", "s3cret")])
        expect(self.page.locator(".message.failed .bubble")).to_contain_text("busy; try again in 3 s")
        body = sent[0].post_data_json
        self.assertEqual({name: body[name] for name in ("model", "temperature", "top_p", "top_k", "seed", "max_tokens")},
                         {"model": "demo@" + versions[1], "temperature": 0.7, "top_p": 0.5, "top_k": 9, "seed": 4,
                          "max_tokens": 256})
        self.assertEqual(sent[0].headers["authorization"], "Bearer s3cret")
        self.assertEqual([url for url in self.requests if "s3cret" in url], [])
        self.assertNotIn("s3cret", self.page.evaluate("JSON.stringify({...localStorage, ...sessionStorage}) + document.cookie"))

    def test_the_pace_is_right_also_when_the_answer_arrives_at_once(self):
        answer = 'data: {"choices": [{"delta": {"content": "red"}}]}\n\n' * 3 + 'data: {"choices": [], "usage": %s}\n\ndata: [DONE]\n\n'
        for usage, facts in [({"completion_tokens": 3, "timings": {"decode_seconds": 0.5}}, " · 4.0 tokens/s · 5 + 3 tokens"),
                             ({"completion_tokens": 301, "timings": {"decode_seconds": 0.5}}, " · 600 tokens/s · 5 + 301 tokens"),
                             ({"completion_tokens": 1, "timings": {"decode_seconds": 0}}, " s · 5 + 1 tokens"),
                             ({"completion_tokens": 3}, " s · 5 + 3 tokens")]:
            with self.subTest(usage=usage):
                body = answer % json.dumps({"prompt_tokens": 5, **usage})
                self.page.route("**/v1/chat/completions", lambda route: route.fulfill(content_type="text/event-stream", body=body))
                self.page.reload()
                self.page.click("#new-chat")
                self.ask("How fast?")
                expect(self.page.locator(".message.assistant .facts").first).to_contain_text("first token ")
                self.assertTrue(self.page.locator(".message.assistant .facts").first.inner_text().endswith(facts))
                self.page.unroute("**/v1/chat/completions")
        self.assertEqual(self.complaints, [])

    def test_a_server_that_is_gone_is_said_so(self):
        self.page.route("**/v1/chat/completions", lambda route: route.abort())
        self.ask("Are you there?")
        expect(self.page.locator(".message.failed .bubble")).to_contain_text("cannot be reached")

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

    # The page's own click at the first text: a person, or this test on a busy machine, may be slower than the whole answer.
    STOP_AT_THE_FIRST_TEXT = """() => new MutationObserver((_, observer) => {
        if (!document.querySelector(".message.assistant:last-of-type .bubble")?.textContent) return;
        observer.disconnect();
        document.querySelector("#stop").click();
    }).observe(document.querySelector("#log"), {subtree: true, childList: true, characterData: true})"""

    def test_stop_in_the_middle_keeps_what_was_said_and_frees_the_server(self):
        bubble = self.page.locator(".message.assistant .bubble")
        facts = self.page.locator(".message.assistant .facts")
        for seed in range(20):  # at this temperature the model rambles until it happens to end
            self.page.evaluate(self.STOP_AT_THE_FIRST_TEXT)
            self.ask("Tell me a long story.", [("max_tokens", "900"), ("temperature", "100"), ("seed", str(seed))])
            expect(facts).not_to_be_empty(timeout=60_000)
            self.daemon.wait_for_metric("llava_requests_running", 0)
            if facts.inner_text() == "stopped" and self.daemon.metric("llava_cancel_steps_count") == 1:
                break
            self.page.locator("#new-chat").click()
        else:
            self.fail("every answer had ended before it was stopped")
        self.assertTrue(bubble.inner_text().strip())
        expect(self.page.locator("#question")).to_have_value("")

    def test_errors_are_understandable(self):
        with tempfile.NamedTemporaryFile(suffix=".png") as broken:
            broken.write(b"\x89PNG\r\n\x1a\nnot really")
            broken.flush()
            self.page.set_input_files("#file", broken.name)
            self.ask("What is this?")
            failed = self.page.locator(".message.failed .bubble")
            expect(failed).to_have_text(f"The server cannot use this picture, {Path(broken.name).name}: a PNG picture: truncated", timeout=30_000)
            self.shot("error")
        expect(self.page.locator("#question")).to_have_value("What is this?")

    def assert_uncovered(self, locator):
        """The reader sees the whole of it: it is above the composer and within the window."""
        box, composer = locator.bounding_box(), self.page.locator("#composer").bounding_box()
        log = self.page.locator("#log").bounding_box()
        self.assertGreaterEqual(box["y"], log["y"])
        self.assertLessEqual(box["y"] + box["height"], composer["y"])

    def test_a_bad_picture_is_said_where_it_is_seen_and_the_good_ones_stay(self):
        with tempfile.TemporaryDirectory() as folder:
            broken = Path(folder) / "broken.png"
            broken.write_bytes(b"\x89PNG\r\n\x1a\nnot really")
            for width, height in ((1000, 760), (390, 600), (1000, 420)):
                with self.subTest(height=height):
                    self.page.set_viewport_size({"width": width, "height": height})
                    self.page.set_input_files("#file", [str(PICTURE), str(broken), str(PICTURE)])
                    expect(self.page.locator("#pictures img")).to_have_count(3)
                    self.ask("What are\nthese\nthree?")
                    failed = self.page.locator(".message.failed").last
                    expect(failed).to_contain_text("The server cannot use this picture, broken.png: ", timeout=30_000)
                    expect(failed.locator(".bubble")).to_have_attribute("role", "alert")
                    expect(self.page.locator("#pictures img")).to_have_count(2)
                    expect(self.page.locator("#question")).to_have_value("What are\nthese\nthree?")
                    self.page.evaluate("() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")
                    self.assert_uncovered(failed.locator(".bubble"))
                    self.page.click("#new-chat")
                    self.page.fill("#question", "")
                    for _ in range(2):
                        self.page.get_by_label("Remove three-shapes.png").first.click()

    def test_a_new_conversation_in_the_middle_of_an_answer_has_nothing_of_it(self):
        self.page.route("**/v1/chat/completions", lambda route: None)
        self.ask("Tell me a long story.")
        expect(self.page.locator("#stop")).to_be_visible()
        self.page.click("#new-chat")
        expect(self.page.locator("#send")).to_be_visible()
        expect(self.page.locator("#question")).to_have_value("")
        self.page.unroute("**/v1/chat/completions")
        self.answer_yes()
        with self.page.expect_request("**/v1/chat/completions") as sent:
            self.answered("Hello?")
        self.assertEqual([m["content"] for m in sent.value.post_data_json["messages"]], ["Hello?"])

    def test_the_page_is_self_contained_and_locked_down(self):
        expect(self.page.locator("#model option")).to_have_count(1)
        policy = self.headers["content-security-policy"]
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn("unsafe-inline", policy)
        self.assertEqual([u for u in self.requests if not u.startswith(self.daemon.http)], [])
        self.assertEqual(self.complaints, [])


if __name__ == "__main__":
    main()
