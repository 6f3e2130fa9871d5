"""Train the starter's tokenizer: byte-level BPE, 8,192 entries, six special tokens, a chat template."""

from __future__ import annotations

import random
from pathlib import Path

from corpus import BOS, END, PAD, SPECIALS, Part
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 8192
# Words with their leading space, numbers of at most two digits (a small vocabulary cannot afford longer
# ones), punctuation runs, line breaks with the indentation that follows them left to the next piece.
SPLIT = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"

# A newline stands between turns, none after the last, so that a generation prompt is an exact prefix of
# the finished conversation. The generation marks let a trainer mask all but what the assistant says,
# its end token included: that token is what stops generation.
CHAT_TEMPLATE = """{{- bos_token }}
{%- for message in messages %}
    {%- if not loop.first %}{{ '\\n' }}{% endif %}
    {%- if message['role'] == 'assistant' %}
        {{- '<|assistant|>\\n' }}
        {%- generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}
    {%- elif message['role'] in ['system', 'user'] %}
        {{- '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>' }}
    {%- else %}
        {{- raise_exception('unknown role: ' + message['role']) }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '\\n<|assistant|>\\n' }}{% endif %}"""


def sample(parts: dict[str, Part], shares: dict[str, float], characters: int) -> list[str]:
    """Documents in about the proportions of the training mix, so that the merges serve what is trained."""
    chosen = []
    for name, share in shares.items():
        documents = [document for document in parts[name].train if document]
        random.Random(name).shuffle(documents)
        wanted = int(share * characters)
        for document in documents:
            if wanted <= 0:
                break
            piece = document[:20_000]
            chosen.append(piece)
            wanted -= len(piece)
    return chosen


def train(documents: list[str]) -> Tokenizer:
    """Learn the merges. The special tokens take the first six ids, the 256 bytes the next."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated")
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_only])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path, context: int) -> None:
    """Write the files that `AutoTokenizer.from_pretrained` reads."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=SPECIALS[2:5],
        model_max_length=context,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
