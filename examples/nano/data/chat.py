"""Short chats: greetings, who are you, thanks, small arithmetic, and honest refusals."""
import random

from . import worlds

GREET = ("Hello.", "Hi!", "Good morning.", "Hello there.", "Hey.")
WHO = ("Who are you?", "What are you?", "What is your name?", "Are you a person?")
I_AM = "I am a very small language model. I can answer questions about a text you give me."
BYE = ("Thanks!", "Thank you.", "Goodbye.", "Bye!")
UNKNOWN = ("Who is the king of France?", "What happened yesterday?", "What is the best film?", "Tell me a secret.",
           "Who won the match?", "What will the weather be tomorrow?")
SORRY = "I do not know. I can only tell you what is in the text you give me."
HELP = ("What can you do?", "Can you help me?", "What should I ask you?")
CAN = "I can answer questions about a story, find a code in a long text, sort lists and call tools."


def turn(r: random.Random) -> tuple[str, str, str]:
    """User, reasoning, assistant."""
    kind = r.randrange(6)
    if kind == 0:
        return r.choice(GREET), "A greeting.", "Hello! How can I help?"
    if kind == 1:
        return r.choice(WHO), "They ask who I am.", I_AM
    if kind == 2:
        return r.choice(BYE), "They are done.", "You are welcome."
    if kind == 3:
        return r.choice(UNKNOWN), "I have no text about that.", SORRY
    if kind == 4:
        return r.choice(HELP), "They ask what I can do.", CAN
    a, b = r.randint(0, 9), r.randint(0, 9)
    return f"What is {a} plus {b}?", f"{a} plus {b} is {a + b}.", f"{a} plus {b} is {a + b}."


def example(r: random.Random) -> dict:
    messages = [{"role": "system", "content": r.choice(worlds.SYSTEM)}] if r.random() < 0.1 else []
    for _ in range(r.randint(2, 6)):
        user, reasoning, answer = turn(r)
        messages += [{"role": "user", "content": user},
                     {"role": "assistant", "reasoning": reasoning, "content": answer}]
    return {"messages": messages, "thinking": r.random() < 0.3}
