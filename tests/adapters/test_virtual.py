"""Virtual tokens: what real ones would do is what they do; masks, places and lengths stay right."""

from typing import Any

import pytest
import torch
from adapters.tiny_modules import Hub, adapter, hub_model, layers_of, stepped
from torch import Tensor, nn

from lightning_rec.adapters.base import AdaptedModule
from lightning_rec.data.split import Histories, Schema
from lightning_rec.errors import UserError
from lightning_rec.models.sequential.decoder import Decoder

pytest.importorskip("peft")
TEXT = torch.tensor([[5, 6, 7, 8, 9], [11, 3, 4, 17, 12]])
CAUSAL, BOTH_WAYS = ["gpt2", "llama", "qwen3", "gpt_neox", "opt"], ["bert", "roberta", "electra"]
PADDED = ["bert", "roberta", "gpt2", "llama"]


def model_of(kind: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    return hub_model(kind, **settings).eval()


def under(name: str, model: nn.Module, **settings: Any) -> AdaptedModule:
    made = AdaptedModule(model, adapter(name, **settings))
    torch.manual_seed(1)
    return made


def put(made: AdaptedModule, values: Tensor) -> None:
    """Let the virtual tokens be these."""
    (weight,) = made.weights.values()
    assert weight.shape == values.shape
    weight.copy_(values)


def as_prefix(keys: list[Tensor], values: list[Tensor]) -> Tensor:
    """Keys and values of each layer, float [H, P, C], as the weight of a prefix, [P, 2 N H C]."""
    pairs = [each for pair in zip(keys, values, strict=True) for each in pair]
    stacked = torch.stack(pairs)  # [2 N, H, P, C]
    return stacked.permute(2, 0, 1, 3).reshape(stacked.shape[2], -1)


@pytest.mark.parametrize("kind", CAUSAL)
def test_a_prefix_of_what_was_read_is_as_if_it_had_been_read(kind: str) -> None:
    model = model_of(kind)
    one = TEXT[:1]
    with torch.no_grad():
        whole = model(input_ids=one).last_hidden_state[:, 2:]
        read = model(input_ids=one[:, :2], use_cache=True).past_key_values
        alone = model(input_ids=one[:, 2:]).last_hidden_state
    made = under("prefix", model, tokens=2)
    put(made, as_prefix([each.keys[0] for each in read.layers], [each.values[0] for each in read.layers]))  # fmt: skip
    with torch.no_grad():
        found = model(input_ids=one[:, 2:]).last_hidden_state
        twice = model(input_ids=one[:, 2:].repeat(3, 1)).last_hidden_state
    torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(twice, whole.expand(3, -1, -1), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(alone, whole, atol=1e-3)


@pytest.mark.parametrize("kind", BOTH_WAYS)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_prefix_is_read_both_ways_too(kind: str, attention: str) -> None:
    """With one layer, what real tokens have as keys and values does not depend on the others."""
    model = model_of(kind, num_hidden_layers=1, attn_implementation=attention)
    kept: dict[str, Tensor] = {}
    hooks = []
    for name, each in model.named_modules():
        last = name.rpartition(".")[2]
        if last in ("key", "value"):
            hooks.append(each.register_forward_hook(lambda _, __, out, last=last: kept.update({last: out})))  # fmt: skip
    with torch.no_grad():
        whole = model(input_ids=TEXT[:1]).last_hidden_state[:, 2:]
    for hook in hooks:
        hook.remove()
    keys, values = (kept[name][0, :2].view(2, 2, 8).transpose(0, 1) for name in ("key", "value"))
    made = under("prefix", model, tokens=2)
    put(made, as_prefix([keys], [values]))
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=TEXT[:1, 2:]).last_hidden_state, whole, atol=1e-5, rtol=1e-5)  # fmt: skip


@pytest.mark.parametrize("kind", [*CAUSAL, *BOTH_WAYS, "mpnet", "distilbert", "modernbert"])
def test_a_prompt_of_words_is_as_if_they_had_been_read(kind: str) -> None:
    model = model_of(kind)
    with torch.no_grad():
        whole = model(input_ids=TEXT[:1], output_hidden_states=True)
        words = model.get_input_embeddings()(TEXT[0, :2]).clone()
    made = under("prompt", model, tokens=2)
    put(made, words)
    with torch.no_grad():
        found = model(input_ids=TEXT[:1, 2:], output_hidden_states=True)
        vectors = model.get_input_embeddings()(TEXT[:1, 2:])
        of_vectors = model(inputs_embeds=vectors).last_hidden_state
        (listed, *_) = model(input_ids=TEXT[:1, 2:], return_dict=False)
    wanted = whole.last_hidden_state[:, 2:]
    for each in (found.last_hidden_state, of_vectors, listed):
        torch.testing.assert_close(each, wanted, atol=1e-5, rtol=1e-5)
    assert len(found.hidden_states) == 4
    for state, other in zip(found.hidden_states, whole.hidden_states, strict=True):
        torch.testing.assert_close(state, other[:, 2:], atol=1e-5, rtol=1e-5)
    if getattr(model, "pooler", None) is not None:
        torch.testing.assert_close(found.pooler_output, model.pooler(wanted), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", PADDED)
@pytest.mark.parametrize("name", ["prefix", "prompt"])
def test_padding_changes_nothing(kind: str, name: str) -> None:
    model = model_of(kind)
    under(name, model, tokens=3)
    texts, mask = TEXT.clone(), torch.ones_like(TEXT)
    texts[1, 3:], mask[1, 3:] = 0, 0
    with torch.no_grad():
        together = model(input_ids=texts, attention_mask=mask).last_hidden_state
        first = model(input_ids=texts[:1]).last_hidden_state
        second = model(input_ids=texts[1:, :3], attention_mask=mask[1:, :3]).last_hidden_state
    assert together.shape == (2, 5, 16)
    torch.testing.assert_close(together[:1], first, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together[1:, :3], second, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["prefix", "prompt"])
def test_kinds_of_tokens_come_along(name: str) -> None:
    model = model_of("bert")
    under(name, model, tokens=3)
    kinds = torch.tensor([[0, 0, 1, 1, 1]]).expand(2, -1)
    with torch.no_grad():
        plain = model(TEXT).last_hidden_state
        given = model(TEXT, None, kinds).last_hidden_state
        none = model(TEXT, token_type_ids=torch.zeros_like(kinds)).last_hidden_state
    torch.testing.assert_close(none, plain)
    assert given.shape == plain.shape
    assert not torch.allclose(given, plain, atol=1e-4)


def test_a_prompt_is_of_the_first_kind() -> None:
    model = model_of("bert")
    kinds = torch.tensor([[0, 0, 0, 1, 1]])
    with torch.no_grad():
        whole = model(input_ids=TEXT[:1], token_type_ids=kinds).last_hidden_state[:, 2:]
        words = model.get_input_embeddings()(TEXT[0, :2]).clone()
    put(under("prompt", model, tokens=2), words)
    with torch.no_grad():
        found = model(input_ids=TEXT[:1, 2:], token_type_ids=kinds[:, 2:]).last_hidden_state
    torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-5)


def test_what_cannot_be_pooled_anew_is_left_out() -> None:
    """ALBERT pools by more than its pooler, which is a linear map."""
    model = model_of("albert", embedding_size=16)
    pooled = model(input_ids=TEXT).pooler_output
    assert pooled.shape == (2, 16)
    under("prompt", model)
    out = model(input_ids=TEXT)
    assert out.last_hidden_state.shape == (2, 5, 16)
    assert out.pooler_output is None


def test_a_prefix_can_be_made_by_a_network_while_it_is_tuned() -> None:
    module = Hub("bert").eval()
    made = under("prefix", module, tokens=4, hidden=6)
    ends = {name.rpartition("virtual.made.")[2] for name in made.names}
    assert ends == {"embedding.weight", "transform.0.weight", "transform.0.bias", "transform.2.weight", "transform.2.bias"}  # fmt: skip
    before = module(TEXT)
    stepped(made)
    made.check()
    assert not torch.allclose(module(TEXT), before, atol=1e-4)


def test_a_prompt_begins_with_words() -> None:
    made = under("prompt", model_of("bert"), tokens=3)
    (virtual,) = made.weights.values()
    words = made.module.get_input_embeddings().weight
    assert all(any(torch.equal(token, word) for word in words) for token in virtual)


def test_a_prefix_begins_small() -> None:
    (virtual,) = under("prefix", model_of("bert"), tokens=50).weights.values()
    assert 0.015 < float(virtual.std()) < 0.025


@pytest.mark.parametrize("name", ["prefix", "prompt"])
def test_our_decoder_takes_them_before_its_items(name: str) -> None:
    torch.manual_seed(0)
    model = Decoder(Schema(20, 8, 1), dim=16, depth=3, dropout=0.0).eval()
    items, nobody = TEXT, torch.zeros(2, dtype=torch.int64)
    before = model(Histories(items, nobody), torch.tensor([4, 4]))
    made = under(name, model, tokens=3)
    assert made.lowest_tuned(layers_of(model)) == 0
    assert all(float(weight.std()) < 0.03 for weight in made.weights.values())  # as items are
    for weight in made.weights.values():
        nn.init.normal_(weight)
    after = model(Histories(items, nobody), torch.tensor([4, 4]))
    assert after.shape == before.shape
    assert not torch.allclose(after, before, atol=1e-3)
    with pytest.raises(
        UserError, match=r"GPT2Model has 8 places, 3 of which .* but a text has 6: cut"
    ):
        model(Histories(torch.zeros(2, 6, dtype=torch.int64), nobody), torch.tensor([4, 4]))


@pytest.mark.parametrize("name", ["prefix", "prompt"])
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_texts_that_leave_no_place_are_told(name: str, kind: str) -> None:
    model = model_of(kind, max_position_embeddings=8 if kind == "bert" else 9)
    under(name, model, tokens=3)
    assert model(input_ids=TEXT).last_hidden_state.shape == (2, 5, 16)
    with pytest.raises(
        UserError, match="has 8 places, 3 of which are its virtual tokens', but a text has 6"
    ):
        model(input_ids=torch.cat([TEXT, TEXT[:, :1]], dim=1))


@pytest.mark.parametrize("kind", ["mpnet", "distilbert", "modernbert"])
def test_a_prefix_that_would_not_be_read_is_refused(kind: str) -> None:
    with pytest.raises(
        UserError, match=r"adapter=prefix: \w+ takes no past_key_values.*adapter=lora"
    ):
        under("prefix", model_of(kind))


def test_a_prefix_that_is_not_read_after_all_is_told() -> None:
    transformers = pytest.importorskip("transformers")
    model = model_of("bert")
    under("prefix", model)
    model.encoder.layer[1].gradient_checkpointing = True
    model(input_ids=TEXT)
    model.train()
    with pytest.raises(UserError, match="reads no prefix while gradient checkpointing is on"):
        model(input_ids=TEXT)

    class Deaf(transformers.BertModel):  # type: ignore[misc, name-defined]
        def forward(self, input_ids: Tensor, attention_mask: Tensor, past_key_values: Any) -> Any:
            return super().forward(input_ids)

    deaf = Deaf(model.config).eval()
    under("prefix", deaf)
    with pytest.raises(UserError, match="does not read them in every layer"):
        deaf(input_ids=TEXT)


@pytest.mark.parametrize("name", ["prefix", "prompt"])
def test_what_would_be_ambiguous_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="or is an encoder and a decoder"):
        under(name, model_of("t5"))
    two = nn.ModuleList([model_of("bert"), model_of("bert")])
    with pytest.raises(UserError, match=r"ModuleList holds 2\. adapter=lora"):
        under(name, two)
    model = model_of("gpt2")
    read = model(input_ids=TEXT, use_cache=True).past_key_values
    under(name, model)
    with pytest.raises(UserError, match="GPT2Model with virtual tokens takes no past_key_values"):
        model(input_ids=TEXT, past_key_values=read)
    with pytest.raises(UserError, match="takes no position_ids"):
        model(input_ids=TEXT, position_ids=torch.arange(5)[None])


@pytest.mark.parametrize("name", ["prefix", "prompt"])
def test_of_a_model_with_a_head_the_body_is_meant(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = hub_model("bert").config
    model = transformers.AutoModelForMaskedLM.from_config(config).eval()
    made = under(name, model, tokens=3)
    assert all(each.startswith("bert.virtual.") for each in made.names)
    assert model(input_ids=TEXT).logits.shape == (2, 5, 20)


@pytest.mark.parametrize("name", ["prefix", "prompt"])
def test_models_of_half_precision_take_them(name: str) -> None:
    model = model_of("bert").to(torch.bfloat16)
    made = under(name, model, tokens=3)
    out = model(input_ids=TEXT).last_hidden_state
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if n in made.names)
