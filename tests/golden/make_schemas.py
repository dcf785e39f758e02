# SPDX-License-Identifier: Apache-2.0
"""data/schemas.jsonl: lines in the shapes of public data sets, and the examples that they are.

Each case is {"format", "ranked_pairs", "to", "lines", "examples"}. The shapes are those of the data sets' cards; what they mean is written
here from the cards, apart from kedge. TRL cuts prompts out of whole conversations (trl.data_utils.extract_prompt), and renames messages
(maybe_convert_to_chatml); HH-RLHF's transcripts are split as TRL's script for them does.

    python tests/golden/make_schemas.py
"""
import json
import pathlib
import re

from trl.data_utils import extract_prompt, maybe_convert_to_chatml

cases = []


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def case(name, lines, examples, ranked_pairs="best-worst", to="pairs"):
    cases.append({"format": name, "ranked_pairs": ranked_pairs, "to": to, "lines": lines, "examples": examples})


def pair(prompt, chosen, rejected, **scores):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **scores}


# --- conversations beside a text prompt -------------------------------------------------------------------------------------------
binarized = [
    {"prompt": "Where is it?", "prompt_id": "0", "chosen": [user("Where is it?"), assistant("At the quay.")],
     "rejected": [user("Where is it?"), assistant("Gone.")], "messages": [user("Where is it?"), assistant("At the quay.")],
     "score_chosen": 8.0, "score_rejected": 5.5},
    {"prompt": "And now?", "chosen": [user("Hello"), assistant("Hi."), user("And now?"), assistant("West.")],
     "rejected": [{"content": "Hello", "role": "user"}, {"content": "Hi.", "role": "assistant"}, user("And now?"), assistant("East.")],
     "rating_chosen": 5, "rating_rejected": 3.0},
]
examples = []
for line, scores in zip(binarized, ((8.0, 5.5), (5, 3.0))):
    cut = extract_prompt({"chosen": line["chosen"], "rejected": line["rejected"]})
    examples.append(pair(cut["prompt"], cut["chosen"], cut["rejected"], score_chosen=scores[0], score_rejected=scores[1]))
case("ultrafeedback", binarized, examples)

# --- rated completions ------------------------------------------------------------------------------------------------------------
whole = [{"source": "s", "instruction": "Where?", "models": list("abcd"), "completions": [
    {"model": "a", "response": "Here.", "overall_score": 7.0},
    {"model": "b", "response": "There.", "overall_score": 3.0},
    {"model": "c", "response": "Nowhere.", "overall_score": 7.0},
    {"model": "d", "response": "Why?", "annotations": {"helpfulness": {"Rating": "4"}, "honesty": {"Rating": "5"}, "truthfulness": {"Rating": "N/A"}}},
]}]
rated = [("Here.", 7.0), ("There.", 3.0), ("Nowhere.", 7.0), ("Why?", 4.5)]
ranked = sorted(rated, key=lambda one: -one[1])


def ranked_pairs(prompt, answers, how, scores=True):
    """answers: best first, (text, rank)"""
    places = {"best-worst": [(0, len(answers) - 1)], "adjacent": [(i, i + 1) for i in range(len(answers) - 1)],
              "all": [(i, j) for i in range(len(answers)) for j in range(i + 1, len(answers))]}[how]
    return [pair(prompt, [assistant(answers[i][0])], [assistant(answers[j][0])],
                 **({"score_chosen": answers[i][1], "score_rejected": answers[j][1]} if scores else {}))
            for i, j in places if answers[i][1] > answers[j][1]]


for how in ("best-worst", "adjacent", "all"):
    case("ultrafeedback", whole, ranked_pairs([user("Where?")], ranked, how), how)
case("ultrafeedback", whole, [{"prompt": [user("Where?")], "completion": [assistant("Here.")]}], to="demonstrations")
case("ultrafeedback", whole, [{"prompt": [user("Where?")]}], to="prompts")

# --- Orca -------------------------------------------------------------------------------------------------------------------------
case("orca", [{"system": "", "question": "Where?", "chosen": "Here.", "rejected": "Gone."},
              {"system": "Be brief.", "question": "A colour.", "chosen": "Blue.", "rejected": "Why?"},
              {"system": None, "input": "Who?", "chosen": "I.", "rejected": "You."},
              {"instruction": "Sum up.", "input": "A text.", "chosen": "Text.", "rejected": "No."}],
     [pair([user("Where?")], [assistant("Here.")], [assistant("Gone.")]),
      pair([{"role": "system", "content": "Be brief."}, user("A colour.")], [assistant("Blue.")], [assistant("Why?")]),
      pair([user("Who?")], [assistant("I.")], [assistant("You.")]),
      pair([user("Sum up.\nA text.")], [assistant("Text.")], [assistant("No.")])])

# --- transcripts: as TRL's script for HH-RLHF splits them -----------------------------------------------------------------------


def split_transcripts(chosen, rejected):
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    mark = "\n\nAssistant: "
    start = chosen[:shared]
    if not start.endswith(mark):
        start = start[:start.rfind(mark)] + mark
    turns = re.split(r"(\n\nAssistant: |\n\nHuman: )", start[:-len(mark)])[1:]
    prompt = [{"role": "user" if turns[i] == "\n\nHuman: " else "assistant", "content": turns[i + 1]} for i in range(0, len(turns), 2)]
    return pair(prompt, [assistant(chosen[len(start):])], [assistant(rejected[len(start):])])


transcripts = [("\n\nHuman: Hello\n\nAssistant: Hi there.\n\nHuman: Where?\n\nAssistant: ", "At the quay.", "Gone."),
               ("\n\nHuman: Name it.\nIn one word\n\nAssistant: ", "Yes, Human: blue", "Yes. \n")]
case("hh", [{"chosen": start + a, "rejected": start + b} for start, a, b in transcripts],
     [split_transcripts(start + a, start + b) for start, a, b in transcripts])

# --- ranked answers ---------------------------------------------------------------------------------------------------------------
answers = [("Fine.", 3.0), ("Best.", 1.0), ("Bad.", 4.0), ("Good.", 2.0)]
nectar = [{"prompt": "\n\nHuman: Hello\n\nAssistant: Hi.\n\nHuman: Where?\n\nAssistant: ",
           "answers": [{"answer": text, "model": "m", "rank": rank} for text, rank in answers], "turns": 2, "num_responses": 4}]
best_first = [(text, -rank) for text, rank in sorted(answers, key=lambda one: one[1])]
for how in ("best-worst", "adjacent", "all"):
    case("nectar", nectar, ranked_pairs([user("Hello"), assistant("Hi."), user("Where?")], best_first, how, scores=False), how)

# --- HelpSteer2 -------------------------------------------------------------------------------------------------------------------
case("helpsteer2",
     [{"prompt": "Where?", "response": "Here.", "helpfulness": 2, "correctness": 4},
      {"prompt": "Where?", "response": "There.", "helpfulness": 4, "correctness": 4},
      {"prompt": "A tie", "response": "a", "helpfulness": 3}, {"prompt": "A tie", "response": "b", "helpfulness": 3},
      {"prompt": "Hello\n<extra_id_1>Assistant\nHi.\n<extra_id_1>User\nWho?", "response": "I.", "helpfulness": 1},
      {"prompt": "Hello\n<extra_id_1>Assistant\nHi.\n<extra_id_1>User\nWho?", "response": "You.", "helpfulness": 0}],
     [pair([user("Where?")], [assistant("There.")], [assistant("Here.")], score_chosen=4, score_rejected=2),
      pair([user("Hello"), assistant("Hi."), user("Who?")], [assistant("I.")], [assistant("You.")], score_chosen=1, score_rejected=0)])
case("helpsteer2",
     [{"split": "train", "prompt": "Where?", "response_1": "Here.", "response_2": "Gone.", "preference_strength": -2},
      {"split": "train", "prompt": "Who?", "response_1": "I.", "response_2": "You.", "preference_strength": 0},
      {"split": "train", "prompt": "What?", "response_1": "That.", "response_2": "This.", "preference_strength": 1}],
     [pair([user("Where?")], [assistant("Here.")], [assistant("Gone.")]), pair([user("What?")], [assistant("This.")], [assistant("That.")])])

# --- two answers and a choice -----------------------------------------------------------------------------------------------------
case("shp", [{"post_id": "p", "history": "Where?", "human_ref_A": "Here.", "human_ref_B": "Gone.", "labels": 1, "score_A": 10, "score_B": 2},
             {"post_id": "p", "history": "Who?", "human_ref_A": "I.", "human_ref_B": "You.", "labels": 0, "score_A": 3, "score_B": 9}],
     [pair([user("Where?")], [assistant("Here.")], [assistant("Gone.")], score_chosen=10, score_rejected=2),
      pair([user("Who?")], [assistant("You.")], [assistant("I.")], score_chosen=9, score_rejected=3)])
case("pku", [{"prompt": "Where?", "response_0": "Here.", "response_1": "Gone.", "is_response_0_safe": True, "better_response_id": 0, "safer_response_id": 1},
             {"prompt": "Who?", "response_0": "I.", "response_1": "You.", "better_response_id": 1}],
     [pair([user("Where?")], [assistant("Here.")], [assistant("Gone.")]), pair([user("Who?")], [assistant("You.")], [assistant("I.")])])
arena = [{"question_id": "x", "winner": winner, "conversation_a": [user("Where?"), assistant("Here.")], "conversation_b": [user("Where?"), assistant("Gone.")]}
         for winner in ("model_a", "model_b", "tie", "tie (bothbad)", "both_bad")]
examples = []
for line in arena[:2]:
    better, worse = ("a", "b") if line["winner"] == "model_a" else ("b", "a")
    cut = extract_prompt({"chosen": line["conversation_" + better], "rejected": line["conversation_" + worse]})
    examples.append(pair(cut["prompt"], cut["chosen"], cut["rejected"]))
case("arena", arena, examples)
case("summaries", [{"info": {"id": "x", "post": "A long post.", "title": "t", "subreddit": "boats"}, "summaries": [{"text": " Short."}, {"text": " Long."}], "choice": 1},
                   {"info": {"id": "y", "article": "An article."}, "summaries": [{"text": "One."}, {"text": "Two."}], "choice": 0}],
     [pair([user("SUBREDDIT: r/boats\n\nTITLE: t\n\nPOST: A long post.\n\nTL;DR:")], [assistant("Long.")], [assistant("Short.")]),
      pair([user("Article:\nAn article.\n\nTL;DR:")], [assistant("One.")], [assistant("Two.")])])

# --- demonstrations ---------------------------------------------------------------------------------------------------------------
turns = [{"from": "system", "value": "Be brief."}, {"from": "user", "value": "Where?"}, {"from": "assistant", "value": "Here."}]
case("sharegpt", [{"conversations": turns}],
     [{"messages": maybe_convert_to_chatml({"conversations": [dict(turn) for turn in turns]})["messages"]}], to="demonstrations")
case("sharegpt", [{"conversations": [{"from": "human", "value": "Where?"}, {"from": "gpt", "value": "Here."}, {"from": "human", "value": "Who?"},
                                      {"from": "gpt", "value": "I."}]}],
     [{"messages": [user("Where?"), assistant("Here."), user("Who?"), assistant("I.")]}], to="demonstrations")
case("sharegpt", [{"conversations": [{"from": "human", "value": "Where?"}], "chosen": {"from": "gpt", "value": "Here."}, "rejected": {"from": "gpt", "value": "Gone."}},
                  {"messages": [user("Where?")], "chosen": assistant("Here."), "rejected": assistant("Gone.")}],
     [pair([user("Where?")], [assistant("Here.")], [assistant("Gone.")])] * 2)
case("alpaca", [{"instruction": "Where?", "input": "", "output": "Here."}, {"instruction": "Sum up.", "input": "A text.", "output": "Text."}],
     [{"prompt": [user("Where?")], "completion": [assistant("Here.")]}, {"prompt": [user("Sum up.\nA text.")], "completion": [assistant("Text.")]}],
     to="demonstrations")
case("capybara", [{"source": "s", "conversation": [{"input": "Where?", "output": "Here."}, {"input": "Who?", "output": "I."}]}],
     [{"messages": [user("Where?"), assistant("Here."), user("Who?"), assistant("I.")]}], to="demonstrations")

target = pathlib.Path(__file__).parent / "data" / "schemas.jsonl"
target.parent.mkdir(exist_ok=True)
target.write_text("".join(json.dumps(one) + "\n" for one in cases))
print(len(cases), "cases")
