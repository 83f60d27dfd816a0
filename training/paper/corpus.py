"""Texts that the language model is trained on before it has ever seen a picture: talk about pictures that are told, not shown."""
import json
import random

import questions
import world

SYSTEM = {
    "conversation": "Write a conversation about what you are told of a picture.",
    "detail": "Describe in detail what you are told of a picture.",
    "reasoning": "Write a question that needs thought about what you are told of a picture, and answer it.",
}


def reply(kind, truth, rng):
    """What the language model is to write about a context: as the paper's prompts ask for it."""
    if kind == "detail":
        return questions.detail(truth).answer
    asked = questions.conversation(truth, rng) if kind == "conversation" else [questions.reasoning(truth, rng)]
    return "\n===\n".join(f"Question:\n{a.question}\n===\nAnswer:\n{a.answer}" for a in asked)


def telling(kind, truth, rng):
    return [{"role": "system", "content": SYSTEM[kind]},
            {"role": "user", "content": world.context(truth, boxes=kind != "conversation")},
            {"role": "assistant", "content": reply(kind, truth, rng)}]


def talk(truth, rng):
    """Many questions and answers behind one caption: what is true of it is then most of what is learned."""
    asked = questions.conversation(truth, rng, turns=6) + [questions.reasoning(truth, rng) for _ in range(2)]
    if rng.random() < 0.5:
        asked.append(questions.detail(truth))
    rng.shuffle(asked)
    turns = []
    for number, one in enumerate(asked):
        told = f"{truth.caption()}\n" if number == 0 else ""
        turns += [{"role": "user", "content": told + one.question}, {"role": "assistant", "content": one.answer}]
    return turns


def write(path, rows, seed):
    rng = random.Random(seed)
    with open(path, "w") as file:
        for number in range(rows):
            truth = world.invent(rng)
            kind = rng.choice(["conversation", "detail", "reasoning", "talk", "talk", "talk"])
            turns = talk(truth, rng) if kind == "talk" else telling(kind, truth, rng)
            file.write(json.dumps({"id": f"text-{number}", "messages": turns}) + "\n")
