"""Parameters are read into a model for a while, in the dtype that transformers loads them in."""

import pytest
import torch

from hf_prune.model.in_place import in_place
from hf_prune.model.skeleton import build_skeleton

CPU = torch.device("cpu")
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def test_parameters_are_read_and_taken_out_again(tiny_models):
    skeleton = build_skeleton(tiny_models("llama"))
    name = "model.norm.weight"
    with in_place(skeleton, [name, "no.such.parameter"], {}, device=CPU, dtype=torch.bfloat16):
        norm = skeleton.model.get_parameter(name)
        assert norm.dtype == torch.bfloat16
        assert torch.equal(norm, skeleton.index.tensors[name].read().bfloat16())
    assert skeleton.model.get_parameter(name).is_meta


def test_tied_parameters_share_one_tensor_and_its_replacement(tiny_models):
    skeleton = build_skeleton(tiny_models("gemma2"))
    new = torch.ones(skeleton.index.tensors[EMBEDDING].shape)
    with in_place(skeleton, [HEAD, EMBEDDING], {EMBEDDING: new}, device=CPU, dtype=torch.float32):
        head, embedding = (skeleton.model.get_parameter(name) for name in (HEAD, EMBEDDING))
        assert torch.equal(head, new)
        assert head.data_ptr() == embedding.data_ptr()


def test_the_model_is_empty_again_after_an_error(tiny_models):
    skeleton = build_skeleton(tiny_models("llama"))
    with (
        pytest.raises(KeyboardInterrupt),
        in_place(skeleton, [HEAD], {}, device=CPU, dtype=torch.float32),
    ):
        raise KeyboardInterrupt
    assert skeleton.model.get_parameter(HEAD).is_meta
