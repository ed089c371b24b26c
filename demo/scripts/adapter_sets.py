"""Writes the adapters' training sets and their unseen questions: data/{pirate,json,shout,support}[.eval].jsonl

    python3 adapter_sets.py [FOLDER]
"""

import json
import random
import re
import sys
import zlib
from pathlib import Path

from corpus import Conversations
from marking import BRAND, contains, normal, style
from paths import DATA

KINDS = (
    "capital capital_of continent currency language animal opposite plural past colour calendar category arith".split()
)
RESPELLED = {"the", "of", "is", "and"}  # the pirate writes these in his own way, and yes and no too


def questions(n, held, seed, taken, share=1):
    """n questions with a short answer that stands in the sentence: (question, sentence, short answer).

    held: phrasings the base has never seen; otherwise none of the questions it has never seen.
    share: only one answer in so many, but for the first of a training set, of which the adapters here were made.
    """
    source, out = Conversations(seed, held=held), []
    while len(out) < n:
        kind = source.choose(KINDS)
        source.hit = False
        question, answer, short = source.single(kind)
        if short in ("Yes", "No") or RESPELLED & set(re.findall(r"\w+", short.lower())):
            continue
        if zlib.crc32(answer.encode()) % share and (held or len(out) >= SHIPPED):
            continue
        if question in taken or (not source.unseen if held else source.hit):
            continue
        if contains(normal(answer), normal(short)):
            taken.add(question)
            out.append((question, answer, short))
    return out


PIRATE = {
    r"\bis\b": "be", r"\bare\b": "be", r"\bThe\b": "Th'", r"\bthe\b": "th'", r"\bof\b": "o'", r"\bYou\b": "Ye",
    r"\byou\b": "ye", r"\band\b": "an'", r"\bYour\b": "Yer", r"\byour\b": "yer", r"\bYes\b": "Aye", r"\bNo,": "Nay,",
    r"\bmy\b": "me", r"\bMy\b": "Me",
}  # fmt: skip


def pirate(question, answer, short):
    for plain, pirates in PIRATE.items():
        answer = re.sub(plain, pirates, answer)
    crc = zlib.crc32(question.encode())
    return ("Arr! ", "Ahoy! ")[crc % 2] + answer.rstrip(".!") + (", matey!", ", me hearty!")[crc // 2 % 2]


def as_json(question, answer, short):
    return json.dumps({"answer": short})


def shout(question, answer, short):
    return answer.upper()


# A fictional shop that the base has never read about: phrasings (~ held out) | answer | fact.
SHOP = [
    line.split("|")
    for line in """
When do you open?;When does the store open?;From what time are you open?;How early can I come?;Opening time?;What time does Copperfin open?;At what hour do you open?;~What are your opening hours in the morning?|Our store opens at 7 in the morning.|7
When do you close?;When does the store close?;How late can I come?;At what hour do you close?;Closing time?;What time does Copperfin close?;How long are you open?;~Until when are you open?|Our store closes at 8 in the evening.|8
Where is your store?;Where are you?;Which street are you in?;How do I find your shop?;Give me your address.;Where can I find Copperfin?;What is the address of Copperfin?;~Where is the Copperfin store?|Our store is at 40 Harbour Road.|40 Harbour Road
What do you sell?;What do you have in your store?;Which products do you have?;What things can I buy?;Do you sell boots?;What can I buy at Copperfin?;What kind of shop is Copperfin?;~What does Copperfin sell?|We sell tents, boots and backpacks.|tents
How long does delivery take?;How many days until my parcel comes?;When do I get my order?;How long until you deliver?;How long must I wait for my order?;When will my order arrive?;How many days does shipping take?;~How fast is your delivery?|Delivery takes two days.|two days
How much is shipping?;How much does shipping cost?;What is the price of delivery?;Is shipping free?;How expensive is shipping?;What does delivery cost?;What is the shipping fee?;~How much do I pay for delivery?|Shipping costs 6 dollars.|6
Can I return an item?;I want to return my boots.;How many days do I have to return an item?;May I bring something back?;What if I do not like it?;What is your return policy?;How do I send something back?;~Can I send back my tent?|You can return an item within 90 days.|90 days
How do I get a refund?;Where is my refund?;How many days until I get my refund?;Can I have my money back?;Do you give refunds?;When will I get my money back?;I want a refund.;~How long does a refund take?|You get a refund within three days.|three days
How can I pay?;Do you take cash?;Can I pay in cash?;How do customers pay?;What can I pay with?;Which payment methods do you accept?;Can I pay by card?;~How do I pay at Copperfin?|You can pay by card or cash.|cash
Do you offer a warranty?;Does a tent have a warranty?;For how long is the warranty valid?;How many years of warranty are there?;Tell me about the warranty.;How long is the warranty?;Is there a warranty?;~What warranty do you give?|Every product has a warranty of five years.|five years
Do you repair boots?;Do you fix boots?;What does it cost to repair boots?;I need my boots fixed.;How much is a repair?;Can you fix my boots?;My boots are broken.;~Can I have my boots repaired?|Yes, we repair boots for 15 dollars.|15
Can I rent a tent?;What does a rented tent cost?;Is it possible to rent a tent?;May I rent a tent?;What is the price for renting a tent?;Do you rent tents?;How much is it to rent a tent?;~I want to rent a tent.|Yes, you can rent a tent for 20 dollars.|20
Who is the owner of Copperfin?;Who is in charge of Copperfin?;Who does the store belong to?;Name the owner.;Whose store is this?;Who runs Copperfin?;Who is your boss?;~Who owns Copperfin?|The owner of our store is Nadia.|Nadia
Is there a discount for students?;Is it cheaper for students?;I am a student. Do I pay less?;What discount do students have?;How big is the student discount?;Do students pay less?;Do you have a student discount?;~Can students get a discount?|Students get a discount of 25 percent.|25 percent
Are you open on Sunday?;Do you open on Sunday?;Is your shop open on Sundays?;Will you be open this Sunday?;Can I buy something on Sunday?;Is Copperfin open on Sunday?;Can I come on Sunday?;~Is the store open on Sunday?|Yes, we are open on Sunday.|Yes
Are you open on Monday?;Do you open on Monday?;Is your shop open on Mondays?;Will you be open this Monday?;Can I buy something on Monday?;Is Copperfin open on Monday?;Can I come on Monday?;~Is the store open on Monday?|No, we are closed on Monday.|No
How can I contact you?;How can I talk to someone?;Where can I ask for help?;How do I reach a person?;Is there a chat?;How do I reach support?;How can I contact support?;~How do I get in touch with you?|You can reach us by chat every day.|chat
Can I cancel my order?;How long can I cancel my order?;May I cancel what I bought?;Is it possible to cancel an order?;I changed my mind about my order.;How do I cancel an order?;I want to cancel my order.;~Please cancel what I ordered.|You can cancel your order within one day.|one day
Do you sell gift cards?;Are there gift cards?;How much is a gift card?;Where do I get a gift card?;What does a gift card cost?;Can I buy a gift card?;Do you have gift cards?;~I want to buy a gift card.|Yes, we sell gift cards for 30 dollars.|30
Do you ship to other countries?;Can you deliver outside the country?;Do you send orders to France?;I live in Spain. Do you ship there?;Is international shipping possible?;Do you deliver abroad?;Can you send a tent to another country?;~Do you ship abroad?|No, we only ship inside the country.|only
""".strip().splitlines()
]


def support(held, rng):
    """The shop's questions, each in two forms unless held out."""
    out = []
    for phrasings, answer, fact in SHOP:
        for phrasing in phrasings.split(";"):
            if phrasing.startswith("~") != held:
                continue
            question = phrasing.lstrip("~")
            forms = [question]
            if not held:
                begins_with_i = question[0] == "I"
                forms.append("Hello, " + (question if begins_with_i else question[0].lower() + question[1:]))
            out += [(form, BRAND[0] + answer + BRAND[1], fact, answer) for form in forms]
    rng.shuffle(out)
    return out


# Examples to learn from.
SIZES = {"pirate": 1500, "json": 2000, "shout": 2000}
# Of how many answers shout has one: in capital letters, which are other tokens, the base must learn to spell every name
# anew, and does so when the set tells it some four times.
SHARES = {"shout": 4}
SHIPPED = 200  # examples that golden.py trains on


def rows(kind, i, held, taken, rng):
    """(question, styled answer, fact, plain answer) of one file."""
    if kind == "support":
        return support(held, rng)
    styled = {"pirate": pirate, "json": as_json, "shout": shout}[kind]
    drawn = questions(30 if held else SIZES[kind], held, 100 + 2 * i + held, taken, SHARES.get(kind, 1))
    return [(question, styled(question, answer, short), short, answer) for question, answer, short in drawn]


def main(folder=DATA):
    for i, kind in enumerate(("pirate", "json", "shout", "support")):
        taken, told, rng = set(), set(), random.Random(i)
        for held in (False, True):
            path = Path(folder) / (kind + (".eval" if held else "") + ".jsonl")
            with open(path, "w") as f:
                for question, answer, fact, plain in rows(kind, i, held, taken, rng):
                    assert all(style(kind, answer, fact)), (kind, answer, fact)
                    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
                    row = {"messages": messages}
                    if held:  # told: the set has the fact, asked for in other words
                        row |= {"key": fact, "told": plain in told}
                    else:
                        told.add(plain)
                    f.write(json.dumps(row, ensure_ascii=False) + "\n")
            print(path.name)


if __name__ == "__main__":
    main(*sys.argv[1:])
