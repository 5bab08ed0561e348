#!/usr/bin/env python3
"""Golden prompts of V4.1 conversations with images, made with the published encoder.

    make_image_chats.py ENCODING.py > golden/chat/images.v41.json

ENCODING.py is encoding/encoding.py of the published DeepSeek-V4.1 checkpoint (MIT License,
Copyright (c) DeepSeek), which is not part of this tree.  Of each case the file holds the
conversation, "thinking" and "effort", the "text" that the encoder makes of it, and "order": which
image, counted by message and part, each placeholder stands for.  The encoder itself hands images
out by message even where it has put tool results in the order of their calls; so "order" comes
from a second run, with texts in the place of images.
"""
import copy
import importlib.util
import json
import re
import sys


def image(n):
    return {"type": "image_url", "image_url": {"url": "image:%d" % n}}


def source(n):
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "%d" % n}}


def text(t):
    return {"type": "text", "text": t}


def user(*parts, **more):
    return dict(role="user", content=list(parts) if len(parts) != 1 or isinstance(parts[0], dict) else parts[0], **more)


def said(t, **more):
    return dict(role="assistant", content=t, **more)


def call(id, name, arguments):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(id, content):
    return {"role": "tool", "tool_call_id": id, "content": content}


TOOLS = [{"type": "function", "function": {
    "name": name, "description": what,
    "parameters": {"type": "object", "properties": {"page": {"type": "integer"}, "where": {"type": "string"}}}}}
    for name, what in (("screenshot", "Shows the screen."), ("zoom", "Shows a part, larger."))]
SYSTEM = {"role": "system", "content": "You see pictures.", "tools": TOOLS}

CASES = [
    ("image, then text", False, None, [user(image(0), text("What is this?"))]),
    ("text around an image", True, None, [user(text("Before."), image(0), text("After."))]),
    ("three images in a row", False, None, [user(image(0), image(1), image(2))]),
    ("an image alone", True, "low", [user(source(0))]),
    ("images of two turns, old reasoning dropped", True, "max",
     [user(image(0), text("And this?")), said("A cat.", reasoning_content="Whiskers."),
      user(text("Compare:"), image(1), text("Well?"))]),
    ("the same in chat mode", False, None,
     [user(image(0), text("And this?")), said("A cat.", reasoning_content="Whiskers."),
      user(text("Compare:"), image(1), text("Well?"))]),
    ("a tool answers with an image", True, None,
     [SYSTEM, user("Look at the screen."),
      said("", reasoning_content="I call it.", tool_calls=[call("a", "screenshot", '{"page": 2}')]),
      result("a", [image(0)])]),
    ("text and image of a tool, text of the user behind", False, None,
     [SYSTEM, user(image(0), text("Is it like this?")),
      said("Let me see.", tool_calls=[call("a", "zoom", {"where": "left", "page": 1})]),
      result("a", [text("left half"), image(1), text("done")]), user(text("And now?"), image(2))]),
    ("results in the order of their calls, not of the messages", True, 30,
     [SYSTEM, user(image(0), text("Both pages.")),
      said("", reasoning_content="Two calls.",
           tool_calls=[call("x", "screenshot", '{"page": 1}'), call("y", "screenshot", '{"page": 2}')]),
      result("y", [text("page 2"), image(1)]), result("x", [image(2), image(3)])]),
    ("a tool result inside a user's blocks", False, None,
     [user("Go."), said("", tool_calls=[call("q", "zoom", "{}")]),
      {"role": "user", "content_blocks": [
          {"type": "tool_result", "tool_use_id": "q", "content": [text("see"), source(0)]}, image(1), text("So?")]}]),
    ("user messages that follow each other are one turn", False, None,
     [user(image(0)), user("What?"), user(text("And:"), image(1))]),
    ("a system message behind images", True, None,
     [{"role": "system", "content": "Be brief."}, user(image(0), image(1)), {"role": "system", "content": "In German."}]),
    ("a reminder before the question", False, None,
     [user(image(0), text("First.")), said("Yes."), {"role": "latest_reminder", "content": "2026-11-28"},
      user(image(1), text("Second."))]),
    ("a title for a conversation with an image", False, None, [user(image(0), text("Name it."), task="title")]),
    ("an action behind an image, thinking", True, None, [user(image(0), text("Search?"), task="action")]),
    ("a part that is not known stands beside an image", False, None,
     [user({"type": "input_audio", "input_audio": {"data": ""}}, image(0), text("Hm"))]),
    ("empty texts around an image", False, None, [user(text(""), image(0), text(""))]),
    ("a schema for the answer and letters of many kinds", True, "high",
     [{"role": "system", "content": "JSON.", "response_format": {"type": "object", "title": "\u00e9"}},
      user(image(0), text("\u65e5\u672c\u8a9e \U0001f600 <image>"))]),
]


def numbered(messages):
    """The messages with texts <<0>>, <<1>>, ... in the place of images."""
    count = 0

    def walk(value):
        nonlocal count
        if isinstance(value, list):
            return [walk(v) for v in value]
        if isinstance(value, dict):
            if value.get("type") in ("image", "image_url"):
                count += 1
                return text("<<%d>>" % (count - 1))
            return {k: walk(v) for k, v in value.items()}
        return value
    return walk(copy.deepcopy(messages))


def main():
    spec = importlib.util.spec_from_file_location("encoding_v41", sys.argv[1])
    encoder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(encoder)
    out = []
    for name, thinking, effort, messages in CASES:
        def encode(m):
            return encoder.encode_messages(copy.deepcopy(m), "thinking" if thinking else "chat",
                                           reasoning_effort=effort)
        order = [int(n) for n in re.findall(r"<<(\d+)>>", encode(numbered(messages)))]
        out.append({"name": name, "thinking": thinking, "effort": effort, "messages": messages,
                    "text": encode(messages), "order": order})
    print("[\n" + ",\n".join(json.dumps(c) for c in out) + "\n]")


if __name__ == "__main__":
    main()
