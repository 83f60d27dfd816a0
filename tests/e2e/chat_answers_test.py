"""The chat page: what answers look like, and that nothing in them is live. With languages, and the page as an app.

Usage: chat_answers_test.py LLAVAD ROOT SCREENSHOTS [TEST...]
"""
import json
import re
import sys
from pathlib import Path

from playwright.sync_api import expect

sys.path.insert(0, str(Path(__file__).parent))
from chat_page import FLAGS, PICTURE, ROOT, ChatPageCase, main  # noqa: E402

MARKDOWN = r"""# Title

Some **bold**, *slanted*, ~~gone~~ and `code` words, a [link](https://example.org/a?b=c) and https://example.org/x.

1. one
2. two
   - within
   - again

   ```python
   def f(x):
       return "<b>" + x
   ```

> A quote
> of two lines

| name | count |
|:-----|------:|
| cats | 3 |
| **dogs** | 12 |

$$x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}$$

Prices of $5 and $6 are not formulas, $e^{i\pi} + 1 = 0$ is, and so is \(\sum_{i=1}^n x_i\).

---
"""

# What must stay words: each is an answer of its own, and all of them one.
HOSTILE = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror=\"window.hacked = 1\">",
    "<svg onload=\"window.hacked = 1\"><animate onbegin=\"window.hacked = 1\"></svg>",
    "<iframe srcdoc=\"<script>parent.hacked = 1</script>\"></iframe>",
    "[click](javascript:window.hacked=1)", "[click](JaVaScRiPt:window.hacked=1)", "[click](java&#x73;cript:window.hacked=1)",
    "[click]( javascript:window.hacked=1)", "[click](\x01javascript:window.hacked=1)", "[click](data:text/html,<script>hacked=1</script>)",
    "[click](vbscript:hacked)", "[click](file:///etc/passwd)", "<javascript:window.hacked=1>",
    "![x](https://example.invalid/pixel.png)", "![x\" onerror=\"window.hacked=1](https://example.invalid/x.png)",
    "[a](https://example.invalid/\"onmouseover=\"window.hacked=1)",
    "$$\\text{<img src=x onerror=window.hacked=1>}$$", "$\\href{javascript:window.hacked=1}{x}$", "$<script>window.hacked=1</script>$",
    "```html\n<script>window.hacked = 1</script>\n```", "```\"><script>window.hacked=1</script>\nx\n```",
    "| <img src=x onerror=window.hacked=1> | b |\n|---|---|\n| <script>window.hacked=1</script> | [x](javascript:hacked) |",
    "<style>* { display: none }</style>", "<base href=\"https://example.invalid/\">", "<form action=\"https://example.invalid\"><input name=a></form>",
    "<a href=\"javascript:window.hacked=1\">x</a>", "<meta http-equiv=refresh content=\"0;url=https://example.invalid\">",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.hacked=1></style></mglyph></table></mtext></math>",
]
BROKEN = ["**never closed", "`never closed", "```\nnever closed", "| a | b |\n|---|", "[a](", "[a](b", "![", "$$x", "\\(", "$\\frac{$", "$}{$",
          "$\\begin{matrix}a & b$", "> " * 300 + "deep", "- " * 300 + "deep", "$" + "{" * 500 + "$", "*" * 1001, "_a" * 500, "[" * 500, "#", "1." * 400,
          "\\", "****", "| |\n|-|", "$\\left($", "$x^$", "$_$", "$^^$", "$\\begin{constructor}a\\end{constructor}$", "\u202ereversed", "\x00\ud7ff"]
# Long enough that what is not linear takes minutes.
LARGE = ["*a " * 30_000, "[" * 60_000, "`a``b```" * 12_000, "# " + " " * 60_000 + "x", "- " * 40_000, "$a" * 40_000, "_a_" * 30_000,
         "|" * 50_000 + "\n" + "|-" * 900, "\\(" * 40_000, "<" * 60_000, "https://" * 12_000, "> " * 40_000, "$$" + "{" * 90_000 + "$$", "**a* " * 20_000]


class ChatAnswersTest(ChatPageCase):
    def bubble(self):
        return self.page.locator(".message.assistant .bubble").last

    def answered_with(self, text):
        self.answer_with(text, usage={"prompt_tokens": 5, "completion_tokens": 9})
        before = self.page.locator(".message.assistant .facts").count()
        self.page.fill("#question", "What is it?")
        self.page.keyboard.press("Enter")
        expect(self.page.locator(".message.assistant .facts").nth(before)).to_contain_text("5 + 9", timeout=60_000)

    def test_markdown_is_shown_as_what_it_means(self):
        self.answered_with(MARKDOWN)
        bubble = self.bubble()
        for selector, text in [("h3", "Title"), ("strong >> nth=0", "bold"), ("em", "slanted"), ("del", "gone"), ("p > code", "code"),
                               ("ol > li >> nth=0", "one"), ("ol ul > li >> nth=1", "again"), ("blockquote", "A quote\nof two lines"),
                               ("th >> nth=1", "count"), ("td >> nth=3", "12"), ("td strong", "dogs"),
                               ("pre code", "def f(x):\n    return \"<b>\" + x"), ("figcaption", "python")]:
            with self.subTest(selector=selector):
                self.assertEqual(bubble.locator(selector).inner_text().strip(), text)
        links = bubble.locator("a")
        self.assertEqual(links.evaluate_all("all => all.map((a) => [a.href, a.target, a.rel])"), [
            ["https://example.org/a?b=c", "_blank", "noopener noreferrer"], ["https://example.org/x", "_blank", "noopener noreferrer"]])
        expect(bubble.locator("math")).to_have_count(3)
        expect(bubble.locator("math mfrac msqrt msup")).to_have_count(1)
        expect(bubble.locator("math munderover")).to_have_count(1)
        expect(bubble).to_contain_text("Prices of $5 and $6 are not formulas")
        expect(bubble.locator("hr")).to_have_count(1)
        self.assertEqual(bubble.locator("td").nth(1).evaluate("td => getComputedStyle(td).textAlign"), "right")
        self.shots("markdown", lambda: self.page.locator("#log").evaluate("log => log.scrollTo(0, 90)"))
        self.assertEqual(self.complaints, [])

    def shots(self, name, prepare=lambda: None):
        """In both themes, on a desktop and on a phone."""
        for width, height, size in ((1000, 760, "desktop"), (390, 760, "phone")):
            self.page.set_viewport_size({"width": width, "height": height})
            for theme in ("light", "dark"):
                self.page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
                prepare()
                self.assertLessEqual(self.page.evaluate("document.documentElement.scrollWidth"), width)
                self.shot(f"{name}-{size}-{theme}")

    def test_copy_buttons_copy_what_was_written(self):
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.answered_with("Here:\n\n```sh\nrm **all**\n```\n\nand *this*.")
        clipboard = "navigator.clipboard.readText()"
        self.bubble().get_by_label("Copy").click()
        expect(self.bubble().get_by_label("Copied")).to_have_count(1)
        self.assertEqual(self.page.evaluate(clipboard), "rm **all**")
        self.page.locator(".message.assistant .actions").get_by_label("Copy").click()
        expect(self.page.locator(".message.assistant .actions").get_by_label("Copied")).to_have_count(1)
        self.assertEqual(self.page.evaluate(clipboard), "Here:\n\n```sh\nrm **all**\n```\n\nand *this*.")

    def assert_inert(self):
        """Nothing that loads, runs, is sent or styles, and no link but to where a person may go."""
        elements = self.bubble().evaluate("""b => [...b.querySelectorAll("*")].filter((n) => !n.closest("button"))
            .map((n) => [n.localName, ...n.getAttributeNames(), ...(n.localName === "a" ? [n.protocol] : [])])""")
        for name, *attributes in elements:
            self.assertNotIn(name, ("script", "img", "svg", "iframe", "style", "base", "form", "input", "meta", "object", "embed"))
            self.assertLessEqual(set(attributes), {"class", "start", "display", "stretchy", "width", "tabindex", "href", "target", "rel",
                                                   "https:", "http:", "mailto:"}, name)
        self.assertIsNone(self.page.evaluate("window.hacked ?? null"))
        self.assertEqual(self.page.evaluate("document.head.querySelectorAll('base, meta[http-equiv], style').length"), 0)

    def test_commands_that_formulas_lack_stand_as_they_were_written(self):
        """Also those named as what every object of the browser has."""
        self.answered_with("$\\unknown \\constructor \\toString$ and $\\left\\constructor x\\right)$")
        expect(self.bubble()).to_contain_text("\\unknown\\constructor\\toString and \\constructorx)")
        self.assertEqual(self.complaints, [])

    def test_hostile_and_broken_answers_stay_words(self):
        for answer in [*HOSTILE, *BROKEN, "\n\n".join(HOSTILE), "\n".join(BROKEN)]:
            with self.subTest(answer=answer[:80]):
                self.answered_with(answer)
                self.assert_inert()
                for link in self.bubble().locator("a").all():
                    self.assertRegex(link.get_attribute("href"), "^https://example.invalid/")
        self.assertEqual([url for url in self.requests if "example.invalid" in url], [])
        self.page.reload()  # and not from the browser's store either
        expect(self.page.locator("#conversation-list li")).to_have_count(1)
        self.assert_inert()
        self.assertEqual(self.complaints, [])

    def test_markup_of_the_page_itself_from_text_is_an_error(self):
        self.assertEqual(self.page.evaluate("""() => { try { document.body.innerHTML = "<b>x</b>"; return "done"; }
            catch (error) { return error.name; } }"""), "TypeError")

    def test_large_hostile_answers_are_shown(self):
        """What took time with the square of their length would take this test to its end."""
        shown = self.page.evaluate("""async (texts) => {
            const { markdown } = await import("./markdown.js");
            return texts.map((text) => { const box = document.createElement("div"); box.append(...markdown(text));
                return box.childNodes.length; });
        }""", LARGE)
        self.assertGreater(min(shown), 0, shown)

    def test_several_pictures_are_a_strip_and_each_is_enlarged(self):
        self.page.set_input_files("#file", [str(PICTURE), str(ROOT / "demo/pictures/word.png"), str(PICTURE)])
        expect(self.page.locator("#pictures img")).to_have_count(3)
        self.shots("composer")
        self.answered_with("Three.")
        strip = self.page.locator(".message.user .strip.several")
        expect(strip.locator("img")).to_have_count(3)
        strip.get_by_role("button").nth(1).click()
        expect(self.page.locator("#zoom")).to_be_visible()
        expect(self.page.locator("#zoom-picture")).to_have_attribute("alt", "word.png")
        self.shots("zoom")
        before = self.page.locator("#zoom-picture").bounding_box()
        self.assertLessEqual(before["y"] + before["height"], 760)  # all of it is in the window
        self.page.click("#zoom-toggle")
        self.assertNotEqual(self.page.locator("#zoom-picture").bounding_box(), before)
        self.page.keyboard.press("Escape")
        expect(self.page.locator("#zoom")).to_be_hidden()

    def test_a_picture_by_address_is_the_servers_to_fetch(self):
        self.page.click("#link-open")
        self.page.fill("#link-address", "ftp://example.invalid/cat.png")
        self.page.keyboard.press("Enter")
        expect(self.page.locator("#link-problem")).to_contain_text("begins with https://")
        self.page.fill("#link-address", "https://example.invalid/cat.png")
        self.page.keyboard.press("Enter")
        expect(self.page.locator("#pictures .elsewhere")).to_have_text("cat.png")
        self.ask("What is it?")
        expect(self.page.locator(".message.failed .bubble")).to_contain_text("cannot use this picture, cat.png: ")
        expect(self.page.locator("#pictures li")).to_have_count(0)
        self.assertEqual([url for url in self.requests if "example.invalid" in url], [])

    def test_the_camera_takes_a_picture(self):
        flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        browser = self.playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS + flags)
        try:
            page = browser.new_page()
            page.goto(self.daemon.http)
            page.click("#camera-open")
            expect(page.locator("#camera-view")).to_have_js_property("readyState", 4)  # it has pictures
            page.click("#camera-take")
            expect(page.locator("#pictures img")).to_have_attribute("alt", "camera.jpg")
            expect(page.locator("#camera")).to_be_hidden()
            self.assertIsNone(page.evaluate("document.querySelector('#camera-view').srcObject"))  # it is off
        finally:
            browser.close()
        self.page.click("#camera-open")  # this browser has none
        expect(self.page.locator("#status")).to_have_text("No camera can be used here.")

    def test_settings_are_explained_and_kept_but_not_the_token(self):
        self.page.click("#settings-toggle")
        self.page.fill("#temperature", "0.7")
        self.page.fill("#token", "s3cret")
        self.shots("settings")
        for field in self.page.locator("#settings input").all():
            self.assertGreater(len(field.locator("xpath=../small").inner_text()), 10)
        self.page.reload()
        expect(self.page.locator("#temperature")).to_have_value("0.7")
        expect(self.page.locator("#token")).to_have_value("")
        self.page.click("#settings-toggle")
        self.page.click("#settings-reset")
        expect(self.page.locator("#temperature")).to_have_value("0")

    def test_keys_do_what_the_help_says(self):
        self.answered_with("Yes.")
        self.page.focus("#log")
        self.page.keyboard.press("?")
        expect(self.page.locator("#help")).to_be_visible()
        self.shots("help")
        self.page.keyboard.press("Escape")
        expect(self.page.locator("#help")).to_be_hidden()
        self.page.keyboard.press("Alt+k")
        expect(self.page.locator("#search")).to_be_focused()
        self.page.keyboard.press("Alt+s")
        expect(self.page.locator("#temperature")).to_be_focused()
        self.page.keyboard.press("Alt+s")
        expect(self.page.locator("#settings")).to_be_hidden()
        self.page.keyboard.press("Alt+q")
        expect(self.page.locator("#question")).to_be_focused()
        self.page.keyboard.type("?")
        expect(self.page.locator("#help")).to_be_hidden()
        self.page.keyboard.press("Alt+n")
        expect(self.page.locator(".message")).to_have_count(0)

    def test_three_languages(self):
        source = (ROOT / "server/api/web/texts.js").read_text()
        rows = re.findall(r'^  (\w+): (\[".*"\]),$', source, re.M)
        self.assertGreater(len(rows), 90)
        for key, row in rows:
            with self.subTest(key):
                texts = json.loads(row)
                self.assertEqual(len(texts), 3)
                self.assertEqual(len({tuple(sorted(re.findall(r"\{\w+\}", text))) for text in texts}), 1, "other names to fill in")
        for locale, words, other in (("de-DE", "Fragen Sie zu einem Bild", "zh"), ("zh-CN", "就图片提问", "de"), ("fr-FR", "Ask about a picture", "de")):
            with self.subTest(locale):
                page = self.browser.new_context(locale=locale, service_workers="block").new_page()
                page.goto(self.daemon.http)
                expect(page.locator("#welcome h2")).to_have_text(words)
                self.assertEqual(page.locator("html").get_attribute("lang"), locale[:2] if locale[:2] != "fr" else "en")
                page.click("#settings-toggle")
                page.select_option("#language", other)
                page.reload()
                self.assertEqual(page.locator("html").get_attribute("lang"), other)
                page.context.close()

    def test_every_control_has_a_name_for_those_who_hear_the_page(self):
        self.page.set_input_files("#file", [str(PICTURE), str(PICTURE)])
        self.answered_with(MARKDOWN)
        self.page.click("#settings-toggle")
        tree = self.context.new_cdp_session(self.page).send("Accessibility.getFullAXTree")["nodes"]
        controls = [node for node in tree if not node.get("ignored") and node["role"]["value"] in (
            "button", "textbox", "combobox", "spinbutton", "searchbox", "link", "image", "checkbox", "dialog", "log", "complementary", "MenuListPopup")]
        self.assertGreater(len(controls), 30)
        self.assertEqual([node["role"]["value"] for node in controls if not node.get("name", {}).get("value")
                          and node["role"]["value"] != "MenuListPopup"], [])
        for theme in ("light", "dark"):
            if self.page.locator("html").get_attribute("data-theme") != theme:
                self.page.click("#theme")
            faint = self.page.evaluate(CONTRAST)
            self.assertEqual(faint, [], theme)

    def test_it_is_installed_as_an_app_and_opens_without_the_server(self):
        context = self.browser.new_context()
        page = context.new_page()
        page.goto(self.daemon.http)
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        manifest = context.new_cdp_session(page).send("Page.getAppManifest")
        self.assertEqual(manifest["errors"], [])
        self.assertEqual(json.loads(manifest["data"])["display"], "standalone")
        problems = context.new_cdp_session(page).send("Page.getInstallabilityErrors")["installabilityErrors"]
        # Playwright's contexts are private windows, where Chromium installs nothing.
        self.assertLessEqual({problem["errorId"] for problem in problems}, {"in-incognito"})
        kept = set(page.evaluate("caches.open('page').then((c) => c.keys()).then((all) => all.map((r) => new URL(r.url).pathname))"))
        names = {path.name for path in (ROOT / "server/api/web").iterdir()} - {"CMakeLists.txt", "embed.cmake", "web_files.h", "openapi.json",
                                                                               "index.html", "worker.js"}
        self.assertEqual(kept, {"/"} | {"/" + name for name in names})
        context.set_offline(True)
        page.reload()
        expect(page.locator("#welcome h2")).to_be_visible()
        expect(page.locator("#status")).to_contain_text("cannot be reached")
        context.close()

    def test_all_files_together_are_small(self):
        self.assertLess(sum(path.stat().st_size for path in (ROOT / "server/api/web").iterdir()), 300 * 1024)


# Texts whose contrast with what is behind them is below WCAG's 4.5.
CONTRAST = """() => {
  const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return { r, g, b, a }; };
  const light = ({ r, g, b }) => { const [x, y, z] = [r, g, b].map((v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * x + .7152 * y + .0722 * z; };
  const behind = (node) => { for (; node; node = node.parentElement) { const c = parse(getComputedStyle(node).backgroundColor); if (c.a === 1) return c; }
    return { r: 255, g: 255, b: 255 }; };
  return [...document.querySelectorAll("body *")].filter((n) => n.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !n.disabled &&
      [...n.childNodes].some((c) => c.nodeType === 3 && c.data.trim()))
    .map((n) => { const [a, b] = [light(parse(getComputedStyle(n).color)), light(behind(n))].sort((x, y) => y - x);
      return [n.localName, n.className, n.textContent.slice(0, 30), (a + .05) / (b + .05)]; }).filter((row) => row[3] < 4.5);
}"""

if __name__ == "__main__":
    main()
