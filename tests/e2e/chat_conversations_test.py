"""The chat page: conversations that stay, their list, their branches.

Usage: chat_conversations_test.py LLAVAD ROOT SCREENSHOTS [TEST...]
"""
import json
import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect

sys.path.insert(0, str(Path(__file__).parent))
from chat_page import ChatPageCase, main  # noqa: E402


class ChatConversationsTest(ChatPageCase):
    def test_a_reload_keeps_the_conversation_and_a_new_one_begins_empty(self):
        self.attach()
        self.answered("What is in this picture?")
        self.answered("And what else?")
        before = self.shown()
        self.reload()
        expect(self.page.locator(".message")).to_have_count(4)
        self.assertEqual(self.shown(), before)
        expect(self.page.locator("#welcome")).to_be_hidden()
        with self.page.expect_request("**/v1/chat/completions") as sent:
            self.answered("And now?")
        messages = sent.value.post_data_json["messages"]
        self.assertEqual([message["role"] for message in messages], ["user", "assistant"] * 2 + ["user"])
        self.assertEqual(messages[0]["content"][0]["type"], "image_url")
        self.page.click("#new-chat")
        expect(self.page.locator(".message")).to_have_count(0)
        self.page.reload()
        expect(self.page.locator("#conversation-list li")).to_have_count(1)
        expect(self.page.locator(".message")).to_have_count(0)
        self.assertEqual(self.complaints, [])

    def open_with(self, *titles):
        """Conversations of these first questions, the last one shown."""
        for title in titles:
            self.page.click("#new-chat")
            self.answered(title)

    def titles(self):
        return self.page.locator("#conversation-list .title").all_inner_texts()

    def test_conversations_are_listed_opened_searched_renamed_and_deleted(self):
        self.answer_with("The cat sleeps.")
        self.open_with("What does the dog do?")
        self.answer_with("A bridge.")
        self.open_with("What is in the river?")
        self.assertEqual(self.titles(), ["What is in the river?", "What does the dog do?"])
        self.page.get_by_role("button", name="What does the dog do?").first.click()
        expect(self.page.locator(".message.assistant .bubble")).to_have_text("The cat sleeps.")
        self.page.go_back()
        expect(self.page.locator(".message.assistant .bubble")).to_have_text("A bridge.")
        self.page.fill("#search", "CAT sle")  # in an answer; in capitals
        expect(self.page.locator("#conversation-list li")).to_have_count(1)
        self.page.fill("#search", "elephant")
        expect(self.page.locator("#no-conversations")).to_have_text("Nothing found.")
        self.page.fill("#search", "")
        self.page.get_by_role("button", name="Rename What is in the river?").click()
        self.page.get_by_label("New title").fill("River")
        self.page.keyboard.press("Enter")
        expect(self.page.locator("#conversation-list .title").first).to_have_text("River")
        self.assertIn("River", self.page.title())
        self.shot("conversations")
        self.page.reload()
        expect(self.page.locator("#conversation-list .title")).to_have_text(["River", "What does the dog do?"])
        self.page.once("dialog", lambda dialog: dialog.dismiss())
        self.page.get_by_role("button", name="Delete River").click()
        expect(self.page.locator("#conversation-list li")).to_have_count(2)
        self.page.once("dialog", lambda dialog: dialog.accept())
        self.page.get_by_role("button", name="Delete River").click()
        expect(self.page.locator("#conversation-list .title")).to_have_text(["What does the dog do?"])
        expect(self.page.locator(".message")).to_have_count(0)  # it was the one shown
        self.page.reload()
        expect(self.page.locator("#conversation-list .title")).to_have_text(["What does the dog do?"])
        self.assertEqual(self.complaints, [])

    def test_on_a_phone_the_list_is_a_drawer(self):
        self.page.set_viewport_size({"width": 390, "height": 760})
        expect(self.page.locator("#side")).to_be_hidden()
        self.answer_with("Yes.")
        self.open_with("A first question, which is rather long for such a small list?", "Second?")
        self.page.click("#side-toggle")
        expect(self.page.locator("#search")).to_be_focused()
        self.shot("drawer")
        self.page.get_by_role("button", name="A first question").first.click()
        expect(self.page.locator("#side")).to_be_hidden()
        expect(self.page.locator(".message.user .bubble")).to_contain_text("A first question")
        self.page.get_by_label("Edit the question").click()
        self.shot("edit")
        self.page.click("#side-toggle")
        self.page.locator("#conversation-list .open").first.focus()
        self.page.keyboard.press("Escape")
        expect(self.page.locator("#side")).to_be_hidden()

    def test_what_is_exported_is_imported_elsewhere(self):
        self.answer_with("Three shapes.")
        self.attach()
        self.open_with("What is this?")
        self.open_with("And without a picture?")
        with self.page.expect_download() as download:
            self.page.click("#export")
        with tempfile.TemporaryDirectory() as folder:
            kept = Path(folder) / "kept.json"
            download.value.save_as(kept)
            broken = json.loads(kept.read_text())
            hostile = list(broken["conversations"][0]["turns"].values())[0]
            hostile["parent"] = hostile["id"]  # a circle
            (Path(folder) / "circle.json").write_text(json.dumps(broken))
            hostile["parent"] = "constructor"  # what every object of the browser has
            (Path(folder) / "parent.json").write_text(json.dumps(broken))
            broken = json.loads(kept.read_text())
            broken["conversations"][0]["tip"] = "constructor"
            (Path(folder) / "tip.json").write_text(json.dumps(broken))
            (Path(folder) / "words.json").write_text("words")
            other = self.browser.new_context(service_workers="block").new_page()
            other.goto(self.daemon.http)
            for name in ("circle.json", "parent.json", "tip.json", "words.json"):
                other.set_input_files("#import-file", str(Path(folder) / name))
                expect(other.locator("#status")).to_contain_text(f"{name} holds no conversations that this page has exported")
            expect(other.locator("#conversation-list li")).to_have_count(0)
            for _ in range(2):  # what is there already is not there twice
                other.set_input_files("#import-file", str(kept))
                expect(other.locator("#status")).to_contain_text("Conversations imported: 2.")
            expect(other.locator("#conversation-list li")).to_have_count(2)
            other.get_by_role("button", name="What is this?").first.click()
            expect(other.locator(".message.assistant .bubble")).to_have_text("Three shapes.")
            expect(other.locator(".message.user img")).to_have_attribute("src", re.compile("^data:image/png;base64,"))
            other.context.close()

    def test_another_tab_lists_what_this_one_keeps(self):
        other = self.context.new_page()
        other.goto(self.daemon.http)
        expect(other.locator("#no-conversations")).to_contain_text("No conversations yet")
        self.answer_with("Yes.")
        self.open_with("Is it there?")
        expect(other.locator("#conversation-list .title")).to_have_text(["Is it there?"])

    # What the page kept before it had several conversations.
    OLD = """async () => {
      const done = (r) => new Promise((resolve, reject) => { r.onsuccess = () => resolve(r.result); r.onerror = () => reject(r.error); });
      await done(indexedDB.deleteDatabase("llavad"));
      const open = indexedDB.open("llavad", 1);
      open.onupgradeneeded = () => open.result.createObjectStore("conversations");
      const database = await done(open);
      await done(database.transaction("conversations", "readwrite").objectStore("conversations").put([
        {role: "user", text: "The old question", images: [], facts: ""},
        {role: "assistant", text: " The old answer", images: [], facts: "5 + 3 tokens"}], "current"));
      database.close();
    }"""

    def test_the_one_conversation_of_before_is_taken_over(self):
        self.page.goto(self.daemon.http + "/healthz")  # the page's origin without the page
        self.page.evaluate(self.OLD)
        self.complaints.clear()  # that it has no icon
        self.page.goto(self.daemon.http)
        self.page.get_by_role("button", name="The old question").first.click()
        expect(self.page.locator(".message.assistant .bubble")).to_have_text("The old answer")
        expect(self.page.locator(".message.assistant .facts")).to_have_text("5 + 3 tokens")
        self.page.reload()
        expect(self.page.locator("#conversation-list li")).to_have_count(1)
        self.assertEqual(self.complaints, [])

    def sent_by(self, act):
        with self.page.expect_request("**/v1/chat/completions") as sent:
            act()
        return [message["content"] for message in sent.value.post_data_json["messages"]]

    def test_an_answer_is_given_again_and_both_stay(self):
        answers = self.page.locator(".message.assistant .bubble")
        self.answer_with("first")
        self.answered("What is it?")
        self.answer_with("second")
        self.assertEqual(self.sent_by(lambda: self.page.get_by_label("Answer again").click()), ["What is it?"])
        expect(answers).to_have_text(["second"])
        expect(self.page.locator(".place")).to_have_text("2/2")
        self.answered("And then?")
        self.page.get_by_label("The version before").click()
        expect(answers).to_have_text(["first"])
        self.reload()
        expect(answers).to_have_text(["first"])
        self.page.get_by_label("The next version").click()  # to the end of that branch
        expect(answers).to_have_text(["second", "second"])
        self.page.route("**/v1/chat/completions", lambda route: route.abort())
        self.page.get_by_label("Answer again").last.click()
        expect(self.page.locator(".message.failed")).to_contain_text("cannot be reached")
        expect(answers).to_have_count(3)  # nothing was lost
        self.answer_with("third")
        self.page.keyboard.press("Alt+r")
        expect(answers).to_have_text(["second", "third"])

    def test_an_earlier_question_is_edited_into_a_branch(self):
        self.answer_with("yes")
        self.attach()
        self.answered("One?")
        self.answered("Two?")
        self.page.locator(".message.user").first.get_by_label("Edit the question").click()
        self.page.keyboard.press("Escape")
        expect(self.page.locator(".message")).to_have_count(4)
        self.page.locator(".message.user").first.get_by_label("Edit the question").click()
        self.page.locator(".edit").fill("Eins?")
        messages = self.sent_by(lambda: self.page.keyboard.press("Enter"))
        self.assertEqual([part["type"] for part in messages[0]], ["image_url", "text"])  # the picture came along
        self.assertEqual(messages[0][1]["text"], "Eins?")
        expect(self.page.locator(".message")).to_have_count(2)
        self.page.get_by_label("The version before").first.click()
        expect(self.page.locator(".message.user .bubble")).to_have_text(["One?", "Two?"])
        self.page.focus("#question")
        self.page.keyboard.press("ArrowUp")
        expect(self.page.locator(".edit")).to_have_value("Two?")
        self.page.route("**/v1/chat/completions", lambda route: route.abort())
        self.page.keyboard.type("!")
        self.page.keyboard.press("Enter")
        expect(self.page.locator(".message.failed")).to_contain_text("cannot be reached")
        expect(self.page.locator(".message.user .bubble")).to_have_text(["One?", "Two?"])

    def test_an_answer_is_continued(self):
        self.answer_with("one, two,")
        self.answered("Count.")
        self.answer_with(" three")
        sent = self.sent_by(lambda: self.page.get_by_label("Continue the answer").click())
        self.assertEqual(sent, ["Count.", "one, two,"])
        expect(self.page.locator(".message.assistant .bubble")).to_have_text("one, two, three")
        self.reload()
        expect(self.page.locator(".message.assistant .bubble")).to_have_text("one, two, three")

    def test_the_daemon_continues_an_answer(self):
        self.attach()
        self.ask("What is in this picture?", [("max_tokens", "4")])
        bubble = self.page.locator(".message.assistant .bubble")
        expect(self.page.locator(".message.assistant .facts")).to_contain_text("4 tokens", timeout=60_000)
        before = bubble.inner_text()
        self.page.get_by_label("Continue the answer").click()
        expect(bubble).not_to_have_text(before, timeout=60_000)
        self.assertTrue(bubble.inner_text().startswith(before))

    def test_two_versions_answer_side_by_side(self):
        versions = ["a" * 64, "b" * 64]
        self.page.route("**/v1/models", lambda route: route.fulfill(json={"object": "list", "data": [
            {"id": "demo", "version": version} for version in versions]}))
        self.page.route("**/v1/chat/completions", lambda route: route.fulfill(content_type="text/event-stream", body=(
            "data: " + json.dumps({"choices": [{"delta": {"content": "I am " + route.request.post_data_json["model"][:6]}}]})
            + "\n\ndata: [DONE]\n\n")))
        self.page.reload()
        self.page.select_option("#model", "demo@" + versions[0])
        self.page.select_option("#compare", "demo@" + versions[1])
        self.ask("Who are you?")
        answers = self.page.locator(".message.assistant .bubble")
        expect(answers).to_have_text(["I am demo@a", "I am demo@b"])
        left, right = (self.page.locator(".pair .message").nth(i).bounding_box() for i in (0, 1))
        self.assertGreater(right["x"], left["x"] + left["width"] - 1)
        self.assertEqual(right["y"], left["y"])
        self.shot("compare")
        self.page.get_by_role("button", name="Go on with this one").nth(1).click()
        expect(answers).to_have_text(["I am demo@b"])
        expect(self.page.locator(".place")).to_have_text("2/2")
        self.page.select_option("#compare", "")
        self.assertEqual(self.sent_by(lambda: self.ask("And now?")), ["Who are you?", "I am demo@b", "And now?"])
        self.assertEqual(self.complaints, [])

    def test_a_conversation_left_in_the_middle_of_an_answer_keeps_what_was_said(self):
        self.page.add_init_script("""
            const real = window.fetch;
            window.fetch = (path, options) => !String(path).includes("chat") ? real(path, options) : Promise.resolve(new Response(
              new ReadableStream({start(c) {
                c.enqueue(new TextEncoder().encode('data: {"choices": [{"delta": {"content": "half"}}]}\\n\\n'));
                options.signal.addEventListener("abort", () => c.error(new DOMException("left", "AbortError")));
              }})));""")
        self.page.reload()
        self.ask("A long story, please.")
        expect(self.page.locator(".message.assistant .bubble")).to_contain_text("half")
        self.page.click("#new-chat")
        expect(self.page.locator(".message")).to_have_count(0)
        self.page.get_by_role("button", name="A long story, please.").first.click()
        expect(self.page.locator(".message.assistant .bubble")).to_have_text("half")

    def test_a_browser_that_keeps_nothing_or_has_no_room_says_so_and_goes_on(self):
        forbid = "for (const name of ['localStorage', 'indexedDB'])" \
                 " Object.defineProperty(window, name, {get() { throw new DOMException('no', 'SecurityError'); }})"
        full = "IDBObjectStore.prototype.put = function () {" \
               " this.transaction.abort(); throw new DOMException('full', 'QuotaExceededError'); }"
        for script, message in ((forbid, "lets the page keep nothing"), (full, "has no room for this conversation")):
            with self.subTest(message):
                page = self.page
                self.page = self.context.new_page()
                self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
                self.page.add_init_script(script)
                self.answer_yes()
                self.page.goto(self.daemon.http)
                if script is forbid:
                    expect(self.page.locator("#status")).to_contain_text(message)
                self.answered("Hello?")
                if script is full:
                    expect(self.page.locator("#status")).to_contain_text(message)
                self.answered("And again?")
                self.page.close()
                self.page = page
        self.assertEqual(self.complaints, [])


if __name__ == "__main__":
    main()
