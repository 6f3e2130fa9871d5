"""The starter's network: a small Llama, written out, with the parameter names of the published format.

Training here rather than through the library's class keeps the loop small enough to compile whole, and
shows all that the network is. `export` writes what `AutoModelForCausalLM.from_pretrained` reads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """The sizes of the network. The defaults make 15.1 million parameters, 30.3 MB in bf16."""

    vocabulary: int = 8192
    hidden: int = 384
    layers: int = 8
    heads: int = 6
    kv_heads: int = 2
    mlp: int = 960
    context: int = 1024
    rope_theta: float = 10_000.0
    epsilon: float = 1e-6

    @property
    def head(self) -> int:
        """The width of one attention head."""
        return self.hidden // self.heads


def rotation(shape: Shape, length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary position embedding, halves side by side as Llama has them."""
    frequencies = shape.rope_theta ** -(torch.arange(0, shape.head, 2).float() / shape.head)
    angles = torch.outer(torch.arange(length).float(), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn each pair of channels by an angle that grows with the position."""
    left, right = x.chunk(2, dim=-1)
    return x * cosines + torch.cat([-right, left], dim=-1) * sines


class Attention(nn.Module):
    """Causal self-attention in which three query heads share a key and value head."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.head = shape.head
        self.q_proj = nn.Linear(shape.hidden, shape.heads * shape.head, bias=False)
        self.k_proj = nn.Linear(shape.hidden, shape.kv_heads * shape.head, bias=False)
        self.v_proj = nn.Linear(shape.hidden, shape.kv_heads * shape.head, bias=False)
        self.o_proj = nn.Linear(shape.heads * shape.head, shape.hidden, bias=False)

    def forward(self, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """Mix each position with those before it."""
        batch, length, _ = x.shape
        queries, keys, values = (
            projection(x).view(batch, length, -1, self.head).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        queries, keys = rotate(queries, cosines, sines), rotate(keys, cosines, sines)
        mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))


class MLP(nn.Module):
    """The gated feed-forward layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.mlp, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.mlp, bias=False)
        self.down_proj = nn.Linear(shape.mlp, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Widen, gate, narrow."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """One layer: attention, then feed-forward, each added to what came in."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.input_layernorm = nn.RMSNorm(shape.hidden, eps=shape.epsilon)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden, eps=shape.epsilon)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """Dropout on what is added is all the regularisation there is besides weight decay."""
        attended = self.self_attn(self.input_layernorm(x), cosines, sines)
        x = x + F.dropout(attended, self.dropout, self.training)
        return x + F.dropout(self.mlp(self.post_attention_layernorm(x)), self.dropout, self.training)


class Backbone(nn.Module):
    """Embedding, layers and the last norm."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Block(shape, dropout) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.hidden, eps=shape.epsilon)


class Llama(nn.Module):
    """The language model. The output projection is the embedding itself."""

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        self.model = Backbone(shape, dropout)
        self.shape = shape
        cosines, sines = rotation(shape, shape.context)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)
        self.initialise()

    def initialise(self) -> None:
        """Small embeddings; projections back into the residual stream start at zero, as if absent."""
        nn.init.normal_(self.model.embed_tokens.weight, std=0.02)
        for name, weight in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(weight)
            elif name.endswith("proj.weight"):
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5)

    def forward(self, tokens: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        """The loss in nats; targets of -100 do not count."""
        length = tokens.shape[1]
        x = self.model.embed_tokens(tokens)
        cosines, sines = self.cosines[:length].to(x.dtype), self.sines[:length].to(x.dtype)
        for layer in self.model.layers:
            x = layer(x, cosines, sines)
        logits = F.linear(self.model.norm(x), self.model.embed_tokens.weight)
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction=reduction)


def configuration(shape: Shape) -> dict[str, object]:
    """config.json: the same sizes under the names of the published format."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "dtype": "bfloat16",
        "eos_token_id": 5,
        "head_dim": shape.head,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "initializer_range": 0.02,
        "intermediate_size": shape.mlp,
        "max_position_embeddings": shape.context,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "pad_token_id": 1,
        "rms_norm_eps": shape.epsilon,
        "rope_parameters": {"rope_theta": shape.rope_theta, "rope_type": "default"},
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": shape.vocabulary,
    }


def rounded(model: Llama) -> dict[str, Tensor]:
    """The parameters as they are published, in bf16; the tied output projection is not stored twice."""
    return {name: p.detach().to("cpu", torch.bfloat16).contiguous() for name, p in model.named_parameters()}


def export(model: Llama, folder: Path) -> None:
    """Write weights and configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "model.safetensors"
    save_file(rounded(model), weights, metadata={"format": "pt"})
    weights.chmod(0o644)
    generation = {"bos_token_id": 0, "eos_token_id": 5, "pad_token_id": 1, "do_sample": False}
    for name, content in (("config", configuration(model.shape)), ("generation_config", generation)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
