"""What a suite is asked, of whom, and what its references cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from lftreg.errors import UsageError
from lftreg.evaluation.asking import Answers, Wanted, ask
from lftreg.evaluation.suite import Item, Suite, make_suite
from lftreg.models.base import find_base
from lftreg.models.generate import Decoding, Speaker
from lftreg.models.load import load_base
from lftreg.plugins.types import Example, Message
from lftreg.registry import Registry
from tests.conftest import Tiny
from tests.models.test_batching import steps

BRIEF = Decoding(12)
DRAWN = Wanted(samples=3, temperature=1.0, paraphrases=True)
TALK = (
    Message("system", "You sell boats."),
    Message("user", "Is the red one for sale?"),
    Message("assistant", "It was sold on Monday."),
    Message("user", "And the blue one?"),
    Message("assistant", "The blue one is yours for a song."),
)
EXAMPLES = (
    Example.pair("Where is it?", "On the table by the door.", fact="where"),
    Example.pair("In what place is it?", "On the table by the door.", fact="where"),
    Example.pair("Why?", "So.", fact="why"),
    Example(TALK),
    Example.pair("Where is it?", "Zürich, naïvely – 東京.", fact="city"),
    Example.passage("The ferry leaves at nine, and is back before dark."),
)


def suite(*more: Example) -> Suite:
    return make_suite("small", (*EXAMPLES, *more))


def random_adapter(base: Path | str, folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    config = LoraConfig(
        r=4, lora_alpha=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    get_peft_model(load_base(find_base(str(base))).model, config).save_pretrained(folder)
    return folder


@pytest.fixture
def speaker(tiny_llama: Path, registry: Registry, tmp_path: Path) -> Speaker:
    """A base with two random adapters."""
    made = Speaker([f"base:{tiny_llama}"], registry)
    for seed, name in enumerate(("one", "other"), start=1):
        made.add(name, random_adapter(tiny_llama, tmp_path / name, seed))
    return made


def other_reference(item: Item) -> Item:
    """An item that expects something else."""
    turns, other = item.example.messages, "Nothing of the kind."
    if not turns:
        return item
    example = replace(item.example, messages=(*turns[:-1], replace(turns[-1], content=other)))
    return replace(item, reference=other, example=example)


def test_whoever_decodes_never_sees_a_reference(speaker: Speaker) -> None:
    asked = suite()
    blind = Suite("blind", tuple(map(other_reference, asked.items)))
    seen, unseen = ask(speaker, asked, BRIEF, DRAWN), ask(speaker, blind, BRIEF, DRAWN)
    for ref in speaker.refs:
        for part in ("answers", "paraphrased", "samples"):
            assert getattr(seen[ref], part) == getattr(unseen[ref], part), (ref, part)
        assert seen[ref].nats[:5] != unseen[ref].nats[:5]  # the losses did see another reference


def test_everyone_answers_every_item_by_itself(speaker: Speaker) -> None:
    made = ask(speaker, suite(), BRIEF, DRAWN)
    assert tuple(made) == speaker.refs
    assert len({answers.answers for answers in made.values()}) == 3
    for ref, told in made.items():
        single = speaker.answer(ref, ["Where is it?", "In what place is it?", "Why?"], BRIEF)
        assert told.answers[:3] == tuple(one.text for one in single)
        assert told.answers[4] == told.answers[0]
        (talk,) = speaker.answer_turns(ref, [TALK[:-1]], BRIEF)
        assert talk is not None
        assert told.answers[3] == talk.text != speaker.answer(ref, [TALK[3].content], BRIEF)[0].text
        assert told.answers[5] == ""
        assert told.paraphrased[:3] == ((told.answers[1],), (told.answers[0],), ())
        assert [len(drawn) for drawn in told.samples] == [3, 3, 3, 3, 3, 0]
        assert len(set(told.samples[0])) > 1
        assert told.unanswered == told.unweighed == ()


def test_equal_prompts_are_asked_once(speaker: Speaker) -> None:
    ref = speaker.refs[0]
    wanted = Wanted(paraphrases=True, losses=False)
    with steps(speaker.loaded) as seen:
        ask(speaker, make_suite("many", EXAMPLES[:3] * 5), BRIEF, wanted)
    read = [rows for rows, tokens in seen if tokens > 1]
    assert read == [3] * len(speaker.refs), ref


def alone(model: Any, speaker: Speaker, turns: tuple[Message, ...], answer: str) -> tuple[float, int]:
    """The loss of an answer by transformers itself, with labels, and the number of tokens it is the mean of."""
    chat = speaker.loaded.chat
    prompt = chat.prompt_ids(turns)
    answered = [*prompt, *chat.tokenizer(answer, add_special_tokens=False)["input_ids"], chat.eos_id]
    labels = [-100] * len(prompt) + answered[len(prompt) :]
    with torch.no_grad():
        loss = model(
            input_ids=torch.tensor([answered], device=model.device),
            labels=torch.tensor([labels], device=model.device),
        ).loss
    number = len(answered) - len(prompt)
    return float(loss) * number, number


def test_losses_are_those_of_transformers_itself(speaker: Speaker) -> None:
    asked = suite()
    made = ask(speaker, asked, BRIEF)
    for ref, told in made.items():
        with speaker.using(ref) as model:
            for place, item in enumerate(asked.items[:5]):
                nats, tokens = alone(model, speaker, item.asked, item.reference)
                assert told.nats[place] == pytest.approx(nats, rel=1e-5), (ref, place)
                assert told.tokens[place] == tokens
                assert told.bytes[place] == len(item.reference.encode())
            chat = speaker.loaded.chat
            ids = [*chat.tokenizer(EXAMPLES[5].text, add_special_tokens=False)["input_ids"], chat.eos_id]
            with torch.no_grad():
                loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss
        assert told.nats[5] == pytest.approx(float(loss) * (len(ids) - 1), rel=1e-5)
        assert told.tokens[5] == len(ids) - 1
        assert told.bytes[5] == len(EXAMPLES[5].text.encode())
    assert len({told.nats for told in made.values()}) == 3


def test_the_starter_weighs_a_reference_as_transformers_does(registry: Registry) -> None:
    bare = Speaker(["base:starter"], registry)
    asked = make_suite("one", EXAMPLES[3:5])
    told = ask(bare, asked, Decoding(1))["base:starter"]
    for place, item in enumerate(asked.items):
        nats, tokens = alone(bare.loaded.model, bare, item.asked, item.reference)
        assert told.nats[place] == pytest.approx(nats, rel=1e-5)
        assert told.tokens[place] == tokens


def test_a_base_beside_adapters_is_the_bare_base(
    speaker: Speaker, tiny_llama: Path, registry: Registry
) -> None:
    ref = speaker.refs[0]
    beside = ask(speaker, suite(), BRIEF, DRAWN)[ref]
    assert ask(Speaker([ref], registry), suite(), BRIEF, DRAWN)[ref] == beside


def test_all_speak_through_one_copy_of_the_weights(speaker: Speaker) -> None:
    weights = {name: tensor.data_ptr() for name, tensor in speaker.loaded.model.named_parameters()}
    base = {name: place for name, place in weights.items() if "lora" not in name}
    seen = []
    for ref in speaker.refs:
        with speaker.using(ref) as model:
            seen.append({p.data_ptr() for name, p in model.named_parameters() if "lora" not in name})
    assert seen == [set(base.values())] * 3


@pytest.mark.slow
def test_items_without_room_are_counted_and_cost_no_one_else_anything(speaker: Speaker) -> None:
    long_prompt = Example.pair("why " * 300, "So.", fact="why")
    near = Example.pair("why " * 230, "Because.")  # read it can be, answered it cannot
    made = ask(speaker, suite(long_prompt, near), Decoding(40), DRAWN)
    short = ask(speaker, suite(), Decoding(40), DRAWN)
    for ref, told in made.items():
        assert told.unanswered == (6, 7)
        assert told.unweighed == (6,)
        assert told.answers[:6] == short[ref].answers
        assert told.answers[6:] == ("", "")
        assert told.samples[6:] == ((), ())
        assert told.paraphrased[2] == ()  # the other wording of "Why?" has no room
        assert told.nats[:6] == pytest.approx(short[ref].nats, rel=1e-5)


def test_a_long_text_is_weighed_in_pieces(speaker: Speaker) -> None:
    text = "the ferry leaves at nine and " * 100
    told = ask(speaker, make_suite("text", [Example.passage(text)]), BRIEF)[speaker.refs[0]]
    tokens = len(speaker.loaded.tokenizer(text, add_special_tokens=False)["input_ids"]) + 1
    limit = speaker.loaded.base.config["max_position_embeddings"]
    pieces = -(-tokens // limit)
    assert pieces > 1
    assert told.tokens == (tokens - pieces,)
    assert told.nats[0] is not None
    assert told.unanswered == told.unweighed == ()


def test_functions_that_may_be_called_are_shown(registry: Registry) -> None:
    starter = Speaker(["base:starter"], registry)
    tools = '[{"type": "function", "function": {"name": "find_boat", "parameters": {}}}]'
    (bare,), (armed,) = (
        starter.answer_turns("base:starter", [[Message("user", "Which boat?")]], BRIEF, tools=[one])
        for one in ("", tools)
    )
    assert bare is not None
    assert armed is not None
    told = ask(starter, make_suite("t", [replace(EXAMPLES[2], tools=tools)]), BRIEF, Wanted(losses=False))
    (alone_,) = starter.answer_turns("base:starter", [[Message("user", "Why?")]], BRIEF, tools=[tools])
    assert alone_ is not None
    assert told["base:starter"].answers == (alone_.text,)


@pytest.mark.slow
def test_progress_counts_to_the_end(speaker: Speaker) -> None:
    told: list[tuple[str, int, int]] = []
    ask(speaker, suite(), BRIEF, DRAWN, lambda ref, done, total: told.append((ref, done, total)))
    for ref in speaker.refs:
        # unique prompts, three samples each, losses
        for who, count in ((ref, 4), (f"{ref}, samples", 3 * 4), (f"{ref}, losses", 6)):
            steps_ = [(done, total) for name, done, total in told if name == who]
            assert [done for done, _ in steps_] == sorted(done for done, _ in steps_)
            assert steps_[-1] == (count, count)


def test_a_sequence_to_sequence_base_is_asked_and_weighed(tiny: Tiny, registry: Registry) -> None:
    t5 = Speaker([f"base:{tiny('t5')}"], registry)
    told = ask(t5, make_suite("few", EXAMPLES[:4]), BRIEF, DRAWN)[t5.refs[0]]
    tokenizer, model = t5.loaded.tokenizer, t5.loaded.model
    labels = [*tokenizer(EXAMPLES[0].response, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    with torch.no_grad():
        ids = torch.tensor([tokenizer(EXAMPLES[0].prompt)["input_ids"]])
        loss = model(input_ids=ids, labels=torch.tensor([labels])).loss
    assert told.tokens[0] == len(labels)
    assert told.nats[0] == pytest.approx(float(loss) * len(labels), rel=1e-5)
    assert told.answers[:3] == tuple(
        one.text for one in t5.answer(t5.refs[0], [example.prompt for example in EXAMPLES[:3]], BRIEF)
    )


def test_a_masked_language_model_is_refused(tiny: Tiny, registry: Registry) -> None:
    bert = Speaker([f"base:{tiny('bert')}"], registry)
    with pytest.raises(UsageError, match="which answers no questions"):
        ask(bert, suite(), BRIEF)


@pytest.mark.slow
def test_a_classifier_answers_with_its_label(tiny: Tiny, registry: Registry) -> None:
    from tests.training.test_families import GENTLE, letters, trained

    trained(tiny("bert"), registry, letters(), **GENTLE)
    speaker = Speaker(["letters"], registry)
    rows = list(letters().build("validation", 0))
    stranger = Example.passage("letter 23: your watch is here", "a label it never saw")
    told: Answers = ask(speaker, make_suite("letters", [*rows, stranger]), BRIEF)["letters"]
    assert told.answers[:-1] == tuple(row.label for row in rows)
    assert told.tokens == (*[1] * len(rows), 0)
    assert told.unweighed == (len(rows),)
    assert all(nats is not None and 0 <= nats < 0.7 for nats in told.nats[:-1])


@pytest.mark.parametrize("bad", [{"samples": -1}, {"samples": 2, "temperature": 0.0}])
def test_samples_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="make no sense"):
        Wanted(**bad)
