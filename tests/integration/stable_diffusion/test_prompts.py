from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from stable_diffusion.models import Model
from stable_diffusion.prompts import SYNTAX, Prompts, notes_on, parse
from stable_diffusion.request import InputError
from tests.support.properties import assume, given
from tests.support.properties import strategies as st


@pytest.fixture(scope="module")
def prompts(demo: Model) -> Prompts:
    return Prompts(demo.pipeline)


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse("prompt", text)
    assert len(caught.value.faults) == 1
    assert str(caught.value).startswith("prompt: ")
    return str(caught.value)


@pytest.mark.parametrize("text", ["a red apple", "", "C++", ":-)", "(red)1.3 ball++", "🍎\x00\x1b"])
def test_a_plain_prompt_is_just_text(prompts: Prompts, demo: Model, text: str) -> None:
    expected = demo.pipeline.encode_prompt(text, "cpu", 1, True, negative_prompt="blurry")
    encoded = prompts.encode(text, "blurry")
    assert encoded.negative is not None
    assert torch.equal(encoded.positive, expected[0])
    assert torch.equal(encoded.negative, expected[1])
    assert encoded.cut == {}


def test_weights_change_the_embeddings_and_a_weight_of_one_does_not(prompts: Prompts) -> None:
    plain = prompts.encode("a red ball", None, True).positive

    def distance(text: str) -> float:
        return float((prompts.encode(text, None, True).positive - plain).abs().max())

    assert distance("a red++ ball") > 0.02
    assert distance("a (red)0.2 ball") > 0.02
    assert distance("a (red)1.0 ball") < 1e-5


def test_compels_embeddings_are_compels(prompts: Prompts, demo: Model) -> None:
    from compel import Compel

    compel = Compel(demo.pipeline.tokenizer, demo.pipeline.text_encoder)
    for text in ("red++ ball", "(red ball)1.3", '("a cat", "a dog").blend(.7, .3)'):
        assert torch.equal(prompts.encode(text, None, True).positive, compel(text))


def test_with_compel_a_prompt_may_be_long_and_both_get_one_length(prompts: Prompts) -> None:
    long = prompts.encode("a red apple, " * 40, "blurry", True)
    assert long.negative is not None
    assert long.positive.shape == long.negative.shape
    assert long.positive.shape[1] > 77
    assert long.positive.shape[1] % 77 == 0
    assert long.cut == {}


def test_without_compel_what_is_cut_off_is_told(prompts: Prompts) -> None:
    words = [f"{word} apple" for word in ["red", "green"] * 40]
    encoded = prompts.encode(" ".join(words), "Blurry! " * 100)
    assert encoded.positive.shape[1] == 77
    # 75 tokens have a place: 37 pairs of words and one word more.
    assert (
        encoded.cut["prompt"] == " ".join(words)[len(" ".join(words[:37])) + 1 :].split(" ", 1)[1]
    )
    assert encoded.cut["negative_prompt"].startswith("! Blurry! Blurry")
    assert prompts.encode("apple " * 75, None).cut == {}
    assert prompts.encode("apple " * 76, None).cut == {"prompt": "apple "}


def test_without_guidance_the_negative_prompt_is_not_encoded(prompts: Prompts) -> None:
    assert prompts.encode("a cat", None).negative is None


@pytest.mark.parametrize("text", ["a red apple", ""])
def test_clip_skip_gives_the_output_of_a_layer_before_the_last(
    prompts: Prompts, demo: Model, text: str
) -> None:
    tokens = demo.pipeline.tokenizer(text, padding="max_length", return_tensors="pt").input_ids
    encoder = demo.pipeline.text_encoder
    layers = encoder(tokens, output_hidden_states=True).hidden_states
    for clip_skip in range(3):
        # As diffusers' pipelines count it.
        expected = encoder.final_layer_norm(layers[-(clip_skip + 1)])
        for use_compel in (False, True):
            encoded = prompts.encode(text, text, use_compel, clip_skip)
            assert encoded.negative is not None
            assert torch.allclose(encoded.positive, expected, atol=1e-5)
            assert torch.allclose(encoded.negative, expected, atol=1e-5)
    plain, skipped = (prompts.encode("a++ fox", None, True, skip).positive for skip in (0, 1))
    assert not torch.allclose(plain, skipped, atol=0.1)


def test_more_layers_than_there_are_cannot_be_skipped(prompts: Prompts) -> None:
    with pytest.raises(InputError, match=r"^clip_skip: 3 is not allowed; give 0 to 2"):
        prompts.encode("a fox", None, clip_skip=3)


def test_a_text_is_encoded_once(demo: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, calls = Prompts(demo.pipeline), []
    encode = demo.pipeline.encode_prompt

    def counted(text: str, *arguments: Any) -> Any:
        calls.append(text)
        return encode(text, *arguments)

    monkeypatch.setattr(demo.pipeline, "encode_prompt", counted)
    for prompt in ("a cat", "a dog", "a cat"):
        prompts.encode(prompt, "")
    assert sorted(calls) == ["", "a cat", "a dog"]
    for index in range(100):
        prompts.encode(f"a cat {index}", None)
    assert len(prompts._cache) <= 32


@given(st.text(alphabet="ab,.:;=|<>[]{}\\'/é🍎+- \n\t"))
def test_a_text_without_weights_is_what_compels_own_parser_makes_of_it(text: str) -> None:
    import pyparsing

    pyparsing.ParserElement.enable_packrat(None)
    from compel.prompt_parser import PromptParser

    assume(not SYNTAX.search(text))

    def words(conjunction: Any) -> list[tuple[list[str], float]]:
        (flat,) = conjunction.prompts
        return [(fragment.text.split(), fragment.weight) for fragment in flat.children]

    assert words(parse("prompt", text)) == words(PromptParser().parse_conjunction(text))


# What compel refuses


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('("a", "b").blend(.7)', ".blend(.7)"),
        ('("a", "b").blend(1, 2, 3)', ".blend(1, 2, 3)"),
        ('("a", "b").and(1)', ".and(1)"),
        ('("a", "b").blend(x, y)', ".blend(x, y)"),
        ("a cat.swap(dog)", ".swap("),
        ('("a", "b").blend(.7, .3) tail', '"tail"'),
        ("(a)+ " * 1000, "give at most 3000"),
        ("withLora(style, 0.5) a cat", "withLora("),
        ("a cat " + "(" * 300 + "b" + ")" * 300, "(((("),
    ],
)
def test_what_compel_refuses_or_would_ignore_is_quoted(text: str, part: str) -> None:
    assert part in refusal(text)


@pytest.mark.parametrize(
    "text", ["(red", "red)", ":-)", '"quoted', "((((((((a", "( " * 12, "++", "(a).foo(3)", "\\("]
)
def test_what_compel_takes_as_text_is_no_fault(text: str) -> None:
    parse("prompt", text)


def test_nested_and_unbalanced_parentheses_come_to_an_end() -> None:
    # Without pyparsing's cache, these alone take longer than anyone would wait.
    program = "from stable_diffusion.prompts import parse\n" + "\n".join(
        f"parse('prompt', {text!r})"
        for text in ("(" * 20 + "a" + ")" * 20, "(" * 25, "( " * 20, "(a, (b, " * 10, '("a (b ' * 8)
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@pytest.mark.parametrize("text", ["()", "( )", '"".5'])
def test_weights_on_nothing_are_a_prompt_or_a_fault(prompts: Prompts, text: str) -> None:
    try:
        assert prompts.encode(text, None, True).positive.shape[1] == 77
    except InputError as error:
        assert "can't interpret" in str(error)


@pytest.mark.parametrize(
    "text",
    ["(cat)" + "9" * 50, '("a", "b").blend(1, -1)'],
)
def test_weights_that_give_no_number_are_refused(prompts: Prompts, text: str) -> None:
    with pytest.raises(InputError, match="prompt: its weights are too large"):
        prompts.encode(text, None, True)


def test_a_prompt_that_would_run_the_encoder_without_end_is_refused(prompts: Prompts) -> None:
    with pytest.raises(InputError, match="negative_prompt: too long or too many"):
        prompts.encode("", "a- b-- " * 200, True)


@pytest.mark.parametrize(
    "text",
    [
        '(a ("b","c").blend(1,1))1.2',
        "a (fox.blend(0.5))1.1",
        'a "b".and() (x)1.2',
        'x ("a","b").and()',
    ],
)
def test_a_call_that_ends_up_as_words_is_refused(text: str) -> None:
    assert "as words where it stands" in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        '("a", "b").blend(1, 1)',
        '("a", "b").and()',
        "a house. and (a tree)1.2",
        '("x .and y", "b").blend(1,1)',
    ],
)
def test_a_call_where_it_belongs_is_read(text: str) -> None:
    parse("prompt", text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a (red)1.8 fox (in snow)", []),
        ("(see page 3:4) at 12:30, (12:30)", []),
        (r"(red\:1.3)", []),
        ("a (red:1.8) fox", ['"(red:1.8)" as words; give (red)1.8']),
        ("( deep snow : .5 )", ['"( deep snow : .5 )" as words; give (deep snow).5']),
        (
            "((red ball) on it:1.4)",
            ['"((red ball) on it:1.4)" as words; give ((red ball) on it)1.4'],
        ),
        ("(red:-1)", ['"(red:-1)" as words; what is not wanted belongs into negative_prompt']),
        (
            "(red:1.8, blue:0.3)",
            ['"(red:1.8)" as words; give (red)1.8', '"( blue:0.3)" as words; give (blue)0.3'],
        ),
    ],
)
def test_weights_of_another_program_are_told(text: str, told: list[str]) -> None:
    assert notes_on("prompt", text) == [f"prompt: compel reads {each}" for each in told]


def test_a_lora_of_another_program_is_told() -> None:
    assert notes_on("prompt", "<lora:foo:0.8> a cat") == [
        'prompt: "<lora:foo:0.8>" is read as words; give loras: foo:0.8'
    ]
