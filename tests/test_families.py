"""docs/families.md is true, line by line; and the proof sees through cuts that were made wrongly."""

from pathlib import Path

import pytest

from tests.families import CAUSAL_TYPES
from tests.matrix import TABLE, outcome_of, written_table

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries' own, in families that nobody tends


def test_the_table_has_every_causal_type_and_most_of_them_are_exact():
    table = written_table()
    assert [name for name in table if name != "model type"] == list(CAUSAL_TYPES)
    verdicts = [line.split("|")[2].strip() for name, line in table.items() if name != "model type"]
    assert set(verdicts) == {"exact", "refused", "cannot build"}
    assert verdicts.count("exact") >= 150
    readme = " ".join((TABLE.parent.parent / "README.md").read_text().split())
    exact = verdicts.count("exact")
    assert f"of the {len(verdicts)} causal types of transformers 5.23, [{exact} are cut exactly]" in readme


@pytest.mark.slow
@pytest.mark.parametrize("model_type", CAUSAL_TYPES)
def test_what_the_table_says_of_a_family_is_what_happens(tmp_path: Path, model_type: str):
    assert outcome_of(model_type, tmp_path).line == written_table()[model_type]


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["llava", "qwen3_vl", "mistral3", "paligemma", "internvl", "smolvlm"])
def test_the_text_decoder_inside_a_multimodal_model_is_cut_exactly(tmp_path: Path, model_type: str):
    assert outcome_of(model_type, tmp_path).verdict == "exact"
