"""Named tensors of prompts of unequal length are padded, trimmed and selected together."""

import pytest
import torch

from lycoris.bases import TextConditioning
from lycoris.bases.conditioning import require
from lycoris.errors import InputError


def conditioning(*lengths):
    return TextConditioning.from_lists([torch.full((length, 2), float(length)) for length in lengths])


def test_lists_are_padded_with_a_mask_and_come_back():
    both = conditioning(3, 1)
    assert both.mask.tolist() == [[True, True, True], [True, False, False]]
    assert both.hidden_states[1].tolist() == [[1, 1], [0, 0], [0, 0]]
    assert [states.tolist() for states in both.lists()] == [[[3, 3]] * 3, [[1, 1]]]


def test_joined_prompts_have_the_longest_ones_length_and_trimmed_ones_their_own():
    joined = TextConditioning.cat([conditioning(2), conditioning(4, 1)])
    assert joined.hidden_states.shape == (3, 4, 2)
    assert joined.mask.sum(dim=1).tolist() == [2, 4, 1]
    assert joined.lengths is None  # the mask says it
    short = joined[[2, 0]]
    assert short.hidden_states.shape == (2, 4, 2)
    assert short.trim().hidden_states.shape == (*short.trim().mask.shape, 2) == (2, 2, 2)
    assert torch.equal(short.trim().hidden_states, short.hidden_states[:, :2])


def test_further_tensors_go_along_and_only_numbers_change_precision():
    layers, pooled = torch.randn(2, 3, 4, 5), torch.randn(2, 6)
    both = TextConditioning(torch.randn(2, 3, 5), pooled, mask=torch.ones(2, 3, dtype=torch.bool), layers=layers)
    assert torch.equal(require(both[[1]], "layers"), layers[[1]])
    joined = TextConditioning.cat([both, both[:1]])
    assert torch.equal(require(joined, "layers"), torch.cat([layers, layers[:1]]))
    half = both.to(torch.bfloat16)
    assert {name: tensor.dtype for name, tensor in half.named.items()} == {
        "hidden_states": torch.bfloat16, "pooled": torch.bfloat16, "mask": torch.bool, "layers": torch.bfloat16
    }  # fmt: skip


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(InputError, match="one row per prompt"):
        TextConditioning(torch.zeros(2, 3, 4), layers=torch.zeros(3, 3, 4))
    with pytest.raises(InputError, match="of one family"):
        TextConditioning.cat([conditioning(2), TextConditioning(torch.zeros(1, 2, 2))])
    with pytest.raises(InputError, match="must have `layers`, but has hidden_states, mask"):
        require(conditioning(1), "layers")
