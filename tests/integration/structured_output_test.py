"""Answers that have a form, over real sockets: what is asked for is what comes, or the error says why not."""
import enum
import json
import os
import random
import re
import typing
import unittest
from concurrent.futures import ThreadPoolExecutor

import grpc
import jsonschema
import openai
import pydantic
from langchain_openai import ChatOpenAI

from daemon_process import Daemon, generated_client
from http_requests import CHAT, error_of, http, question
from random_schemas import random_schema

pb, pb_grpc = generated_client()
HELLO = [{"role": "user", "content": "Hello"}]
RANDOM_SCHEMAS = int(os.environ.get("SCHEMAS", 150))


class Colour(str, enum.Enum):
    RED = "red"
    BLUE = "blue"


class Item(pydantic.BaseModel):
    name: str = pydantic.Field(pattern="^[a-z]{1,6}$")
    price: float = pydantic.Field(ge=0, lt=100, multiple_of=0.25)
    colour: Colour


class Receipt(pydantic.BaseModel):
    """What the cashier printed."""
    items: list[Item] = pydantic.Field(min_length=1, max_length=3)
    paid: bool
    currency: typing.Literal["EUR", "CNY"]
    note: str | None = pydantic.Field(max_length=5)


class Poll(pydantic.BaseModel):
    """Types whose schemas have words that the grammar engine lacks."""
    model_config = pydantic.ConfigDict(extra="forbid")
    id: pydantic.UUID4
    key: pydantic.SecretStr = pydantic.Field(max_length=4)
    colours: set[Colour]
    order: list[Colour] = pydantic.Field(min_length=2, json_schema_extra={"uniqueItems": True})
    votes: dict[typing.Literal["yes", "no"], bool]
    part: str = pydantic.Field(max_length=6, json_schema_extra={"pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"})  # as Decimal's


class StructuredOutputTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(config="max_n: 8\n")
        cls.client = openai.OpenAI(base_url=cls.daemon.addresses["http"] + "/v1", api_key="none", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        assert cls.daemon.stop() == 0

    def ask(self, daemon=None, **fields):
        body = {"messages": HELLO, "max_tokens": 400, "temperature": 1, "seed": 1, **fields}
        return http(daemon or self.daemon, CHAT, body)

    def texts(self, **fields):
        status, _, text = self.ask(**fields)
        self.assertEqual(status, 200, text)
        choices = json.loads(text)["choices"]
        self.assertEqual({choice["finish_reason"] for choice in choices}, {"stop"}, choices)
        return [choice["message"]["content"] for choice in choices]

    def of_schema(self, schema, **fields):
        return self.texts(response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}, **fields)

    def assert_refused(self, param, message, **fields):
        status, _, text = self.ask(**fields)
        error = error_of(text)
        self.assertEqual((status, error["param"]), (400, param), error)
        self.assertTrue(error["message"].startswith(param + ": "), error)
        self.assertIn(message, error["message"])

    def test_answers_to_random_schemas_parse_and_validate(self):
        seed = int(os.environ.get("SEED", 1))
        print("SEED", seed, "SCHEMAS", RANDOM_SCHEMAS)

        def answer(number):
            schema = random_schema(random.Random(seed * 1_000_000 + number))
            try:
                for text in self.of_schema(schema, seed=number, n=2):
                    jsonschema.Draft202012Validator(schema).validate(json.loads(text))
            except Exception as error:
                raise AssertionError(f"{number}: {json.dumps(schema)}") from error
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(answer, range(RANDOM_SCHEMAS)))

    def test_regular_expressions_choices_and_grammars(self):
        for text in self.texts(structured_outputs={"regex": "[0-9]{3}-(ab|ü)+"}, n=4, max_tokens=120):
            self.assertRegex(text, r"^[0-9]{3}-(ab|ü)+$")
        for choices in (["yes", "no", "maybe \"so\""], [" two", "  three"], ["1"], ["ä", "äö"]):
            self.assertIn(self.texts(structured_outputs={"choice": choices})[0], choices)
        grammar = 'start: "(" start ")" | "x"'
        for text in self.texts(structured_outputs={"grammar": grammar}, n=4):
            self.assertTrue(re.fullmatch(r"\(*x\)*", text) and text.count("(") == text.count(")"), text)
        self.assertIsInstance(json.loads(self.texts(structured_outputs={"json": '{"type": "boolean"}'})[0]), bool)

    def test_pictures_streams_and_log_probabilities(self):
        schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 999}},
                  "required": ["n"], "additionalProperties": False}
        form = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema, "strict": True}}
        asked = {"model": "golden", "messages": question("How many?", "landscape.png"), "response_format": form, "n": 3,
                 "temperature": 1.5, "seed": 5, "presence_penalty": 0.5, "logprobs": True, "top_logprobs": 2,
                 "extra_body": {"repetition_penalty": 1.2}}
        whole = self.client.chat.completions.create(**asked)
        texts = [""] * 3
        for event in self.client.chat.completions.create(**asked, stream=True):
            for choice in event.choices:
                texts[choice.index] += choice.delta.content or ""
        self.assertEqual(texts, [choice.message.content for choice in whole.choices])
        for choice in whole.choices:
            jsonschema.validate(json.loads(choice.message.content), schema)
            self.assertTrue(choice.logprobs.content)

    def test_a_cut_answer_says_so(self):
        status, _, text = self.ask(response_format={"type": "json_object"}, max_tokens=2)
        choice = json.loads(text)["choices"][0]
        self.assertEqual((status, choice["finish_reason"]), (200, "length"))
        with self.assertRaises(openai.LengthFinishReasonError):
            self.client.chat.completions.parse(model="golden", messages=HELLO, response_format=Receipt, max_tokens=3)

    def test_the_form_is_that_of_what_is_generated(self):
        """Behind an answer that was begun the form begins anew: what is there already is no part of it."""
        begun = [*HELLO, {"role": "assistant", "content": "{\"a\": "}]
        schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
        for fields in ({}, {"continue_final_message": True, "add_generation_prompt": False}):
            for text in self.of_schema(schema, messages=begun, n=3, **fields):
                jsonschema.validate(json.loads(text), schema)
            self.assertIn(self.texts(structured_outputs={"choice": ["1}", "[2]}"]}, messages=begun, **fields)[0], ("1}", "[2]}"))
        # The prompt has it all the same: it is what the answer goes on with.
        def prompt_tokens(messages):
            return json.loads(self.ask(messages=messages, structured_outputs={"choice": ["x"]})[2])["usage"]["prompt_tokens"]
        self.assertGreater(prompt_tokens(begun), prompt_tokens(HELLO))

    def test_counts_may_be_written_as_floats(self):
        schema = {"type": "array", "items": {"type": "string", "minLength": 1.0, "maxLength": 2.0}, "minItems": 2.0, "maxItems": 2e0}
        for text in self.of_schema(schema, n=2):
            jsonschema.validate(json.loads(text), schema)

    def test_stop_strings_cut_too(self):
        answer = self.texts(structured_outputs={"choice": ["abcabc"]}, stop=["ca"])
        self.assertEqual(answer, ["ab"])

    def test_openai_parse_and_langchain_with_pydantic(self):
        for seed in range(5):
            parsed = self.client.chat.completions.parse(
                model="golden", messages=HELLO, response_format=Receipt, max_tokens=400, seed=seed, temperature=1)
            self.assertIsInstance(parsed.choices[0].message.parsed, Receipt)
        model = ChatOpenAI(base_url=self.daemon.addresses["http"] + "/v1", api_key="none", model="golden", max_tokens=400)
        receipt = model.with_structured_output(Receipt, method="json_schema").invoke("Hello")
        self.assertIsInstance(receipt, Receipt)

    def test_what_the_engine_has_no_words_for_comes_as_pydantic_asks(self):
        for text in self.of_schema(Poll.model_json_schema(), n=6):
            jsonschema.validate(json.loads(text), Poll.model_json_schema())
            poll = Poll.model_validate_json(text)
            self.assertEqual((poll.id.version, len(set(poll.order))), (4, 2))

    def test_grpc_gives_the_same(self):
        schema = '{"enum": ["a", "b", "c", [1, 2]]}'
        request = pb.ChatRequest(messages=[pb.ChatMessage(role=pb.ROLE_USER, parts=[pb.MessagePart(text="Hello")])],
                                 sampling=pb.SamplingOptions(temperature=1, seed=1, max_tokens=400))
        forms = [(pb.AnswerFormat(json_schema=schema), {"json": json.loads(schema)}),
                 (pb.AnswerFormat(regex="a{2,9}"), {"regex": "a{2,9}"}),
                 (pb.AnswerFormat(choice=pb.AnswerFormat.Choice(texts=["x", "y"])), {"choice": ["x", "y"]}),
                 (pb.AnswerFormat(grammar='start: "u" | "v" start'), {"grammar": 'start: "u" | "v" start'})]
        with self.daemon.channel() as channel:
            stub = pb_grpc.ChatServiceStub(channel)
            for form, outputs in forms:
                request.format.CopyFrom(form)
                self.assertEqual([stub.Chat(request).choices[0].text], self.texts(structured_outputs=outputs), form)
            request.format.CopyFrom(pb.AnswerFormat(json_schema='{"items": {"not": {}}}'))
            with self.assertRaises(grpc.RpcError) as refused:
                stub.Chat(request)
            self.assertEqual(refused.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
            self.assertIn("format.json_schema: #/items/not: the keyword is not supported", refused.exception.details())

    def test_what_is_not_supported_is_named(self):
        place = "response_format.json_schema.schema"
        def schema(text):
            return {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": text}}}
        for keyword, value in {"not": {}, "if": {}, "contains": {}, "unevaluatedProperties": False,
                               "dependentRequired": {}, "$dynamicRef": "#", "made-up": 1, "x-guidance": {}}.items():
            self.assert_refused(place, f"#/properties/a/{keyword}: the keyword is not supported",
                                **schema({"properties": {"a": {keyword: value}}}))
        self.assert_refused(place, "#/properties/a/uniqueItems: is supported where items are an enum",
                            **schema({"properties": {"a": {"items": {"type": "string"}, "uniqueItems": True}}}))
        self.assert_refused(place, "strung", **schema({"type": "strung"}))
        self.assert_refused("response_format.type", "\"xml\" is not supported", response_format={"type": "xml"})
        self.assert_refused("response_format.json_schema.schema", "expected a JSON Schema",
                            response_format={"type": "json_schema", "json_schema": {"name": "s"}})
        self.assert_refused("structured_outputs.regex", "cannot be used together with structured_outputs.json_object",
                            structured_outputs={"json_object": True, "regex": "a"})
        self.assert_refused("structured_outputs.structural_tag", "is not supported", structured_outputs={"structural_tag": {}})
        self.assert_refused("structured_outputs.regex", "regex", structured_outputs={"regex": "("})
        self.assert_refused("structured_outputs.grammar", "Lark", structured_outputs={"grammar": 'root ::= "a"'})
        self.assert_refused("min_tokens", "says itself when the answer ends", response_format={"type": "json_object"}, min_tokens=3)
        self.assert_refused("ignore_eos", "says itself when the answer ends", response_format={"type": "json_object"}, ignore_eos=True)

    def test_hostile_forms_are_refused_and_hold_nobody_up(self):
        nested = {}
        for _ in range(60):
            nested = {"items": nested}
        forms = [{"regex": "((((a{1,1000}){1,1000}){1,1000}){1,1000})"}, {"regex": "(" * 5000}, {"regex": "a" * 70_000},
                 {"json": {"allOf": [{"anyOf": [{"minimum": i}, {"maxLength": i}]} for i in range(40)]}},
                 {"json": {"type": "array", "minItems": 10**9}}, {"json": {"type": "string", "pattern": "(a|b)*a(a|b){30}"}},
                 {"json": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}, {"grammar": "start: start start | \"a\""},
                 {"grammar": "start: r0\n" + "".join(f"r{i}: r{i + 1} | r{i + 1} r{i + 1}\n" for i in range(300)) + 'r300: "a"'},
                 {"json": json.dumps(nested)}, {"choice": [str(i) for i in range(1025)]}]
        with ThreadPoolExecutor(4) as pool:
            for status, _, text in pool.map(lambda form: self.ask(structured_outputs=form, max_tokens=20), forms):
                self.assertIn(status, (200, 400), text)
        self.assertEqual(self.texts(structured_outputs={"choice": ["well"]}), ["well"])

    def test_preempted_answers_keep_their_form(self):
        schema = {"type": "array", "items": {"enum": ["one", 2, {"three": None}]}, "minItems": 20, "maxItems": 24}
        form = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
        with Daemon(kv_cache="1MiB", config="max_n: 8\nmax_running: 64\n") as daemon:
            def answer(seed):
                return self.ask(daemon, response_format=form, seed=seed, n=6, messages=[{"role": "user", "content": f"{seed}"}])
            with ThreadPoolExecutor(12) as pool:
                answers = list(pool.map(answer, range(24)))
            preempted = sum(value for name, value in daemon.metrics().items() if name.startswith("llava_preemptions"))
            self.assertGreater(preempted, 0)
        for seed, (status, _, text) in enumerate(answers):
            self.assertEqual(status, 200, text)
            for choice in json.loads(text)["choices"]:
                self.assertEqual(choice["finish_reason"], "stop")
                jsonschema.validate(json.loads(choice["message"]["content"]), schema)
            alone = self.ask(response_format=form, seed=seed, n=6, messages=[{"role": "user", "content": f"{seed}"}])[2]
            self.assertEqual([c["message"]["content"] for c in json.loads(alone)["choices"]],
                             [c["message"]["content"] for c in json.loads(text)["choices"]])


if __name__ == "__main__":
    unittest.main(verbosity=2)
