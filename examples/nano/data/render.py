"""The V4 chat encoding (spec 5.2) for training text, split where the loss changes.

Covers what the generators produce: one system message with optional tools, user, assistant
(reasoning, content, tool calls) and tool results.  tests/nano compares it with the published
encoding cases.
"""
import json
import os

BAR, LOW = "\uff5c", "\u2581"
BOS, EOS = f"<{BAR}begin{LOW}of{LOW}sentence{BAR}>", f"<{BAR}end{LOW}of{LOW}sentence{BAR}>"
USER, ASSISTANT, DSML = f"<{BAR}User{BAR}>", f"<{BAR}Assistant{BAR}>", f"{BAR}DSML{BAR}"
HERE = os.path.dirname(os.path.abspath(__file__))

Segments = list[tuple[str, bool]]  # text, and whether it is the model's to say


def dumps(value) -> str:
    return json.dumps(value, ensure_ascii=False)


def tools_block(tools: list[dict]) -> str:
    """The published text around the tools' schemas, one JSON object per line."""
    with open(os.path.join(HERE, "tools_block.txt"), encoding="utf-8") as f:
        template = f.read()
    return template.replace("{tool_schemas}", "\n".join(dumps(t["function"]) for t in tools))


def call_text(calls: list[dict]) -> str:
    """Tool calls in DSML: raw strings, everything else as JSON."""
    out = []
    for call in calls:
        lines = [f'<{DSML}invoke name="{call["name"]}">']
        for key, value in call["arguments"].items():
            raw = isinstance(value, str)
            text = value if raw else dumps(value)
            lines.append(f'<{DSML}parameter name="{key}" string="{"true" if raw else "false"}">{text}'
                         f"</{DSML}parameter>")
        out.append("\n".join(lines + [f"</{DSML}invoke>"]))
    body = "\n".join(out)
    return f"\n\n<{DSML}tool_calls>\n{body}\n</{DSML}tool_calls>"


def assistant(message: dict, thinking: bool, keep_reasoning: bool) -> Segments:
    """`<Assistant>` and the think mark are given; what follows is the model's."""
    shown = thinking and keep_reasoning
    text = (message.get("reasoning", "") + "</think>") if shown else ""
    text += message.get("content", "")
    if message.get("calls"):
        text += call_text(message["calls"])
    return [(ASSISTANT + ("<think>" if shown else "</think>"), False), (text + EOS, True)]


def render(example: dict) -> Segments:
    """{"messages": [...], "tools": [...], "thinking": bool} -> segments."""
    messages, tools = example["messages"], example.get("tools")
    thinking = example.get("thinking", False)
    last_user = max(i for i, m in enumerate(messages) if m["role"] in ("user", "tool"))
    out: Segments = [(BOS, False)]
    for i, m in enumerate(messages):
        if m["role"] == "system":
            out.append((m["content"] + ("\n\n" + tools_block(tools) if tools else ""), False))
        elif m["role"] == "user":
            out.append((USER + m["content"], False))
        elif m["role"] == "tool":
            out.append((f'{USER}<tool_result>{m["content"]}</tool_result>', False))
        else:
            out += assistant(m, thinking, bool(tools) or i > last_user)
    return out


def prose(text: str) -> Segments:
    """Plain text: everything is to be predicted."""
    return [(BOS, False), (text + EOS, True)]
