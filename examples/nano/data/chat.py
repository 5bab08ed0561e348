"""Short chats: greetings, who are you, village talk, thanks, small arithmetic, and honest refusals."""
import random

from . import tales, worlds

# How something is asked, what is thought, what is said.
TALK = (
    (("Hello.", "Hi!", "Good morning.", "Hello there.", "Hey."), "A greeting.", "Hello! How can I help?"),
    (("How are you?", "How are you today?", "How do you do?"), "They ask how I am.", "I am well, thank you. And you?"),
    (("I am well.", "I am fine, thanks.", "Very well."), "They are well.", "I am glad to hear that."),
    (("Who are you?", "What are you?", "What is your name?", "Are you a person?"), "They ask who I am.",
     "I am a very small language model. I can answer questions about a text you give me."),
    (("Where do you live?", "Where are you?"), "They ask where I live.",
     "I live in your computer, and in my stories I live in a village."),
    (("What do you like?", "What do you like best?"), "They ask what I like.",
     "I like short stories with people, places and things."),
    (("Thanks!", "Thank you.", "Thank you very much."), "They thank me.", "You are welcome."),
    (("Goodbye.", "Bye!", "Good night."), "They are leaving.", "Goodbye! Come back soon."),
    (("Who is the king of France?", "What happened yesterday?", "What is the best film?", "Tell me a secret.",
      "Who won the match?", "What will the weather be tomorrow?"), "I have no text about that.",
     "I do not know. I can only tell you what is in the text you give me."),
    (("What can you do?", "Can you help me?", "What should I ask you?"), "They ask what I can do.",
     "I can answer questions about a story, find a code in a long text, sort lists and call tools."))


def turn(r: random.Random) -> tuple[str, str, str]:
    """User, reasoning, assistant; now and then a sum or a story."""
    kind = r.randrange(len(TALK) + 3)
    if kind < len(TALK):
        asked, thought, said = TALK[kind]
        return r.choice(asked), thought, said
    if kind == len(TALK):
        return r.choice(("Tell me a story.", "Please tell me a story.")), "They want a story.", tales.tale(r)
    a, b = r.randint(0, 9), r.randint(0, 9)
    return f"What is {a} plus {b}?", f"{a} plus {b} is {a + b}.", f"{a} plus {b} is {a + b}."


def example(r: random.Random) -> dict:
    messages = [{"role": "system", "content": r.choice(worlds.SYSTEM)}] if r.random() < 0.1 else []
    for _ in range(r.randint(2, 6)):
        user, reasoning, answer = turn(r)
        messages += [{"role": "user", "content": user},
                     {"role": "assistant", "reasoning": reasoning, "content": answer}]
    return {"messages": messages, "thinking": r.random() < 0.3}
