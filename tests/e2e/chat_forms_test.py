"""The chat page: answers that have a form, and what a screen reader makes of the page (axe-core's rules).

Usage: chat_forms_test.py LLAVAD ROOT SCREENSHOTS [TEST...]
"""
import json
import sys
from pathlib import Path

import axe_playwright_python
from playwright.sync_api import expect

sys.path.insert(0, str(Path(__file__).parent))
from chat_page import PICTURE, ChatPageCase, main  # noqa: E402

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text()
SCHEMA = {"type": "object", "required": ["answer", "count"], "additionalProperties": False,
          "properties": {"answer": {"enum": ["yes", "no"]}, "count": {"type": "integer", "minimum": 0, "maximum": 9}}}
RECEIPT = {"shop": "<b onclick=alert(1)>Corner</b>", "paid": True, "note": None,
           "items": [{"name": "tea", "price": 2.5}, {"name": "cake", "price": 3, "count": 2}], "tags": ["a", "b"], "empty": []}
MARKDOWN = "# Title\n\nText with `code`, **bold** and [a link](https://example.org).\n\n```python\nprint(1)\n```\n\n" \
    "| a | b |\n|---|--:|\n| 1 | 2 |\n\n$$x^2 + \\frac{1}{2}$$\n\n- one\n- two\n"


class ChatFormsTest(ChatPageCase):
    def set_form(self, text):
        self.page.click("#settings-toggle")
        self.page.fill("#form", text)
        self.page.click("#settings-toggle")

    def sent(self):
        """The body of the next question."""
        with self.page.expect_request("**/v1/chat/completions") as request:
            self.page.fill("#question", "What does it say?")
            self.page.keyboard.press("Enter")
        return request.value.post_data_json

    def test_an_answer_has_the_form_that_was_asked_for(self):
        self.set_form(json.dumps(SCHEMA))
        self.attach()
        self.assertEqual(self.sent()["response_format"],
                         {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}})
        expect(self.page.locator(".message.assistant .facts").first).to_contain_text("first token", timeout=60_000)
        rows = self.page.locator(".message.assistant table tr")
        expect(rows).to_have_count(2)
        cells = dict(rows.evaluate_all("all => all.map((row) => [...row.children].map((cell) => cell.textContent))"))
        self.assertIn(cells["answer"], ["yes", "no"])
        self.assertIn(int(cells["count"]), range(10))
        self.shot("form")
        self.page.reload()
        expect(self.page.locator(".message.assistant table tr")).to_have_count(2)  # it is kept as what it was
        expect(self.page.locator("#form")).to_have_value("")
        self.assertNotIn("response_format", self.sent())
        self.assertEqual(self.complaints, [])

    def test_json_becomes_tables_and_nothing_live(self):
        self.answer_with(json.dumps(RECEIPT))
        self.set_form('{"type": "object"}')
        self.sent()
        bubble = self.page.locator(".message.assistant .bubble")
        expect(bubble.locator("table").first.locator(":scope > tbody > tr")).to_have_count(len(RECEIPT))
        self.assertEqual(bubble.locator("th[scope=col]").all_inner_texts(), ["name", "price", "count"])
        self.assertEqual(bubble.locator("thead + tbody tr").evaluate_all(
            "all => all.map((row) => [...row.children].map((cell) => cell.textContent))"), [["tea", "2.5", ""], ["cake", "3", "2"]])
        self.assertEqual(bubble.locator("b").count(), 0)
        self.assertIn(RECEIPT["shop"], bubble.inner_text())
        self.assertEqual(bubble.locator("li").all_inner_texts(), ["a", "b"])
        self.page.set_viewport_size({"width": 390, "height": 760})
        self.shot("form-phone")
        self.assertEqual(self.complaints, [])

    def test_names_that_every_object_of_the_browser_has_are_names_like_others(self):
        self.answer_with(json.dumps([{"constructor": "ACME"}, {"toString": 1}]))
        self.set_form('{"type": "array"}')
        self.sent()
        cells = self.page.locator(".message.assistant tbody td")
        expect(cells).to_have_text(["ACME", "", "", "1"])

    def test_json_that_was_cut_stands_as_it_is(self):
        self.answer_with('{"shop": "Cor')
        self.set_form('{"type": "object"}')
        self.sent()
        expect(self.page.locator(".message.assistant pre")).to_have_text('{"shop": "Cor')

    def test_what_is_no_schema_is_named_and_nothing_is_sent(self):
        for text, words in (('{"type": ', "JSON"), ("[1]", "an object")):
            self.set_form(text)
            self.page.fill("#question", "What does it say?")
            self.page.keyboard.press("Enter")
            expect(self.page.locator("#form-problem")).to_contain_text(words)
            expect(self.page.locator("#form")).to_be_focused()
            self.page.click("#settings-toggle")
        self.assertEqual(self.page.locator(".message").count(), 0)
        self.assertFalse([url for url in self.requests if "completions" in url])

    def test_a_schema_that_the_server_refuses_is_explained(self):
        self.set_form('{"type": "nonsense"}')
        self.sent()
        expect(self.page.locator(".message.failed")).to_contain_text("nonsense")


class AccessibilityTest(ChatPageCase):
    def check(self, state):
        self.page.evaluate(AXE)
        found = self.page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})")
        self.assertGreater(len(found["passes"]), 10)
        wrong = [f"{state}: {each['id']}: {each['help']}: {node['target']} {node['html'][:150]}"
                 for each in found["violations"] for node in each["nodes"]]
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))

    def conversation(self):
        self.attach()
        self.answer_with(MARKDOWN, model="checkpoint", system_fingerprint="0123456789ab")
        self.page.fill("#question", "What is it?")
        self.page.keyboard.press("Enter")
        expect(self.page.locator(".message.assistant .facts")).to_contain_text("checkpoint")

    def check_states(self, name):
        self.check(f"{name}, empty")
        self.page.click("#settings-toggle")
        self.check(f"{name}, settings")
        self.page.click("#settings-toggle")
        self.conversation()
        self.check(f"{name}, conversation")
        self.page.locator(".message.user").get_by_role("button", name="Edit").click()
        self.check(f"{name}, a question is edited")
        self.page.keyboard.press("Escape")
        for button, dialog in (("#help-open", "#help"), ("#link-open", "#link")):
            self.page.click(button)
            self.check(f"{name}, {dialog}")
            self.page.keyboard.press("Escape")
        self.page.locator(".thumbnail").first.click()
        self.check(f"{name}, zoom")
        self.page.keyboard.press("Escape")

    def test_light_and_dark(self):
        self.check_states("light")
        self.page.click("#theme")
        self.check("dark, conversation")
        self.page.click("#settings-toggle")
        self.check("dark, settings")

    def test_on_a_phone_with_the_list_open(self):
        self.page.set_viewport_size({"width": 390, "height": 760})
        self.check("phone, empty")
        self.conversation()
        self.check("phone, conversation")
        self.page.click("#side-toggle")
        expect(self.page.locator("#conversation-list li")).to_have_count(1)
        self.check("phone, list")

    def test_an_error_and_a_form(self):
        self.page.click("#settings-toggle")
        self.page.fill("#form", '{"type": "nonsense"}')
        self.page.click("#settings-toggle")
        self.page.fill("#question", "What?")
        self.page.keyboard.press("Enter")
        expect(self.page.locator(".message.failed")).to_be_visible()
        self.check("error")
        self.answer_with(json.dumps(RECEIPT))
        self.page.fill("#question", "What?")
        self.page.keyboard.press("Enter")
        expect(self.page.locator(".message.assistant table").first).to_be_visible()
        self.check("form")


if __name__ == "__main__":
    main()
