"""The chat page: thumbs and corrections, where the server keeps answers, and none where it does not.

Usage: chat_feedback_test.py LLAVAD ROOT SCREENSHOTS [TEST...]
"""
import json
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect

sys.path.insert(0, str(Path(__file__).parent))
from chat_page import LLAVAD, ROOT, ChatPageCase, main  # noqa: E402
from llavad import Llavad  # noqa: E402


class FeedbackPageTest(ChatPageCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.daemon.__exit__()
        cls.folder = tempfile.TemporaryDirectory()
        cls.dir = Path(cls.folder.name) / "capture"
        cls.daemon = Llavad(LLAVAD, ROOT / "demo/checkpoint", "--capture-dir", str(cls.dir), "--capture-texts", "default")
        cls.daemon.__enter__()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.folder.cleanup()

    def thumb(self, name):
        return self.page.get_by_role("button", name=name)

    def verdicts(self):
        """By the question that was asked first."""
        found = {}
        for shard in (self.dir / "shards").iterdir():
            verdicts = [json.loads(line) for line in (shard / "verdicts.jsonl").read_text().splitlines()]
            rows = [json.loads(line) for line in (shard / "rows.jsonl").read_text().splitlines()]
            for verdict in verdicts:
                row = next(row for row in rows if row["capture"]["row"] == verdict["row"])
                found[row["conversations"][0]["value"]] = (verdict["verdict"], verdict.get("correction"))
        return found

    def test_an_answer_is_judged_corrected_and_the_verdict_taken_back(self):
        expect(self.page.locator("#kept")).to_contain_text("keeps conversations without pictures for 30 days")
        self.answered("Do you like this?")
        expect(self.thumb("Good answer")).to_have_attribute("aria-pressed", "false")
        self.thumb("Good answer").click()
        expect(self.thumb("Good answer")).to_have_attribute("aria-pressed", "true")
        expect(self.page.locator("#status")).to_have_text("The server has noted it.")
        self.assertEqual(self.verdicts()["Do you like this?"], ("up", None))
        self.reload()
        expect(self.thumb("Good answer")).to_have_attribute("aria-pressed", "true")
        self.thumb("Bad answer").click()
        expect(self.thumb("Good answer")).to_have_attribute("aria-pressed", "false")
        self.thumb("Say what it should have been").click()
        said = self.page.locator(".message.assistant .bubble").all_inner_texts()
        self.assertEqual(said, [], "its text is in the field")
        self.page.locator("textarea.edit").fill("I do.")
        self.shot("correction")
        self.page.keyboard.press("Enter")
        expect(self.page.locator("#status")).to_have_text("The server has noted what it should have been.")
        self.assertEqual(self.verdicts()["Do you like this?"], ("down", "I do."))
        self.shot("thumbs")
        self.thumb("Bad answer").focus()
        self.page.keyboard.press("Enter")
        expect(self.thumb("Bad answer")).to_have_attribute("aria-pressed", "false")
        expect(self.thumb("Say what it should have been")).to_have_count(0)
        self.assertNotIn("Do you like this?", self.verdicts())
        self.assertEqual(self.complaints, [])

    def test_what_is_not_kept_is_not_judged(self):
        self.attach()
        self.answered("What is in this picture?")
        expect(self.page.get_by_label("Answer again")).to_have_count(1)
        expect(self.thumb("Good answer")).to_have_count(0)

    def test_a_server_that_keeps_nothing_shows_no_thumbs(self):
        with Llavad(LLAVAD, ROOT / "demo/checkpoint") as other:
            self.page.goto(other.http)
            self.answered("Do you like this?")
            expect(self.page.locator("#kept")).to_be_hidden()
            expect(self.thumb("Good answer")).to_have_count(0)
            self.assertEqual(self.complaints, [])

    def test_a_verdict_that_the_server_does_not_take_is_explained(self):
        self.answered("Once more?")
        self.page.route("**/v1/feedback", lambda route: route.fulfill(status=404, json={"error": {
            "message": "no answer is kept", "type": "invalid_request_error", "param": "id", "code": None}}))
        self.thumb("Bad answer").click()
        expect(self.page.locator("#status")).to_have_text("no answer is kept")
        expect(self.thumb("Bad answer")).to_have_attribute("aria-pressed", "false")

    def test_in_three_languages(self):
        self.answered("And in German?")
        for code, name, kept in (("de", "Gute Antwort", "behält Gespräche ohne Bilder 30 Tage"), ("zh", "回答得好", "30 天")):
            self.page.click("#settings-toggle")
            self.page.select_option("#language", code)
            self.page.click("#settings-toggle")
            expect(self.thumb(name)).to_have_count(1)
            expect(self.page.locator("#kept")).to_contain_text(kept)


if __name__ == "__main__":
    main()
