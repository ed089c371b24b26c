"""The sample dialogues of the README, as llama.cpp answers greedily.

    python3 dialogues.py MODEL.gguf > dialogues.md
"""

import sys

from llama_server import Server

SYSTEM = "system: "
DIALOGUES = [
    ["Hi there!", "What can you do?"],
    ["My name is Ana.", "What is the capital of Norway?", "And of Spain?", "What is my name?"],
    ["What is 17 plus 25?", "7 * 8", "Which is bigger, 45 or 54?"],
    [SYSTEM + "Answer in one word.", "Could you tell me the currency of Japan?"],
    [SYSTEM + "Always end with: Have a nice day!", "What sound does an owl make?"],
    ["Extract the order: Please send 12 green lamps to Zoe before Friday."],
    [
        "Is this text positive, negative or neutral? The kettle broke after one day.",
        "Classify the intent: I forgot my password.",
    ],
    ["Tell me a story about a fox."],
    ["How do I make tea?"],
    ["Sort these words: tiger, apple, drum", "What is the first letter of banana?"],
    ["Tom has 9 pens and buys 4 more. How many pens does Tom have?"],
    ["What is the opposite of early?", "And cheap?", "What is the plural of knife?"],
    ["Paula has a red bicycle. Ivan has a blue tent. What does Ivan have?"],
    ["What is a language model?", "Is a tomato blue?", "Which word does not belong: piano, violin, carrot, flute?"],
    ["What is the capital of Zorbania?", "Write a poem about rain.", "Thanks, bye"],
    [SYSTEM + "Your name is Pixel.", "Who are you?"],
    ["When will my order arrive?", "Can I return an item?"],
]


def quote(role, text):
    print(f"> *{role}:* " + text.replace("\n", "  \n> ") + "  ")


def main(path):
    with Server(path) as server:
        for number, dialogue in enumerate(DIALOGUES, 1):
            print(f"\n**{number}.**\n")
            messages = []
            for text in dialogue:
                if text.startswith(SYSTEM):
                    text = text.removeprefix(SYSTEM)
                    messages.append(dict(role="system", content=text))
                    quote("system", text)
                    continue
                messages.append(dict(role="user", content=text))
                messages.append(dict(role="assistant", content=server.chat(messages)))
                quote("user", text)
                quote("assistant", messages[-1]["content"])


if __name__ == "__main__":
    main(*sys.argv[1:])
