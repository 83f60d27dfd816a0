"""A check of our own: what fits the document is refused for nothing but what a schema cannot say."""
import re

import schemathesis

REASONS = re.compile("|".join([
    r"messages\[\d+\]: expected ",  # whose images
    r"(continue_final_message|add_generation_prompt): is (true|false), but the last message ",
    r"messages\[\d+\]\.content\[\d+\]\.image_url\.url: ",  # no picture, or none that may be fetched
    r"(X-Tenant|user|cache_salt): (has \d+ bytes|is \".*\"), expected ",  # bytes, which a schema does not count
    r"stop(\[\d+\])?: \d+ bytes, expected ",
    r"min_tokens: \d+ is not between 0 and max_tokens$",
    r"top_logprobs: needs logprobs: true$",
    r"(logit_bias\[\d+\]|stop_token_ids\[\d+\]): \d+ is no token id, expected 0 to ",
    r"tokens\[\d+\]: is \S+, expected a token id in ",
    r"messages: expected characters of Unicode, found U\+",  # of planes that have none
    r"(response_format|structured_outputs)\b.*: ",  # of schemas, regular expressions and grammars
    r"(min_tokens|ignore_eos): cannot be used with (response_format|structured_outputs|tool_choice)",
    r"tool_choice: (needs tools|auto is not supported|\"[^\"]*\" is not among tools)",
    r"tools(\[\d+\])?: (the name|cannot be used together|#|parameters: |has more than)",  # names that are there twice, forms
    r"messages\[\d+\]\.(content: is .*, expected text|content: is missing|refusal: |tool_calls|tool_call_id: )",  # of which role, and which were made
    r"correction: (has <image>|is not valid UTF-8|\d+ bytes, expected )",
    r"after: is '.*, expected the id of an entry of this list$",
    r"choices\[\d+\]: (adds no token|has \d+ tokens, but|prompt: expected fewer than)",
    r".+: (a \w+ picture|the picture|not a picture)",  # a part of a form
    r"the form: a part has no name, ",
]))


@schemathesis.check
def refused_only_for_what_a_schema_cannot_say(ctx, response, case):
    if case.meta is not None and case.meta.generation.mode.is_positive and response.status_code == 400:
        message = response.json()["error"]["message"]
        assert REASONS.match(message), message
