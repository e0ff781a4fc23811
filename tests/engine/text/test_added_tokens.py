"""Ordinary tokens that a fine-tune added: in text as the tokenizers library uses them; control tokens: never.

The reference is the whole tokenizer over the whole prompt as one string.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.text.template import CONTROL_TOKENS, build_prompt
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder
from qwen3_rerank_plugins.errors import UnsupportedCheckpointError
from tests import hostile
from tests.hostile import HARMLESS, PLACES
from tests.references import PREFIX, SUFFIX

TOKENIZER = DEMO_FOLDER / "tokenizer.json"
ROOM = 1_000_000
ORDINARY: list[dict[str, Any]] = [
    {"content": "<product>"},
    {"content": "aspirin", "single_word": True},
    {"content": "[SKU]", "lstrip": True, "rstrip": True},
    {"content": "café", "normalized": True},
    {"content": " leading"},
    {"content": " leading word", "single_word": True, "normalized": True},
    {"content": "<think"},
    {"content": "im_start"},
    {"content": "a<think>b"},
    {"content": "<Instruct>: "},
    {"content": "Query", "normalized": True},
    {"content": "<Document>:"},
    {"content": "yes"},
    {"content": "no", "single_word": True},
    {"content": "é"},
    {"content": "x", "lstrip": True, "normalized": True},
    {"content": "\n\n", "rstrip": True},
]
OVER_THE_CUT: dict[str, dict[str, Any]] = {
    "a colon that takes the space along": {"content": ":", "rstrip": True},
    "the line of the document and its space": {"content": "<Document>: "},
    "a colon, a space and a word": {"content": ": aspirin"},
    "the same in normal form": {"content": ": cafe\u0301", "normalized": True},
    "a query that ends before its document": {"content": "end\n<Document>: start"},
}

hypothesis_settings = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
pieces = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from([" ", "  ", "\n", "\t", ":", ": ", "<", ">", "e\u0301", "cafe\u0301", "word", "end", "start"]),
    st.sampled_from([token["content"] for token in (*ORDINARY, *OVER_THE_CUT.values())]),
)
texts = st.lists(pieces, max_size=8).map("".join)


def write(file: Path, tokens: list[dict[str, Any]], **changes: dict[str, Any]) -> Path:
    """The demo's tokenizer with more added tokens, saved by the tokenizers library; and flags of its own changed."""
    blueprint = json.loads(TOKENIZER.read_text(encoding="utf-8"))
    for token in blueprint["added_tokens"]:
        token.update(changes.get(token["content"], {}))
    tokenizer = Tokenizer.from_str(json.dumps(blueprint))
    for token in tokens:
        add = tokenizer.add_special_tokens if token.get("special") else tokenizer.add_tokens
        add([AddedToken(**{"normalized": False, **token})])
    tokenizer.save(str(file))
    return file


def ours(encoder: PromptEncoder, document: str, query: str, instruction: str) -> list[int]:
    tokens = encoder.encode(build_prompt(RerankRequest(query, (document,), instruction)), ROOM)
    assert tokens.truncated_tokens == (0,)
    return [*tokens.prefix, *tokens.document_ids[0]]


def reference(whole: Tokenizer, document: str, query: str, instruction: str) -> list[int]:
    body = f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"
    ids: list[int] = whole.encode(PREFIX + body + SUFFIX, add_special_tokens=False).ids
    return ids


def spells_a_control_token(*parts: str) -> bool:
    return any(map(hostile.spells_an_added_token, parts))


@pytest.fixture(scope="module", params=["within one side of the cut", *OVER_THE_CUT])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    over = [OVER_THE_CUT[request.param]] if request.param in OVER_THE_CUT else []
    return write(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json", [*ORDINARY, *over])


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("token", ORDINARY, ids=lambda token: repr(token["content"]))
def test_an_ordinary_added_token_is_one_id_in_text(token: dict[str, Any], where: str, tmp_path: Path) -> None:
    file = write(tmp_path / "tokenizer.json", [token])
    text = {**HARMLESS, where: f"before {token['content']} after {token['content']}"}
    whole, found = Tokenizer.from_file(str(file)), ours(PromptEncoder(file), **text)
    if "<think>" not in token["content"]:
        assert found == reference(whole, **text)
    assert whole.token_to_id(token["content"]) in found


@hypothesis_settings
@given(document=texts, query=texts, instruction=texts)
@example(document="  x", query="end", instruction="")
@example(document="start aspirin", query="the end", instruction="<Instruct>: yes")
@example(document=" leading word", query="\n", instruction="\n\n \n\n")
def test_any_text_without_a_control_token_has_the_ids_of_the_whole_tokenizer(
    file: Path, document: str, query: str, instruction: str
) -> None:
    if spells_a_control_token(document, query, instruction):
        return
    encoder, whole = _loaded(file)
    assert ours(encoder, document, query, instruction) == reference(whole, document, query, instruction)


@hypothesis_settings
@given(parts=st.lists(st.one_of(pieces, st.sampled_from(CONTROL_TOKENS), st.just("<mine>")), max_size=10))
@example(parts=["<think>"])
@example(parts=["a<think>b<think>", "<|im_start|>"])
def test_no_text_becomes_a_control_token_whatever_ordinary_tokens_overlap_it(tmp_path: Path, parts: list[str]) -> None:
    encoder, by_hand = _hostile(tmp_path)
    text = "".join(parts)
    template = sorted(set(encoder.control_ids.values()).intersection(ours(encoder, **HARMLESS)))
    for where in PLACES:
        found = ours(encoder, **{**HARMLESS, where: text})
        assert sorted(set(encoder.control_ids.values()).intersection(found)) == template
    assert [encoder._renumbered.get(number, number) for number in by_hand.encode(text).ids] == encoder._encode_text(
        text
    )


_CACHE: dict[Any, Any] = {}


def _loaded(file: Path) -> tuple[PromptEncoder, Tokenizer]:
    if file not in _CACHE:
        _CACHE[file] = PromptEncoder(file), Tokenizer.from_file(str(file))
    found: tuple[PromptEncoder, Tokenizer] = _CACHE[file]
    return found


def _hostile(folder: Path) -> tuple[PromptEncoder, Tokenizer]:
    """With a special token of the fine-tune's own; and what reads text, put together by hand."""
    if "hostile" not in _CACHE:
        file = write(folder / "tokenizer.json", [*ORDINARY, {"content": "<mine>", "special": True}])
        whole = Tokenizer.from_file(str(file))
        by_hand = Tokenizer(whole.model)
        by_hand.normalizer, by_hand.pre_tokenizer = whole.normalizer, whole.pre_tokenizer
        by_hand.add_tokens([AddedToken(**{"normalized": False, **token}) for token in ORDINARY])
        _CACHE["hostile"] = PromptEncoder(file), by_hand
    found: tuple[PromptEncoder, Tokenizer] = _CACHE["hostile"]
    return found


def test_a_control_token_that_a_fine_tune_calls_ordinary_or_normalized_stays_a_control_token(tmp_path: Path) -> None:
    changes = {"<|im_end|>": {"special": False}, "<tool_call>": {"normalized": True, "lstrip": True}}
    encoder = PromptEncoder(write(tmp_path / "tokenizer.json", [], **changes))
    plain = PromptEncoder(TOKENIZER)
    text = {**HARMLESS, "document": "x <|im_end|> <tool_call>"}
    assert ours(encoder, **text) == ours(plain, **text)
    assert set(encoder.control_ids) == set(CONTROL_TOKENS)


@pytest.mark.parametrize(
    ("tokens", "changes"),
    [
        ([{"content": "\n<|im_start|>"}], {}),
        ([{"content": "|>"}], {"<think>": {"normalized": True}, "<|im_end|>": {"normalized": True}}),
        ([], {"<|im_end|>": {"rstrip": True}}),
        ([], {"<|im_end|>": {"lstrip": True}}),
        ([], {"<|im_end|>": {"single_word": True}}),
        ([], {"<think>": {"rstrip": True}}),
    ],
    ids=str,
)
def test_added_tokens_that_change_the_template_are_refused(
    tokens: list[dict[str, Any]], changes: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedCheckpointError, match="reads the template differently"):
        PromptEncoder(write(tmp_path / "tokenizer.json", tokens, **changes))


@pytest.mark.parametrize("over", OVER_THE_CUT.values(), ids=OVER_THE_CUT)
def test_where_a_token_reaches_over_the_cut_only_documents_are_cut_and_starts_are_theirs(
    over: dict[str, Any], tmp_path: Path
) -> None:
    encoder = PromptEncoder(write(tmp_path / "tokenizer.json", [over]))
    prompt = build_prompt(RerankRequest("query", ("aspirin and more of it " * 50, "short")))
    whole, cut = encoder.encode(prompt, ROOM), encoder.encode(prompt, 200)
    assert len(cut.prefix) + len(cut.document_ids[0]) == 200
    assert cut.truncated_tokens == (len(whole.document_ids[0]) - len(cut.document_ids[0]), 0)
    assert cut.document_ids[1] == whole.document_ids[1]
    starts = encoder.token_starts("aspirin and more")
    assert starts == sorted(starts)
    assert 0 <= starts[0] <= starts[-1] < len("aspirin and more")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda b: b["model"]["vocab"].update(word=b["added_tokens"][1]["id"]), "share the ID"),
        (lambda b: b["model"]["vocab"].update(yes=b["model"]["vocab"]["no"]), "share the ID"),
        (lambda b: b["added_tokens"][2].update(id=b["added_tokens"][1]["id"]), "share the ID"),
        (lambda b: b["added_tokens"].append({**b["added_tokens"][0], "content": "yes", "id": 9999}), "two IDs"),
        (lambda b: b["added_tokens"][1].update(id=-1), "not a usable fast tokenizer"),
        (lambda b: b["model"]["vocab"].update(word=-1), "not a usable fast tokenizer"),
    ],
)
def test_ids_that_contradict_each_other_are_refused(change: Any, word: str, tmp_path: Path) -> None:
    blueprint = json.loads(TOKENIZER.read_text(encoding="utf-8"))
    change(blueprint)
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(blueprint), encoding="utf-8")
    with pytest.raises(UnsupportedCheckpointError, match=word):
        PromptEncoder(file)


def test_ids_are_those_that_the_file_states_in_whatever_order_it_lists_them(tmp_path: Path) -> None:
    file = write(tmp_path / "tokenizer.json", ORDINARY)
    blueprint = json.loads(file.read_text(encoding="utf-8"))
    blueprint["added_tokens"].reverse()
    other = tmp_path / "other.json"
    other.write_text(json.dumps(blueprint), encoding="utf-8")
    text = {**HARMLESS, "document": "<product> aspirin [SKU] café"}
    assert ours(PromptEncoder(other), **text) == ours(PromptEncoder(file), **text)


def test_the_highest_id_counts_not_the_number_of_tokens(tmp_path: Path) -> None:
    blueprint = json.loads(TOKENIZER.read_text(encoding="utf-8"))
    last = max(blueprint["model"]["vocab"], key=blueprint["model"]["vocab"].__getitem__)
    blueprint["model"]["vocab"][last] = 10**6
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(blueprint), encoding="utf-8")
    assert PromptEncoder(file).rows == 10**6 + 1
