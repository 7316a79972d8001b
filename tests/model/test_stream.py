"""Layers that are run one at a time find nothing that an earlier one left."""

from collections import UserDict

import pytest

from hf_prune.model.stream import LayerDependency, in_isolation


@pytest.mark.parametrize("mapping", [dict, UserDict])
def test_what_a_layer_leaves_is_removed_and_the_rest_stays(mapping):
    shared, masks = mapping(), mapping(full="mask")
    keywords = {"shared_kv_states": shared, "masks": masks, "use_cache": False}
    with in_isolation(keywords):
        shared["full"] = masks["full"]
    assert (len(shared), masks["full"]) == (0, "mask")


def test_a_layer_that_takes_what_an_earlier_one_left_is_named_with_it():
    shared = {}
    with in_isolation({"shared_kv_states": shared}):
        shared["full"] = "keys"
    with (
        pytest.raises(LayerDependency, match="takes shared_kv_states of an earlier layer"),
        in_isolation({"shared_kv_states": shared}),
    ):
        shared["full"]


def test_a_key_that_is_missing_elsewhere_is_another_error():
    with pytest.raises(KeyError, match="heads"), in_isolation({"masks": {"full": 1}}):
        raise KeyError("heads")
