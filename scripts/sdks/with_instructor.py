"""instructor: an object of a Pydantic model about a picture, by a schema and by tools, whole and streamed.

Usage: with_instructor.py BASE_URL PICTURE
"""
import base64
import sys
from typing import Literal

import instructor
from openai import OpenAI
from pydantic import BaseModel, ConfigDict, Field


class Scene(BaseModel):
    model_config = ConfigDict(extra="forbid")  # else JSON Schema lets a small model go on with properties of its own

    shape: Literal["circle", "square", "triangle", "cross"]
    count: int = Field(ge=1, le=3)
    is_photograph: bool


base_url, picture = sys.argv[1:]
url = "data:image/jpeg;base64," + base64.b64encode(open(picture, "rb").read()).decode()
MESSAGES = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}},
                                         {"type": "text", "text": "What shapes are there, and how many?"}]}]
for mode in (instructor.Mode.JSON_SCHEMA, instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT):
    client = instructor.from_openai(OpenAI(base_url=base_url, api_key="none"), mode=mode)
    asked = {"model": "demo", "messages": MESSAGES, "max_tokens": 200, "temperature": 0, "max_retries": 0}
    scene, answer = client.chat.completions.create_with_completion(response_model=Scene, **asked)
    assert isinstance(scene, Scene) and answer.usage.completion_tokens > 0, answer
    print(f"ok   instructor {mode.name}: {scene.model_dump_json()}")
    parts = list(client.chat.completions.create_partial(response_model=Scene, **asked))
    assert parts[-1].model_dump() == scene.model_dump(), (parts[-1], scene)
    print(f"ok   instructor {mode.name}: the same in {len(parts)} parts")
