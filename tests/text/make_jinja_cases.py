#!/usr/bin/env python3
"""Renders every template of jinja_cases.json again with Transformers, in place.

    pip install transformers==5.23.0 jinja2==3.1.6
    python tests/text/make_jinja_cases.py

A new case needs only its "template". "rendered" is what apply_chat_template gives, null if it raises.
"""
import datetime
import json
from pathlib import Path

import jinja2
import transformers
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.utils import chat_template_utils

PATH = Path(__file__).parent / "jinja_cases.json"


def render(template: str, data: dict) -> str | None:
    class Tokenizer(PreTrainedTokenizerBase):
        def __init__(self):
            pass

        special_tokens_map = data["special_tokens"]
        chat_template = template

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.datetime.fromisoformat(data["now"])

    chat_template_utils.datetime = Clock
    try:
        return Tokenizer().apply_chat_template(
            data["messages"], tools=data["tools"], tokenize=False, add_generation_prompt=True, **data["kwargs"]
        )
    except Exception:
        return None


def main() -> None:
    data = json.loads(PATH.read_text())
    data["made_with"] = {"transformers": transformers.__version__, "jinja2": jinja2.__version__}
    cases = [{"template": case["template"], "rendered": render(case["template"], data)} for case in data.pop("cases")]
    head = "".join(f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in data.items())
    lines = ",\n".join(f"  {json.dumps(case)}" for case in cases)
    PATH.write_text(f'{{\n{head} "cases": [\n{lines}\n ]\n}}\n')


if __name__ == "__main__":
    main()
