"""Real HTTP clients against the daemon."""
import asyncio
import json
import subprocess
import typing
import unittest
from http.client import HTTPResponse

import openai
from langchain_openai import ChatOpenAI
from openai.types import chat
from openai.types.chat import completion_create_params as params

from daemon_process import IMAGES, Daemon, generated_client
from http_requests import connect, error_of, http, question, read_all

pb, pb_grpc = generated_client()


def literals(hint):
    """The values that a type hint lists, those inside of objects left out."""
    if typing.get_origin(hint) is typing.Literal:
        return list(typing.get_args(hint))
    return [value for part in typing.get_args(hint) for value in literals(part)]


class HttpClientsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon("--step-ms", "2", config="max_message_bytes: 2MiB\ndraft_tokens: 0\n")
        cls.client = openai.OpenAI(base_url=cls.daemon.addresses["http"] + "/v1", api_key="none", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        assert cls.daemon.stop() == 0

    def complete(self, messages, **options):
        return self.client.chat.completions.create(model="golden", messages=messages, **options)

    def test_openai_whole_streamed_and_async_agree_with_grpc(self):
        messages = question("What is this?", "landscape.png")
        whole = self.complete(messages, max_tokens=16)
        streamed = list(self.complete(messages, max_tokens=16, stream=True, stream_options={"include_usage": True}))
        text = "".join(c.choices[0].delta.content or "" for c in streamed if c.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(streamed[-1].usage.completion_tokens, 16)
        for timings in (streamed[-1].usage.model_extra["timings"], whole.usage.model_extra["timings"]):
            self.assertEqual(set(timings), {f"{name}_seconds" for name in ("queue", "encode", "prefill", "decode")})
            self.assertGreater(timings["decode_seconds"], 15 * 0.002)  # the daemon's steps take 2 ms
        self.assertEqual(whole.choices[0].finish_reason, "length")

        async def several():
            async with openai.AsyncOpenAI(base_url=self.daemon.addresses["http"] + "/v1", api_key="none") as client:
                return await asyncio.gather(*[client.chat.completions.create(
                    model="golden", messages=messages, max_tokens=16) for _ in range(16)])
        for answer in asyncio.run(several()):
            self.assertEqual(answer.choices[0].message.content, text)

        with self.daemon.channel() as channel:
            part = pb.MessagePart
            answer = pb_grpc.ChatServiceStub(channel).Chat(pb.ChatRequest(
                messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=[
                    part(image=(IMAGES / "landscape.png").read_bytes()), part(text="What is this?")])],
                sampling=pb.SamplingOptions(max_tokens=16)))
        self.assertEqual(answer.choices[0].text, text)
        self.assertRegex(whole.system_fingerprint, f"^{answer.model_version}-.+-fake$")
        self.assertGreater(self.complete(question("Which colours?", "landscape.png"), max_tokens=2)
                           .usage.prompt_tokens_details.cached_tokens, 0)

    def test_the_same_tokens_over_grpc_and_http(self):
        options = dict(temperature=0.8, top_p=0.9, seed=77, n=2, presence_penalty=0.3, frequency_penalty=0.2,
                       stop=["zzz"], logit_bias={"400": 2.5}, logprobs=True, top_logprobs=3)
        answer = self.complete(question("What is this?", "landscape.png"), max_completion_tokens=24,
                               extra_body={"return_token_ids": True, "ignore_eos": True, "min_p": 0.01, "top_k": 50,
                                           "repetition_penalty": 1.1}, **options)
        part = pb.MessagePart
        request = pb.ChatRequest(
            n=2, return_token_ids=True,
            messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=[
                part(image=(IMAGES / "landscape.png").read_bytes()), part(text="What is this?")])],
            sampling=pb.SamplingOptions(temperature=0.8, top_p=0.9, seed=77, presence_penalty=0.3, frequency_penalty=0.2,
                                        stop=["zzz"], logit_bias={400: 2.5}, top_logprobs=3, max_tokens=24, ignore_eos=True,
                                        min_p=0.01, top_k=50, repetition_penalty=1.1))
        with self.daemon.channel() as channel:
            other = pb_grpc.ChatServiceStub(channel).Chat(request)
        for mine, theirs in zip(answer.choices, other.choices, strict=True):
            self.assertEqual(mine.model_extra["token_ids"], list(theirs.token_ids))
            self.assertEqual(mine.message.content, theirs.text)
            for token, entry in zip(mine.logprobs.content, theirs.logprobs, strict=True):
                self.assertAlmostEqual(token.logprob, entry.logprob, places=5)
                self.assertEqual([bytes(t.bytes) for t in token.top_logprobs], [t.token for t in entry.top])
        self.assertEqual(answer.usage.completion_tokens, other.usage.generated_tokens)

    def test_stop_and_seed(self):
        hello = [{"role": "user", "content": "Hello"}]
        whole = self.complete(hello, max_tokens=24, extra_body={"ignore_eos": True}).choices[0].message.content
        word = whole.split()[3]
        cut = self.complete(hello, max_tokens=24, stop=word, extra_body={"ignore_eos": True}).choices[0]
        self.assertEqual((cut.message.content, cut.finish_reason), (whole[:whole.index(word)], "stop"))
        one, two, three = (self.complete(hello, max_tokens=24, temperature=1, seed=seed).choices[0].message.content
                           for seed in (1, 1, 2))
        self.assertEqual(one, two)
        self.assertNotEqual(one, three)

    def test_curl(self):
        body = json.dumps({"messages": [{"role": "user", "content": "What is this?"}], "max_tokens": 4})
        url = self.daemon.addresses["http"] + "/v1/chat/completions"
        def curl(*args):
            return subprocess.run(["curl", "-sS", "--fail-with-body", *args, url], capture_output=True, check=True).stdout
        plain = json.loads(curl("-d", body))
        self.assertEqual(plain["usage"]["completion_tokens"], 4)
        form = json.loads(curl("-F", "request=" + body, "-F", f"image=@{IMAGES / 'landscape.png'}"))
        self.assertEqual(form["usage"]["prompt_tokens_details"]["image_tokens"], 16)
        self.assertTrue(curl("-N", "-d", body[:-1] + ', "stream": true}').endswith(b"data: [DONE]\n\n"))

    def test_langchain(self):
        chat = ChatOpenAI(base_url=self.daemon.addresses["http"] + "/v1", api_key="none", model="golden",
                          temperature=0, max_tokens=6)
        self.assertEqual(chat.invoke("Hello").content, "".join(c.content for c in chat.stream("Hello")))

    def test_options(self):
        answer = self.complete([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
                               n=2, temperature=1, seed=5, max_completion_tokens=4, logprobs=True, top_logprobs=2,
                               presence_penalty=0.5, logit_bias={"5": 1}, user="alice", stop=["zzz"],
                               extra_body={"return_token_ids": True, "ignore_eos": True})
        self.assertEqual(len(answer.choices), 2)
        for choice in answer.choices:
            self.assertEqual(len(choice.logprobs.content), 4)
            self.assertEqual(len(choice.logprobs.content[0].top_logprobs), 2)
            self.assertEqual(len(choice.model_extra["token_ids"]), 4)

    def test_errors_name_the_field(self):
        hello = [{"role": "user", "content": "Hello"}]
        def picture(url):
            return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
        wrong = {
            "temperature": [1000, "hot"], "top_p": [-0.1, 2], "top_k": [-2], "min_p": [2], "repetition_penalty": [0],
            "presence_penalty": [3], "frequency_penalty": [-3], "max_tokens": [0, 1.5], "max_completion_tokens": [0],
            "min_tokens": [999], "seed": ["x"], "n": [0, 99], "stream": [1], "ignore_eos": ["no"], "return_token_ids": [1],
            "logprobs": [1], "top_logprobs": [2, -1], "stop": [1, ["x"] * 17], "priority": ["urgent"], "user": [7, "u" * 300],
            "model": [1], "no_such": [1], "stream_options": [1], "logit_bias": [1], "messages": ["x", []],
            "tools": [7], "tool_choice": ["required", 7, "f"], "parallel_tool_calls": ["no"], "functions": [[{}]], "function_call": [{"name": "f"}], "audio": [{"voice": "x"}],
            "response_format": ["json", {}], "modalities": [["audio"]], "prediction": [{"type": "content"}],
            "web_search_options": [{}], "reasoning_effort": ["high"], "verbosity": ["low"], "best_of": [2], "cache_salt": [7, "s" * 257],
            "moderation": [{}], "stop_token_ids": [1, [1] * 1025], "continue_final_message": [True], "skip_special_tokens": [False]}
        cases = [({"messages": hello, name: value}, 400, name) for name, values in wrong.items() for value in values] + [
            ({}, 400, "messages"), (b"{", 400, None), (b"[1]", 400, None), ({"messages": hello, "model": "nobody"}, 404, "model"),
            ({"messages": hello, "logprobs": True, "top_logprobs": 21}, 400, "top_logprobs"),
            ({"messages": hello, "max_completion_tokens": 1, "max_tokens": 0}, 400, "max_tokens"),
            ({"messages": hello, "stop": [""]}, 400, "stop[0]"),
            ({"messages": hello, "stop_token_ids": [-1]}, 400, "stop_token_ids[0]"),
            ({"messages": hello, "stop_token_ids": [5, 999999]}, 400, "stop_token_ids[1]"),
            ({"messages": hello, "logit_bias": {"x": 1}}, 400, "logit_bias.x"),
            ({"messages": hello, "logit_bias": {"5": 101}}, 400, "logit_bias[5]"),
            ({"messages": hello, "logit_bias": {"999999": 1}}, 400, "logit_bias[999999]"),
            ({"messages": hello, "stream_options": {"x": 1}}, 400, "stream_options.x"),
            ({"messages": [{"content": "x"}]}, 400, "messages[0].role"), ({"messages": [{"role": "user"}]}, 400, "messages[0].content"),
            ({"messages": [{"role": "user", "content": []}]}, 400, "messages[0].content"),
            ({"messages": [{**hello[0], "tool_calls": [{}]}]}, 400, "messages[0].tool_calls[0].function"),
            ({"messages": [{"role": "tool", "content": "x"}]}, 400, "messages[0].tool_call_id"),
            ({"messages": [{"role": "robot", "content": "x"}]}, 400, "messages[0].role"),
            (b'{"messages": [], "stop_token_ids": [' + b"1," * 400_000 + b"1]}", 400, None),
            ({"messages": [{"role": "user", "content": "word " * 5000}]}, 400, "messages"),
            ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, 400, "messages[0].content[0]"),
            *[({"messages": picture(url)}, 400, "messages[0].content[0].image_url.url") for url in
              ("http://169.254.169.254/", "data:image/png;base64,!", "data:image/png;base64,AAAA", "data:,x", "cid:x", "ftp://x")]]
        for body, status, param in cases:
            with self.subTest(body=body):
                got, _, text = http(self.daemon, "/v1/chat/completions", body)
                error = json.loads(text)["error"]
                self.assertEqual((got, error["param"]), (status, param), error)
                self.assertTrue(param is None or error["message"].startswith(param + ": "), error)
        status, _, text = http(self.daemon, "/v1/chat/completions", {"messages": hello}, headers={"X-Tenant": "t" * 300})
        self.assertEqual((status, json.loads(text)["error"]["param"]), (400, "X-Tenant"))
        for method in ("GET", "PUT", "DELETE", "PATCH"):
            status, headers, _ = http(self.daemon, "/v1/chat/completions", method=method)
            self.assertEqual((status, headers["Allow"]), (405, "POST"))
        self.assertEqual(http(self.daemon, "/nothing")[0], 404)
        self.assertEqual(http(self.daemon, "/v1/chat/completions", b"x" * (3 << 20))[0], 413)

    def test_what_asks_for_nothing_is_no_error(self):
        hello = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
        for more in ({"top_k": -1}, {"top_p": 0}, {"top_logprobs": 0}, {"prompt_cache_retention": "24h"},
                     {"prompt_cache_options": {"ttl": "30m"}}, {"moderation": None}, {"reasoning_effort": "none"},
                     {"best_of": 1, "skip_special_tokens": True, "chat_template_kwargs": {}, "priority": 0},
                     {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}}):
            with self.subTest(more=more):
                self.assertEqual(http(self.daemon, "/v1/chat/completions", {**hello, **more})[0], 200)

    def test_roles_in_any_order(self):
        def say(*messages):
            return [{"role": role, "content": content} for role, content in messages]
        def tokens(messages):
            return self.complete(messages, max_tokens=2).usage.prompt_tokens
        self.assertGreater(tokens(say(("system", "A"), ("system", "B"), ("user", "hi"))), tokens(say(("system", "A"), ("user", "hi"))))
        tokens(say(("user", "hi"), ("assistant", "yo"), ("system", "Be terse"), ("user", "and?")))
        tokens(say(("system", "Say a word")))
        begun, asked = tokens(say(("user", "hi"), ("assistant", "The"))), tokens(say(("user", "hi")))
        self.assertGreater(begun, asked)

    def test_the_rest_of_an_answer_keeps_the_space_in_front_of_it(self):
        """Llama's tokenizers drop the space before the first word of an answer, not between two of its words."""
        fields = {"max_tokens": 4, "temperature": 1.5, "n": 8, "logprobs": True, "seed": 3}
        hello = {"role": "user", "content": "Hello"}

        def texts(*messages):
            """(what was said, what its tokens stand for) of each answer"""
            _, _, text = http(self.daemon, "/v1/chat/completions", {"messages": [hello, *messages], **fields})
            return [(choice["message"]["content"], bytes(byte for token in choice["logprobs"]["content"] for byte in token["bytes"]))
                    for choice in json.loads(text)["choices"]]
        rests = texts({"role": "assistant", "content": "It is"})
        self.assertTrue(any(tokens.startswith(b" ") for _, tokens in rests), rests)
        for said, tokens in rests:
            self.assertEqual(said.startswith(" "), tokens.startswith(b" "), (said, tokens))
        for said, tokens in texts():
            self.assertFalse(said.startswith(" ") and not tokens.startswith(b"  "), (said, tokens))

    def test_every_field_of_the_reference_is_known(self):
        """Of the pinned openai package: a new field or value is looked at here before a client sends it."""
        hello = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
        hints = typing.get_type_hints(params.CompletionCreateParamsBase)
        refused = set()
        for field, hint in sorted(hints.items()):
            values = [None, *(literals(hint) if field != "model" else [])]  # OpenAI's models are not here
            for value in values if field != "messages" else []:
                with self.subTest(field=field, value=value):
                    sent = [value] if field == "modalities" and value else value
                    status, _, text = http(self.daemon, "/v1/chat/completions", {**hello, field: sent})
                    if status != 200:
                        self.assertEqual((status, json.loads(text)["error"]["param"]), (400, field), text)
                        refused.add((field, value))
        self.assertEqual(refused, {
            ("modalities", "audio"), ("tool_choice", "required"), ("verbosity", "low"), ("verbosity", "high"),
            *(("reasoning_effort", effort) for effort in ("minimal", "low", "medium", "high", "xhigh", "max"))})

    def test_every_field_of_a_message_and_of_stream_options_is_known(self):
        for role, kind in (("system", chat.ChatCompletionSystemMessageParam), ("developer", chat.ChatCompletionDeveloperMessageParam),
                           ("user", chat.ChatCompletionUserMessageParam), ("assistant", chat.ChatCompletionAssistantMessageParam)):
            message = {**dict.fromkeys(typing.get_type_hints(kind)), "role": role, "content": "Hello"}
            with self.subTest(message=message):
                self.assertEqual(http(self.daemon, "/v1/chat/completions", {"messages": [message], "max_tokens": 1})[0], 200)
        options = dict.fromkeys(typing.get_type_hints(chat.ChatCompletionStreamOptionsParam))
        body = {"messages": question("Hello"), "max_tokens": 1, "stream": True, "stream_options": options}
        self.assertEqual(http(self.daemon, "/v1/chat/completions", body)[0], 200)

    def test_faults_of_json_have_a_place(self):
        _, _, text = http(self.daemon, "/v1/chat/completions", b'{\n "messages": [}\n')
        self.assertIn("line 2, column 15", json.loads(text)["error"]["message"])

    def test_a_first_line_that_is_none_is_said_to_be_one(self):
        for line, why in ((b"GET / HTTP/2.0", "expected HTTP/1.0 or HTTP/1.1 at its end"), (b"GET /", "expected METHOD TARGET HTTP/1.1")):
            with connect(self.daemon) as connection:
                connection.sendall(line + b"\r\nHost: x\r\n\r\n")
                head, body = read_all(connection).split(b"\r\n\r\n")
            self.assertTrue(head.startswith(b"HTTP/1.1 400 "), head)
            self.assertIn(why, error_of(body)["message"])

    def test_a_later_minor_version_of_http(self):
        with connect(self.daemon) as connection:
            for version in (2, 9, 1):  # one after the other, on one connection
                connection.sendall(b"GET /v1/models HTTP/1.%d\r\nHost: x\r\n\r\n" % version)
                answer = HTTPResponse(connection)
                answer.begin()
                self.assertEqual((answer.status, answer.version, "golden" in answer.read().decode()), (200, 11, True))

    def test_a_refusal_that_comes_back_is_what_was_said(self):
        def tokens(*messages):
            return self.complete([{"role": "user", "content": "Hello"}, *messages, {"role": "user", "content": "Why?"}],
                                 max_tokens=2).usage.prompt_tokens
        refused = {"role": "assistant", "content": None, "refusal": "I cannot say that."}
        self.assertEqual(tokens(refused), tokens({"role": "assistant", "content": "I cannot say that."}))
        self.assertEqual(tokens({"role": "assistant", "content": "Yes.", "refusal": None}), tokens({"role": "assistant", "content": "Yes."}))

    def test_one_model(self):
        model = self.client.models.retrieve("golden")
        self.assertEqual((model.id, model.object, model.owned_by), ("golden", "model", "llavad"))
        status, _, text = http(self.daemon, "/v1/models/nobody")
        self.assertEqual((status, json.loads(text)["error"]["param"]), (404, "model"))
        self.assertEqual(http(self.daemon, "/v1/models/golden@" + model.model_extra["version"][:8])[0], 200)

    def test_a_stream_says_how_it_is_to_be_passed_on(self):
        body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2, "stream": True,
                "stream_options": {"include_usage": True}}
        _, headers, text = http(self.daemon, "/v1/chat/completions", body)
        self.assertEqual(headers["X-Accel-Buffering"], "no")
        events = [json.loads(line[6:]) for line in text.decode().splitlines() if line.startswith("data: {")]
        self.assertTrue(all(event["usage"] is None for event in events[:-1]))
        self.assertEqual(events[-1]["usage"]["completion_tokens"], 2)

    def test_how_long_an_answer_may_be(self):
        hello = [{"role": "user", "content": "Hello"}]
        def tokens(**options):
            return json.loads(http(self.daemon, "/v1/chat/completions", {"messages": hello, "ignore_eos": True, **options})[2])[
                "usage"]["completion_tokens"]
        self.assertEqual((tokens(max_tokens=3), tokens(max_completion_tokens=4)), (3, 4))
        self.assertEqual((tokens(max_tokens=3, max_completion_tokens=4), tokens(max_completion_tokens=4, max_tokens=3)), (4, 4))
        self.assertEqual((tokens(max_tokens=3, max_completion_tokens=None), tokens()), (3, 256))
        self.assertEqual((tokens(max_tokens=3.0), tokens(max_tokens=1e1)), (3, 10))
        self.assertGreater(tokens(max_tokens=2**31 - 1), 400)  # then the context ends it

    def test_tokenize_and_back(self):
        tokens = json.loads(http(self.daemon, "/tokenize", {"prompt": "Hello there"})[2])["tokens"]
        text = json.loads(http(self.daemon, "/detokenize", {"tokens": tokens})[2])["prompt"]
        self.assertEqual(text, "Hello there")
        self.assertEqual(http(self.daemon, "/detokenize", {"tokens": [-1]})[0], 400)
        status, _, text = http(self.daemon, "/tokenize", {"prompt": "x" * (1 << 20) + "x"})  # max_text_bytes
        self.assertEqual((status, json.loads(text)["error"]["param"]), (400, "prompt"))
        for text in ("  two  spaces ", "\u00fcn\u00ef \u6f22\u5b57 \U0001f642", "line\nbreak\ttab", ""):
            for special in (True, False, None):
                body = {"prompt": text, "add_special_tokens": special, "model": None}
                tokens = json.loads(http(self.daemon, "/tokenize", body)[2])["tokens"]
                self.assertEqual(json.loads(http(self.daemon, "/detokenize", {"tokens": tokens})[2]), {"prompt": text})

    def test_the_page_is_served_with_a_strict_policy(self):
        status, headers, body = http(self.daemon, "/")
        self.assertEqual(status, 200)
        self.assertIn(b"<!doctype html>", body)
        self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
        for name in ("app.js", "api.js", "pictures.js", "style.css", "icon.svg"):
            self.assertEqual(http(self.daemon, "/" + name)[0], 200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
