"""Say parts of the corpus over again as conversations, so that the base has seen its chat template.

Nothing is invented: every question is a heading, a docstring, a title or a customer's own sentence with
a few words around it, and every answer is text of the same document. What is held out stays held out:
documents are shaped within their own split, and a customer topic is wholly in one split or the other.
"""

from __future__ import annotations

import ast
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from corpus import ASSISTANT, END, SYSTEM, USER, Part, hashed

Turns = list[tuple[str, str]]

LONGEST_ANSWER, SHORTEST_ANSWER = 1400, 60
TOPIC = re.compile(r"^# (?:Customer questions|What people say|What people ask)[^:]*: (.+)$", re.MULTILINE)
DULL_HEADINGS = re.compile(
    r"^(introduction|overview|examples?|summary|note|learning (outcomes|objectives)|see also|related .*|"
    r"prerequisites|details.*|more information|additional .*|symptoms?|cause|resolution|status|key .*|"
    r"(section|chapter) .*|next steps?|remarks|details of .*|how to filter .*|workaround|procedure.*|"
    r"[ivxlc]+|part .*|conclusion|references|exercises?|.{0,4}|.{90,})$",
    re.IGNORECASE,
)
VERB = re.compile(
    r"^(Add|Allocate|Apply|Approve|Archive|Assign|Block|Calculate|Cancel|Change|Check|Choose|Clear|Close|Configure|"
    r"Connect|Convert|Copy|Correct|Create|Customi[sz]e|Define|Delete|Deploy|Design|Disable|Display|Edit|Enable|Enter|"
    r"Export|Filter|Find|Fix|Follow|Format|Generate|Import|Install|Invoice|Link|Maintain|Make|Manage|Modify|Monitor|"
    r"Move|Open|Perform|Plan|Post|Prepare|Print|Process|Protect|Publish|Receive|Reconcile|Record|Recover|Register|"
    r"Remove|Rename|Report|Request|Reset|Resolve|Restore|Return|Reverse|Review|Revoke|Run|Save|Schedule|Search|Select|"
    r"Sell|Send|Set up|Set|Settle|Share|Specify|Start|Stop|Submit|Sync|Test|Track|Transfer|Turn|Uninstall|Update|"
    r"Upgrade|Upload|Use|Validate|Verify|View|Work with|Write) [^:]+$"
)
SYSTEMS = {
    "support": [
        "You are a help desk. Answer the customer's question.",
        "You are a support assistant. Be brief and clear.",
    ],
    "finance": [
        "You explain business and finance in plain words.",
        "You answer questions about accounting and money.",
    ],
    "general": ["You explain things in plain words.", "You are a helpful teacher."],
    "literature": ["You tell stories.", "You are a storyteller."],
    "code": ["You write Python.", "You are a programming assistant. Answer with code."],
    "topics": ["Name what the customer wants.", "Sort customer questions by topic."],
    "rephrase": ["Say the same thing in other words.", "Ask the customer's question in another way."],
}


def render(turns: Turns) -> str:
    """A conversation as the template writes it, less the opening token, which the packer adds."""
    return "\n".join(f"{role}\n{text}{END}" for role, text in turns)


def conversation(part: str, question: str, answer: str, dice: random.Random) -> str:
    """One question and its answer; one time in four under a system turn."""
    turns = [(USER, question), (ASSISTANT, answer)]
    if dice.random() < 0.25:
        turns.insert(0, (SYSTEM, dice.choice(SYSTEMS[part])))
    return render(turns)


def clipped(text: str, limit: int = LONGEST_ANSWER) -> str:
    """Whole paragraphs of `text` up to the limit; empty where the first one alone is longer."""
    kept, length = [], 0
    for paragraph in text.strip().split("\n\n"):
        length += len(paragraph) + 2
        if length > limit:
            break
        kept.append(paragraph)
    return "\n\n".join(kept).strip()


def ask(heading: str, dice: random.Random) -> str:
    """A heading as somebody would ask it."""
    heading = re.sub(r"\s*\([A-Z]\w+\)$|^To (?=[a-z])|^\d+[.)] ", "", heading).strip()
    if heading.endswith("?"):
        return heading
    heading = heading[0].upper() + heading[1:]
    how = re.match(r"^How to (.+)$", heading)
    if how or VERB.match(heading):
        task = how.group(1) if how else heading[0].lower() + heading[1:]
        forms = ["How do I {}?", "How can I {}?", "I want to {}. How does that work?", "How to {}?",
                 "What do I have to do to {}?", "Please help me {}.", "I need to {}."]  # fmt: skip
        return dice.choice(forms).format(task)
    about = re.sub(r"^About ", "", heading)
    forms = ["Tell me about {}.", "What should I know about {}?", "Explain: {}.", "{}?", "I have a question about {}.",
             "Can you tell me more about {}?", "What can you say about {}?"]  # fmt: skip
    return dice.choice(forms).format(about)


def sections(document: str) -> Iterator[tuple[str, str, str]]:
    """(title, heading, text below it) of a document in Markdown."""
    title = ""
    for match in re.finditer(r"^(#{1,3}) (.+)\n\n?((?:(?!#{1,3} ).*\n?)*)", document, re.MULTILINE):
        level, heading, text = match.groups()
        title = heading if len(level) == 1 else title
        yield title, heading.strip(), text.strip()


def shape_prose(part: str, document: str) -> list[str]:
    """Headings become questions, the text below them answers."""
    dice = random.Random(hashed(document))
    shaped = []
    for title, heading, text in sections(document):
        answer = clipped(text)
        if len(answer) < SHORTEST_ANSWER or answer.endswith(":") or DULL_HEADINGS.match(heading):
            continue
        question = ask(heading, dice)
        if heading != title and title and dice.random() < 0.5:
            question = f"{title}: {question}"
        shaped.append(conversation(part, question, answer, dice))
    return shaped


def shape_story(document: str) -> list[str]:
    """A title becomes the wish for a story, its beginning the answer."""
    match = re.match(r"^# ([^\n]{4,80})\n\n(.+)$", document, re.DOTALL)
    if not match or re.fullmatch(r"[IVXLC\d. ]+", match.group(1)):
        return []
    title, text = match.groups()
    text = re.sub(r"^#+ .*\n\n", "", text.lstrip())
    dice = random.Random(hashed(document))
    forms = [
        'Tell me the story "{}".',
        'How does "{}" begin?',
        'Write a story called "{}".',
        "Tell me a story: {}.",
    ]
    answer = clipped(text)
    if len(answer) < SHORTEST_ANSWER:
        return []
    return [conversation("literature", dice.choice(forms).format(title), answer, dice)]


def shape_code(document: str) -> list[str]:
    """A docstring becomes the wish for a function, the function without it the answer; at times the reverse."""
    try:
        tree = ast.parse(document)
    except (SyntaxError, ValueError, RecursionError):
        return []
    shaped = []
    for node in ast.walk(tree):
        doc = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
        if not isinstance(node, ast.FunctionDef) or not doc or len(node.body) < 2:
            continue
        wish = re.sub(r"\s+", " ", doc.split("\n\n")[0])
        dice = random.Random(hashed(node.name + doc))
        without = ast.unparse(ast.FunctionDef(**{**vars(node), "body": node.body[1:], "decorator_list": []}))
        if not 20 <= len(wish) <= 300 or not 60 <= len(without) <= 1200:
            continue
        code = f"```python\n{without}\n```"
        if dice.random() < 0.7:
            forms = [
                "Write a Python function `{}`: {}",
                "Write the function {} in Python. {}",
                "Python function {}: {}",
            ]
            shaped.append(conversation("code", dice.choice(forms).format(node.name, wish), code, dice))
        else:
            forms = [
                "What does this function do?\n\n{}",
                "Explain this code.\n\n{}",
                "Write a docstring for this.\n\n{}",
            ]
            shaped.append(conversation("code", dice.choice(forms).format(code), wish, dice))
    return shaped


def topic_of(document: str) -> str | None:
    """The topic of a list of customers' questions, or None for any other document."""
    match = TOPIC.match(document)
    return match.group(1).strip() if match else None


def shape_topics(documents: list[str], rounds: int = 3) -> list[str]:
    """Customers' sentences grouped by topic: name the topic, or say the same another way.

    The groups hold no answers, but they do show which different words mean the same wish.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for document in documents:
        topic = topic_of(document)
        if topic:
            groups[topic] += re.findall(r"^- (.+)$", document, re.MULTILINE)
    shaped = []
    for topic, lines in sorted(groups.items()):
        queries = sorted(set(lines))
        for turn in range(rounds):
            dice = random.Random(hashed(f"{topic} {turn}"))
            others = dice.sample(queries, len(queries))
            for query, other in zip(queries, others, strict=True):
                if dice.random() < 0.4:
                    turns = [(SYSTEM, SYSTEMS["topics"][turn % 2]), (USER, query), (ASSISTANT, topic)]
                elif query != other:
                    turns = [(SYSTEM, SYSTEMS["rephrase"][turn % 2]), (USER, query), (ASSISTANT, other)]
                else:
                    continue
                shaped.append(render(turns))
    return shaped


def take_topics(part: Part, one_in: int = 25) -> Part:
    """The conversations about topics, one topic in `one_in` held out.

    The lists of a held-out topic leave the training text of `part` too. They must not join its held-out
    documents, whose figure is compared with what others measured on those.
    """
    away = [
        document for document in part.train if (topic := topic_of(document)) and hashed(topic) % one_in == 0
    ]
    gone = set(away)
    part.train[:] = [document for document in part.train if document not in gone]
    return Part(shape_topics(part.train), shape_topics(away, rounds=1))


def shape_one(job: tuple[str, str]) -> list[str]:
    """All conversations of one document, by the part it comes from."""
    part, document = job
    if part == "code":
        return shape_code(document)
    if part == "literature":
        return shape_story(document)
    return [] if topic_of(document) else shape_prose(part, document)


def shape(parts: dict[str, Part]) -> Part:
    """The chat-shaped part, training and held-out conversations apart."""
    result = Part()
    names = ("support", "finance", "general", "literature", "code")
    with ProcessPoolExecutor() as pool:
        for split in ("train", "held_out"):
            jobs = [(name, document) for name in names for document in getattr(parts[name], split)]
            shaped = [text for texts in pool.map(shape_one, jobs, chunksize=64) for text in texts]
            setattr(result, split, shaped)
    return result
